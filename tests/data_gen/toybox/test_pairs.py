"""Pairs of one toy and their prompts."""

import random

from data_gen.synthesis.object_texts import object_texts
from data_gen.toybox.identity import KINDS, draw_identity
from data_gen.toybox.models.tokenizer import UNKNOWN, toybox_words, word_tokenizer
from data_gen.toybox.pairs import draw_pair, item_words, pair_words, read_item
from launch.generate import read as read_config
from tests.places import ROOT


def test_pairs_show_one_toy_twice_and_their_words_can_be_parsed():
    for i in range(30):
        rng = random.Random(i)
        identity = draw_identity(rng, held_out=False)
        pair = draw_pair(rng, identity, 32)
        assert pair.image.size == (64, 32) and pair.scenes[0] != pair.scenes[1]
        assert read_item(item_words(identity)) == identity
        known = word_tokenizer(toybox_words(), 24)(
            pair_words(item_words(identity), pair.scenes)
        ).input_ids
        assert UNKNOWN not in known and len(known) <= 24
    assert read_item("red bear with red spots and blue crown") is None  # no legal toy
    assert read_item("a bear") is None


def test_the_config_uses_the_prompts_that_the_model_was_trained_on():
    _, config = read_config(["--config", str(ROOT / "configs/data/diffusion_toy.yaml")])
    texts = object_texts(config["texts"], 0)
    seen = set()
    for i in range(200):
        asked = texts.of(i)
        identity = read_item(asked.item)
        assert identity and identity.kind == asked.category
        seen.add(identity.kind)
        prompt = config["prompt"].replace("{item}", asked.item)
        for k, scene in enumerate(asked.scenes):
            prompt = prompt.replace(f"{{scene_{k}}}", scene)
        assert prompt == pair_words(asked.item, asked.scenes)
    assert seen == set(KINDS)
