"""The shipped tiny base: small, safe to load, and a describer of toys it has never seen."""

import pytest

from benchmarks.metrics.intervals import value
from benchmarks.toybox.benchmark import Toybox, ToyboxBenchmarkSettings
from concepts.methods.in_context import InContext
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


def test_it_describes_and_finds_held_out_toys_and_leaves_names_to_be_learned(base):
    sets = {"description": 24, "naming_4": 24, "vlt": 24}
    benchmark = Toybox(ToyboxBenchmarkSettings(size="x", sizes={"x": sets}, seed=5))
    system = InContext(lambda: base, benchmark.write, size=benchmark.size)
    replies = {
        name: list(
            zip(
                questions,
                system.reply([q.query for q in questions], 160, name == "vlt"),
                strict=True,
            )
        )
        for name, questions in benchmark.sets.items()
    }
    found = {key: value(metric) for key, metric in benchmark.score(replies, {}).items()}
    assert found["description/attribute_accuracy"] > 0.8  # guessing gives 0.14
    assert found["naming_4/names_used"] < 0.5
    assert found["vlt/iou50"] > 0.25
