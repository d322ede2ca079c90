"""Recognition and multiple choice: from what was written, and from probabilities."""

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.metrics.intervals import estimate, value
from benchmarks.metrics.multiple_choice import (
    answered_letter,
    answered_text,
    choice_metrics,
    likelihood_metrics,
)
from benchmarks.metrics.recognition import balancing_threshold, probability_metrics


@pytest.mark.parametrize(("text", "place"), [
    ("B", 1), ("b", 1), ("(B)", 1), ("**B.**", 1), ("B. Dog", 1), ("B) Dog", 1), ("B: a dog", 1),
    ("The answer is B.", 1), ("Answer: A", 0), ("I would choose option B, a dog", 1),
    ("A dog", None), ("a dog", None), ("Dog", None), ("A or B", None), ("E", None), ("", None),
    ("B. The answer is A", None), ("Be it", None), ("B.Dog", None), ("The answer is a dog", None),
])
def test_letters(text, place):
    assert answered_letter(text, 4) == place


@pytest.mark.parametrize(("text", "place"), [
    ("black and white", 2), ("It is black.", 0), ("WHITE!", 1), ("black or white", None),
    ("blackish", None), ("black and white, not black", None), ("", None), ("B. White", 1)])
def test_options_in_words(text, place):
    assert answered_text(text, ["black", "white", "black and white"]) == place


def test_choices_by_letter_by_words_and_by_either():
    options = [["cat", "dog"]] * 5
    texts = ["A", "It is a dog", "B. cat", "no idea", "B. dog"]
    found = {k: value(m) for k, m in choice_metrics(texts, options, [0, 1, 1, 0, 1]).items()}
    assert found["letter"] == pytest.approx(3 / 5)
    assert found["text"] == pytest.approx(2 / 5)
    assert found["choice"] == pytest.approx(4 / 5) == found["answered"]
    assert found["first"] == pytest.approx(1 / 4)


def test_silence_is_never_right():
    found = choice_metrics(["", "the", "?"], [["cat", "dog"]] * 3, [0, 0, 0])
    assert value(found["choice"]) == 0 and math.isnan(value(found["first"]))


def test_likelihood_and_its_mean_over_tokens():
    scores = [[(-3.0, 1), (-4.0, 4)], [(-1.0, 1), (-9.0, 1)]]
    found = likelihood_metrics(scores, [1, 0])
    assert value(found["likelihood"]) == 0.5 and value(found["likelihood_per_token"]) == 1


@settings(deadline=None)
@given(st.text(max_size=60), st.lists(st.text(max_size=6), min_size=2, max_size=4, unique=True))
def test_any_answer_is_scored(text, options):
    for metric in choice_metrics([text], [options], [0]).values():
        number = value(metric)
        assert math.isnan(number) or 0 <= number <= 1


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
