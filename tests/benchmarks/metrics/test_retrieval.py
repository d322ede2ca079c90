"""What retrieval found, and what the policy's verification of it was worth."""

import math

import pytest

from benchmarks.metrics.intervals import value
from benchmarks.metrics.retrieval import retrieval_metrics
from concepts.methods.protocol import Evidence, Reply


def values(expected, concepts):
    replies = [Reply(str(i), "", 0, None, tuple(of)) for i, of in enumerate(concepts)]
    return {key: value(metric) for key, metric in retrieval_metrics(expected, replies).items()}


def test_right_and_wrong_references_kept_and_dropped():
    found = values(
        [["bo", "mia"], ["Kim"], ["tom"]],
        [
            [Evidence("bo", 0.9, 0.8), Evidence("zoe", 0.7, 0.6)],
            [Evidence("kim", 0.9, 0.1, used=False), Evidence("zoe", 0.8, 0.2, used=False)],
            [Evidence("zoe", 0.8, 0.3, used=False)],
        ],
    )
    assert found == {
        "retrieved": pytest.approx(2 / 4),
        "kept_right": pytest.approx(1 / 2),
        "dropped_wrong": pytest.approx(2 / 3),
    }


def test_what_was_not_verified_or_not_retrieved_has_no_figure():
    found = values([["bo"]], [[Evidence("bo", 0.9)]])
    assert found["retrieved"] == 1
    assert math.isnan(found["kept_right"]) and math.isnan(found["dropped_wrong"])
    assert all(map(math.isnan, values([["bo"], ["mia"]], [[], []]).values())), "handed over"


def test_a_question_for_which_nothing_was_found_counts():
    assert values([["bo"], ["mia"]], [[Evidence("bo", 0.9)], []])["retrieved"] == 0.5
