"""The shipped tiny base: small, safe to load, and a describer of toys it has never seen."""

import pytest

from benchmarks.harness.predictions import Prediction
from benchmarks.metrics.intervals import value
from benchmarks.toybox.benchmark import build_set, score, toybox_settings
from rl.policy.boxes import box_frames
from rl.policy.generation import generate
from rl.policy.loading import load_policy
from tests.places import ROOT

BASE = ROOT / "data_gen/toybox/weights/toybox_base"


@pytest.fixture(scope="module")
def base():
    return load_policy(BASE)


def test_it_is_small_and_holds_no_pickle(base):
    model, _ = base
    assert sum(p.numel() for p in model.parameters()) <= 5_000_000
    assert model.config.model_type == "qwen2_5_vl"
    assert sum(f.stat().st_size for f in BASE.iterdir()) <= 12_000_000
    assert {f.suffix for f in BASE.iterdir()} <= {".safetensors", ".json", ".jinja", ".md"}


def test_it_describes_and_finds_held_out_toys_and_seldom_names_them(base):
    model, processor = base
    rows = {name: build_set(name, 24, 5, toybox_settings())
            for name in ("description", "naming_1", "vlt")}
    predictions = {}
    for name, of_set in rows.items():
        done = generate(model, processor, of_set, max_new_tokens=160, batch_size=24)
        frames = box_frames(model, processor, of_set) if name == "vlt" else [None] * len(of_set)
        predictions[name] = [Prediction(row["id"], text, n, frame) for row, (text, n), frame
                             in zip(of_set, done, frames, strict=True)]
    found = {key: value(metric) for key, metric in score(rows, predictions).items()}
    assert found["description/attribute_accuracy"] > 0.8  # guessing gives 0.14
    assert found["naming_1/names_used"] < 0.3
    assert found["vlt/iou50"] > 0.25
