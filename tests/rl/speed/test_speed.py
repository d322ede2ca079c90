"""Timing beside stock TRL: what is measured, predicted and reported."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rl.sharing.cost import Prices, unshared_cost
from rl.speed.compare import PHASES, compare
from rl.speed.report import between, fitted, table_of
from rl.speed.workload import (
    Shape,
    bound,
    fit,
    prompt_length,
)
from rl.trainer import TrainerOptions


def test_both_trainers_are_measured_on_the_same_step(policy_path):
    shape = Shape(prompt=60, completion=3, G=4, prompts=2, images=2, beta=0.1)
    options = TrainerOptions(share_prompt="on", share_vision="on")
    found = compare(policy_path, shape, rounds=1, warmup=1, options=options)
    stock, ours = found["stock"], found["ours"]
    for run in (stock, ours):
        assert set(run.seconds) == set(PHASES) and all(len(s) == 1 for s in run.seconds.values())
        assert run.median("step") >= run.median("loss") + run.median("generation") > 0
    assert ours.losses == pytest.approx(stock.losses, rel=1e-4, abs=1e-6)
    least = bound(shape, prompt_length(policy_path, shape))
    assert ours.images == least["images"] == 4 and stock.images > 4 * shape.G
    # Ours: the bound, a copy of the prompt's last token per branch, and generation's prefill.
    prefill = shape.prompts * (prompt_length(policy_path, shape) - 1)
    assert least["tokens"] < ours.tokens <= least["tokens"] + prefill + 2 * 2 * shape.G
    assert stock.tokens > 3 * ours.tokens


@given(st.floats(0, 500), st.floats(1e-6, 1e-3), st.floats(0.1, 5))
def test_a_fit_finds_the_constants_behind_the_times(overhead, unit, dearer):
    without, counted = Prices(pair=0, scored=0.4), Prices(pair=1e-3, scored=0.4)
    measured = []
    for p, c in product((60, 500, 2000), (2, 128)):
        rest = unshared_cost(8, p, c, without)
        attention = unshared_cost(8, p, c, counted) - rest
        measured.append((unit * (overhead + rest + dearer * attention), rest, attention))
    assert fit(measured) == (
        pytest.approx(overhead, rel=0.01, abs=1),
        pytest.approx(dearer, rel=0.01, abs=0.01),
    )


@given(st.floats(0.3, 10), st.lists(st.floats(0.1, 10), min_size=3, max_size=20))
def test_the_interval_is_of_ratios_so_what_slows_both_cancels(ratio, load):
    """Another program that slows pairs of steps alike widens nothing."""
    steps = {"ours": {"step": load}, "stock": {"step": [ratio * x for x in load]}}
    result = {name: {"steps": of} for name, of in steps.items()}
    assert between(result, "step") == pytest.approx((ratio, ratio), rel=1e-6)
    uneven = {"stock": {"steps": {"step": [1.0, 2.0, 4.0]}}, "ours": {"steps": {"step": [1.0] * 3}}}
    # Of the logarithms 0, 1, 2 to the base of 2: mean 1, standard error 1 / sqrt(3).
    assert between(uneven, "step") == pytest.approx((2**-0.1316, 2**2.1316), rel=1e-3)
    assert between({name: {"steps": {"step": [1.0]}} for name in steps}, "step") is None


def test_a_report_says_how_far_the_prediction_was_off():
    def case(name, prompt, stock, ours, shared=True):
        seconds = [dict.fromkeys(PHASES, x) for x in (stock, ours)]
        counts, steps = {"tokens": 10, "images": 1}, {"step": [], "loss": []}
        return {
            "case": name,
            "kind": "prompt",
            "shape": vars(Shape(prompt=prompt)),
            "shared": shared,
            "predicted": 4.0,
            "bound": counts,
            "prices": {"pair": 0.001, "scored": 0.4},
            "image_price": 18.0,
            "stock": {"seconds": seconds[0], "steps": steps, **counts},
            "ours": {"seconds": seconds[1], "steps": steps, **counts},
        }

    results = [
        case("long", 1000, 10.0, 2.0),
        case("short", 60, 2.0, 1.0),
        case("apart", 60, 2.0, 2.0, shared=False),
    ]
    found = fitted(results)
    assert found["errors"] == pytest.approx({"long": -0.2, "short": 1.0})
    assert found["largest_error_long_prompts"] == pytest.approx(0.2)
    assert "| long | 10.00 | 5.00 | 5.00 | 4.00 |" in table_of(results)
