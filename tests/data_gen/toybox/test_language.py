"""Captions are true and can be read back; names are not ordinary words."""

import random

import pytest

from data_gen.tasks.names import all_names
from data_gen.tasks.prompts import load_prompts
from data_gen.toybox.identity import (
    ATTRIBUTES,
)
from data_gen.toybox.language import LENGTHS, VOICES, caption, read_caption
from data_gen.toybox.scene import compose
from tests.data_gen.toybox.toys import some_identities


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("voice", VOICES)
def test_captions_tell_the_truth_and_nothing_else(length, voice):
    rng = random.Random(7)
    for k in (1, 2, 3, 4):
        scene = compose(rng, some_identities(k, seed=k), 64)
        text = caption(rng, scene, [None] * k, length, voice)
        claims = read_caption(text)
        assert len(claims) == k
        for claim, toy in zip(claims, scene.toys, strict=True):
            assert all(getattr(toy.identity, a) == value for a, value in claim.items())
            assert length == "short" or set(claim) == set(ATTRIBUTES)


def test_a_caption_writes_exactly_the_names_it_is_given():
    rng = random.Random(8)
    for length in LENGTHS:
        scene = compose(rng, some_identities(3), 64)
        text = caption(rng, scene, ["bo", None, "Zoé"], length)
        assert "<bo>" in text and "<Zoé>" in text and text.count("<") == text.count(">")


@pytest.mark.parametrize("text", ["", "blue", "a striped blue", "<bo> has red stripes.", "\ud800"])
def test_reading_a_caption_that_claims_nothing_gives_nothing(text):
    assert read_caption(text) == []


def test_names_are_no_words_of_captions_or_prompts():
    rng = random.Random(9)
    text = [str(load_prompts())]
    for seed in range(300):
        scene = compose(rng, some_identities(rng.randint(1, 4), seed=seed), 32)
        text += [caption(rng, scene, [None] * len(scene.toys), length) for length in LENGTHS]
    words = {w.strip(".,:;!?\"'[]{}()").casefold() for line in text for w in line.split()}
    assert not {name.casefold() for name in all_names()} & words
    assert len(all_names()) == len({n.casefold() for n in all_names()}) >= 900
