"""Yes or no: from what was written, and from probabilities."""

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.metrics.intervals import estimate, value
from benchmarks.metrics.recognition import (
    balancing_threshold,
    probability_metrics,
    recognition_metrics,
)


def values(metrics):
    return {key: round(value(metric), 4) for key, metric in metrics.items()}


def test_recognition():
    texts = ["yes", "no", "No.", "Yes!", "yes and no", "no"]
    truths = ["yes", "yes", "no", "no", "no", "no"]
    hard = [False, False, False, False, True, True]
    assert values(recognition_metrics(texts, truths, hard)) == {
        "accuracy": 0.5,
        "positive": 0.5,
        "negative": 0.5,
        "negative_easy": 0.5,
        "negative_hard": 0.5,
        "answered": round(5 / 6, 4),
    }
    always = recognition_metrics(["yes"] * 6, truths)
    assert value(always["accuracy"]) == 0.5 and "negative_hard" not in always


def test_area_under_the_curve_counts_pairs():
    rng = random.Random(1)
    truths = [rng.choice(["yes", "no"]) for _ in range(60)]
    p = [round(rng.random() + 0.3 * (t == "yes"), 1) for t in truths]  # with ties
    yes, no = ([v for v, t in zip(p, truths, strict=True) if t == a] for a in ("yes", "no"))
    pairs = [(a > b) + 0.5 * (a == b) for a in yes for b in no]
    found = probability_metrics(p, truths)["auroc"]
    assert value(found) == pytest.approx(np.mean(pairs))


def test_the_interval_of_the_area_is_that_of_drawing_rows_anew():
    rng = np.random.default_rng(4)
    truths = ["yes"] * 60 + ["no"] * 90
    p = np.concatenate([rng.normal(0.8, 1, 60), rng.normal(0, 1, 90)])
    found = estimate(probability_metrics(p, truths)["auroc"])
    slow = []
    for _ in range(1000):
        drawn = rng.integers(0, 150, 150)
        yes, no = p[drawn[drawn < 60]], p[drawn[drawn >= 60]]
        slow.append((yes[:, None] > no).mean() + (yes[:, None] == no).mean() / 2)
    assert [found.low, found.high] == pytest.approx(np.quantile(slow, [0.025, 0.975]), abs=0.02)


def test_a_policy_that_leans_to_yes_is_told_where_to_draw_the_line():
    truths = ["yes"] * 4 + ["no"] * 4
    p = [0.99, 0.97, 0.96, 0.8, 0.9, 0.7, 0.6, 0.55]
    found = {k: value(m) for k, m in probability_metrics(p, truths).items()}
    assert found["accuracy_half"] == 0.5  # everything is yes
    threshold, error = balancing_threshold(p, truths)
    assert error == 0.25 and 0.8 < threshold <= 0.96
    assert found["accuracy_balanced"] == 0.75 and found["auroc"] == pytest.approx(15 / 16)
    alike = probability_metrics([0.2, 0.9], ["yes", "yes"])
    assert all(math.isnan(value(metric)) for metric in alike.values())


@given(st.lists(st.tuples(st.sampled_from([0, 0.25, 0.5, 1]), st.booleans()), min_size=1))
def test_no_threshold_is_more_even(rows):
    p, truths = [p for p, _ in rows], ["yes" if t else "no" for _, t in rows]
    threshold, error = balancing_threshold(p, truths)
    if len(set(truths)) == 2:

        def gap(cut):
            missed = np.mean([v < cut for v, t in zip(p, truths, strict=True) if t == "yes"])
            false = np.mean([v >= cut for v, t in zip(p, truths, strict=True) if t == "no"])
            return abs(missed - false)

        assert 0 <= error <= 1
        assert min(map(gap, (0, 0.25, 0.5, 1, 2))) >= gap(threshold) - 1e-9 or threshold == 1
    else:
        assert math.isnan(threshold) and math.isnan(error)
