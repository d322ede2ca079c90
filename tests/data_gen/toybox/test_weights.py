"""The shipped tiny models on held-out toys: the weights are those that their cards measured."""

import random

import numpy as np
import open_clip
import pytest
import torch
import yaml
from diffusers import AutoPipelineForText2Image

from data_gen.synthesis.quality import (
    CONSISTENCY,
    QUALITY,
    STRUCTURE,
    CandidatePair,
    pair_scorer,
    quality_settings,
    rejection_reason,
)
from data_gen.toybox.identity import draw_identity, hard_negatives
from data_gen.toybox.models.attribute_classifier import (
    classifier_accuracy,
    classify_toys,
    load_attribute_classifier,
    pair_halves,
)
from data_gen.toybox.models.clip import retrieval
from data_gen.toybox.models.images import drawn_pairs, drawn_scenes
from data_gen.toybox.pairs import draw_pair, item_words, pair_words
from launch.generate import read as read_config
from tests.places import ROOT

SHIPPED = ROOT / "data_gen/toybox/weights"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("drawn")


@pytest.fixture(scope="module")
def classifier():
    return load_attribute_classifier(SHIPPED / "toybox_attribute_classifier")


def test_everything_is_small_and_no_pickle():
    sizes = {"toybox_clip": 8, "toybox_diffusion": 10, "toybox_attribute_classifier": 3}
    for name, most in sizes.items():
        files = [file for file in (SHIPPED / name).rglob("*") if file.is_file()]
        assert sum(file.stat().st_size for file in files) < most * 2**20
        assert {"README.md"} <= {file.name for file in files}
        assert {file.suffix for file in files} <= {".safetensors", ".json", ".md", ".txt"}


def test_the_attribute_classifier_recognizes_drawn_toys(classifier, cache):
    data = drawn_pairs(cache, 1, 48, 901, held_out=True)
    images, truth = pair_halves(data, range(200))
    right = classifier_accuracy(classify_toys(classifier, images), truth)
    assert right["mean"] > 0.94 and right["all six"] > 0.72


def test_the_clip_finds_the_text_of_an_image(cache):
    model, _ = open_clip.create_model_from_pretrained(f"local-dir:{SHIPPED / 'toybox_clip'}")
    words = open_clip.get_tokenizer(f"local-dir:{SHIPPED / 'toybox_clip'}")
    data = drawn_scenes(cache, 1, 48, 901, {0: 1, 1: 1}, held_out=True)
    found = retrieval(model.eval(), words.tokenizer, data, batch=100)
    assert found["text of an image"] > 0.85 and found["images"] >= 400


def test_the_diffusion_model_draws_held_out_toys_as_prompted(classifier):
    _, config = read_config(["--config", str(ROOT / "configs/data/diffusion_toy.yaml")])
    pipeline = AutoPipelineForText2Image.from_pretrained(
        SHIPPED / "toybox_diffusion", torch_dtype=torch.float32
    )
    pipeline.set_progress_bar_config(disable=True)
    toys = [draw_identity(random.Random(f"asked-{i}"), held_out=True) for i in range(24)]
    prompts = [pair_words(item_words(toy), ("plain mint wall", "lined peach wall")) for toy in toys]
    call = config["pipeline"]["call"] | {"negative_prompt": [""] * len(toys)}
    images = pipeline(
        prompts,
        height=48,
        width=96,
        output_type="pt",
        **call,
        generator=torch.Generator().manual_seed(0),
    ).images
    left, right = (2 * images.float() - 1).chunk(2, -1)
    seen = [classify_toys(classifier, half.contiguous()) for half in (left, right)]
    found = classifier_accuracy(seen[0] + seen[1], toys * 2)
    assert found["colour"] > 0.9 and found["mean"] > 0.75


def test_the_quality_bounds_keep_correct_pairs_and_few_others(cache):
    """Of drawn pairs nearly all pass; of those whose halves differ in one attribute, and of those
    whose text is wrong in one, fewer than half."""
    config = yaml.safe_load((ROOT / "configs/data/diffusion_toy.yaml").read_text())
    settings = quality_settings(config["quality"] | {"encoder": str(SHIPPED / "toybox_clip")})
    right, wrong_half, wrong_text = [], [], []
    for i in range(150):
        rng = random.Random(f"judged-{i}")
        identity = draw_identity(rng, held_out=True)
        negative = rng.choice(hard_negatives(identity))
        pair = draw_pair(rng, identity, 48)
        left, mine = (pair.image.crop((x, 0, x + 48, 48)) for x in (0, 48))
        item, scenes = item_words(identity), pair.scenes
        other = draw_pair(random.Random(f"judged-{i}"), negative, 48).image.crop((48, 0, 96, 48))
        right.append(CandidatePair((left, mine), item, scenes, pair.image))
        wrong_half.append(CandidatePair((left, other), item, scenes, None))
        wrong_text.append(CandidatePair((left, mine), item_words(negative), scenes, pair.image))
    points_of = pair_scorer(settings, "cpu")

    def kept(pairs: list[CandidatePair], *fields: str) -> float:
        least = {field: settings.least[field] for field in fields}
        return np.mean([rejection_reason(scores, least) is None for scores in points_of(pairs)])

    assert kept(right, CONSISTENCY) > 0.95 and kept(right, QUALITY) > 0.95
    assert kept(right, CONSISTENCY, QUALITY, STRUCTURE) > 0.8
    assert kept(wrong_half, CONSISTENCY, QUALITY) < 0.5 and kept(wrong_text, QUALITY) < 0.5
