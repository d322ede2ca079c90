"""Attribute metrics: how much of what captions say about toys is true; and caption length.

A caption's claims (:func:`data_gen.toybox.language.read_caption`) are compared with the toys of the
scene by :func:`data_gen.toybox.facts.true_attributes`, as in the reward ``caption_facts``.
"""

from collections.abc import Sequence

import numpy as np

from benchmarks.metrics.intervals import Metric, ratio
from data_gen.toybox.facts import Attributes, true_attributes

FLOOR = 100
"""Tokens from which RePIC counts a caption (arXiv 2506.18369)."""


def attribute_metrics(
    claims: Sequence[Sequence[Attributes]], toys: Sequence[Sequence[Attributes]]
) -> dict[str, Metric]:
    """The scores of N captions.

    Returns:
        ``attribute_accuracy`` (true / claimed values) and ``attribute_coverage`` (true / all values
        that could have been claimed), micro averages, 0-1.
    """
    right = np.array([true_attributes(c, t) for c, t in zip(claims, toys, strict=True)], float)
    claimed = np.array([sum(map(len, c)) for c in claims], dtype=np.float64)
    there = np.array([sum(map(len, t)) for t in toys], dtype=np.float64)
    return {
        "attribute_accuracy": ratio(right, claimed),
        "attribute_coverage": ratio(right, there),
    }


def length_metrics(tokens: Sequence[int], floor: int = FLOOR) -> dict[str, Metric]:
    """``tokens`` (mean length) and ``at_floor`` (share of captions of ``floor`` tokens or more).

    Args:
        tokens: length of each of N captions, without end and padding.
    """
    lengths = np.asarray(tokens, dtype=np.float64)
    return {"tokens": ratio(lengths), "at_floor": ratio(lengths >= floor)}
