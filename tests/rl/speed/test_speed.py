"""Timing beside stock TRL: what is measured, predicted and reported."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rl.sharing.cost import Prices, unshared_cost
from rl.speed.compare import PHASES, compare
from rl.speed.report import fitted, table_of
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


@given(st.floats(0, 500), st.floats(1e-6, 1e-3))
def test_a_fit_finds_the_constant_behind_the_times(overhead, unit):
    prices = Prices(pair=1e-3, scored=0.4)
    costs = [unshared_cost(8, p, c, prices) for p in (60, 500, 2000) for c in (2, 128)]
    measured = [(unit * (overhead + cost), cost) for cost in costs]
    assert fit(measured) == pytest.approx(overhead, rel=0.01, abs=1)


def test_a_report_says_how_far_the_prediction_was_off():
    def case(name, prompt, stock, ours, shared=True):
        seconds = [dict.fromkeys(PHASES, x) for x in (stock, ours)]
        counts = {"tokens": 10, "images": 1}
        return {
            "case": name,
            "kind": "prompt",
            "shape": vars(Shape(prompt=prompt)),
            "shared": shared,
            "predicted": 4.0,
            "bound": counts,
            "prices": {"pair": 0.001, "scored": 0.4},
            "image_price": 18.0,
            "stock": {"seconds": seconds[0], **counts},
            "ours": {"seconds": seconds[1], **counts},
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
