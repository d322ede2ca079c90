"""Multiple choice: from what was written, and from likelihoods."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.metrics.intervals import value
from benchmarks.metrics.multiple_choice import (
    answered_letter,
    answered_text,
    choice_metrics,
    likelihood_metrics,
)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("B", 1),
        ("b", 1),
        ("(B)", 1),
        ("**B.**", 1),
        ("B. Dog", 1),
        ("B) Dog", 1),
        ("B: a dog", 1),
        ("The answer is B.", 1),
        ("Answer: A", 0),
        ("I would choose option B, a dog", 1),
        ("A dog", None),
        ("a dog", None),
        ("Dog", None),
        ("A or B", None),
        ("E", None),
        ("", None),
        ("B. The answer is A", None),
        ("Be it", None),
        ("B.Dog", None),
        ("The answer is a dog", None),
    ],
)
def test_letters(text, place):
    assert answered_letter(text, 4) == place


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("black and white", 2),
        ("It is black.", 0),
        ("WHITE!", 1),
        ("black or white", None),
        ("blackish", None),
        ("black and white, not black", None),
        ("", None),
        ("B. White", 1),
    ],
)
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
