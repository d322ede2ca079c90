"""Timing beside stock TRL: what is measured, predicted and reported."""

from dataclasses import asdict, astuple, replace
from itertools import product
from math import comb

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.sharing.cost import Prices
from rl.speed.compare import PHASES, compare
from rl.speed.pairs import between, ratios, slower_line
from rl.speed.prediction import (
    Constants,
    error,
    errors_left_out,
    errors_of,
    fit,
    long_prompt,
    not_negative,
    predicted,
    works,
)
from rl.speed.report import summary, table_of
from rl.speed.workload import Shape, bound, prompt_length
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


ROUNDS = 20


def case(name: str, shape: Shape, times: float, *, shared: bool = True, step: float = 2.0) -> dict:
    """A case of which our loss took a second and stock's ``times`` as long, in all rounds."""
    counts = {"tokens": 10, "images": 1}
    seconds = {
        "stock": {**dict.fromkeys(PHASES, times), "step": step},
        "ours": dict.fromkeys(PHASES, 1.0),
    }
    return {
        "case": name,
        "kind": "prompt",
        "shape": asdict(shape),
        "bound": counts,
        "prices": asdict(Prices(pair=0.001, scored=0.4)),
        "image_price": 18.0,
        "stock_scores_all": True,
        "shared": shared,
        **{
            side: {
                "seconds": spent,
                "steps": {phase: [s] * ROUNDS for phase, s in spent.items()},
                **counts,
            }
            for side, spent in seconds.items()
        },
    }


SHAPES = [
    Shape(prompt=p, completion=c, G=g) for p, c, g in product((60, 500, 2000), (2, 128), (2, 8))
]


@given(st.floats(0, 500), st.floats(0, 5), st.floats(0, 5), st.floats(0, 3))
@settings(max_examples=30)
def test_a_fit_finds_the_constants_behind_the_times(overhead, attention, images, head):
    true = Constants(overhead, attention, images, head)
    measured = [case(f"{i}", s, predicted(case("", s, 1.0), true)) for i, s in enumerate(SHAPES)]
    found = fit(measured)
    assert found is not None
    assert astuple(found) == pytest.approx(astuple(true), rel=0.02, abs=0.02)
    assert all(abs(error(each, found)) < 1e-3 for each in measured)
    assert fit(measured[:4]) is None


def test_a_fit_leaves_alone_what_no_case_tells_anything_of():
    true = Constants(30.0, 2.0, 0.5)
    on_gpu = [
        {**case(f"{i}", replace(s, images=0), 1.0), "stock_scores_all": False}
        for i, s in enumerate(SHAPES)
    ]
    measured = [{**case("", SHAPES[0], predicted(c, true)), **_but_times(c)} for c in on_gpu]
    found = fit(measured)
    assert found is not None
    assert astuple(found) == pytest.approx((30.0, 2.0, Constants().images, Constants().head))


def _but_times(result: dict) -> dict:
    return {key: value for key, value in result.items() if key not in ("stock", "ours")}


def test_the_best_solution_without_negative_parts():
    matrix = numpy.array([[1.0, 1.0], [1.0, 2.0], [1.0, 3.0]])
    assert not_negative(matrix, numpy.array([1.0, 1.5, 2.0])) == pytest.approx([0.5, 0.5])
    # Freely it is (3, -1): without the second it is the mean, without the first 10 / 14.
    assert not_negative(matrix, numpy.array([2.0, 1.0, 0.0])) == pytest.approx([1.0, 0.0])
    assert not_negative(matrix, numpy.array([-1.0, -1.0, -1.0])) == pytest.approx([0.0, 0.0])


def test_the_lm_head_is_counted_where_it_is_applied():
    """To whole sequences by TRL on a CPU, to completions alone by TRL on a GPU, and by us."""
    shape = Shape(prompt=100, completion=10, G=4, prompts=2, images=1)
    on_cpu = case("", shape, 1.0)
    on_gpu = {**on_cpu, "stock_scores_all": False}
    assert works(on_cpu)[0].tokens == 8 * 110
    assert works(on_cpu)[0].head == pytest.approx(8 * 110 * 0.4) and works(on_gpu)[0].head == 0
    assert works(on_gpu)[0].tokens == pytest.approx(8 * (110 + 10 * 0.4))
    assert works(on_cpu)[1] == works(on_gpu)[1]
    assert works(on_cpu)[1].tokens == pytest.approx(2 * (99 + 4 * 11) + 8 * 10 * 0.4)
    assert works(on_cpu)[0].images == 8 * 18 and works(on_cpu)[1].images == 0


@given(st.floats(0.3, 10), st.lists(st.floats(0.1, 10), min_size=6, max_size=20))
def test_the_interval_is_of_ratios_so_what_slows_both_cancels(ratio, load):
    """Another program that slows pairs of steps alike widens nothing."""
    steps = {"ours": {"step": load}, "stock": {"step": [ratio * x for x in load]}}
    found = ratios({name: {"steps": of} for name, of in steps.items()}, "step")
    assert between(found) == pytest.approx((ratio, ratio), rel=1e-6)


@pytest.mark.parametrize(("n", "k"), [(5, 0), (6, 1), (8, 1), (9, 2), (20, 6), (21, 6)])
def test_the_interval_of_a_median_lies_between_the_kth_smallest_and_largest(n, k):
    """From tables of the sign test; 5 values are too few."""
    values = [float(v) for v in range(1, n + 1)]
    assert between(values[::-1]) == ((k, n + 1 - k) if k else None)
    if k:
        covered = 1 - 2 * sum(comb(n, i) for i in range(k)) / 2**n
        narrower = 1 - 2 * sum(comb(n, i) for i in range(k + 1)) / 2**n
        assert narrower < 0.95 <= covered


def test_cases_that_are_slower_than_stock_are_named():
    fine = case("fine", SHAPES[0], 4.0, step=1.0)
    slow = case("slow", SHAPES[0], 4.0, step=1.0)
    slow["stock"]["steps"]["step"][:6] = [0.9] * 6  # the sixth smallest of 20
    assert slower_line([fine, slow]).endswith("under 0.95: slow (0.90).")
    slow["stock"]["steps"]["step"][5] = 0.96
    assert "none of 2 cases (the least: slow, 0.96)" in slower_line([fine, slow])
    for side in ("stock", "ours"):
        slow[side]["steps"]["step"] = slow[side]["steps"]["step"][:5]
    assert slower_line([fine, slow]).endswith("; too few steps for a bound: slow.")


def test_a_report_says_how_far_the_prediction_was_off():
    results = [case(f"{i}", shape, 4.0) for i, shape in enumerate(SHAPES)]
    results.append(case("apart", SHAPES[0], 2.0, shared=False))
    errors = {"0": 0.1, "1": -0.2, "8": 0.3, "9": -0.05}
    told = errors_of(results, errors, lambda result: result["case"] in "01")
    assert told is not None
    assert (told.cases, told.within, told.largest, told.worst) == (2, 1, 0.2, "1")
    assert told.median == pytest.approx(0.15)
    assert told.interval == pytest.approx((0.1, 0.2))  # of two, resampled
    assert errors_of(results, errors, lambda result: False) is None
    assert [long_prompt(r) for r in results[:4]] == [True, True, False, False]
    said = summary(results)
    assert "constants in use: P >= 4 C: median" in said and "over 8 cases" in said
    assert "Best fit (in use): an overhead of" in said
    assert "| 0 | 2.00, 1.00 | 2.00 [2.00, 2.00] | 4.00 [4.00, 4.00] |" in table_of(results)
    assert predicted(results[-1]) == 1


def test_left_out_a_case_is_predicted_by_the_others():
    """One that no constants explain does not hide by pulling them."""
    true = Constants(30.0, 2.0, 0.5)
    results = [case(f"{i}", s, predicted(case("", s, 1.0), true)) for i, s in enumerate(SHAPES)]
    odd = replace(SHAPES[5], prompt=700)
    results.append(case("odd", odd, 2 * predicted(case("", odd, 1.0), true)))
    assert errors_left_out(results)["odd"] == pytest.approx(-0.5, abs=0.01)
