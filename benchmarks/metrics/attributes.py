"""Attribute metrics: how much of what captions say about toys is true; and caption length.

A caption's claims (:func:`data_gen.toybox.language.read_caption`) are matched one to one with the
toys of the scene, in the way that makes most of them true. A second description of a toy,
or one of a toy that is not there, is an extra claim whose attributes are all wrong.
"""

from collections.abc import Sequence

import numpy as np

from benchmarks.metrics.intervals import Metric, ratio

Attributes = dict[str, str]

FLOOR = 100
"""Tokens from which RePIC counts a caption (arXiv 2506.18369)."""

_MAX_CLAIMS = 64  # beyond it a caption is degenerate; all further claims count as wrong


def true_attributes(claims: Sequence[Attributes], toys: Sequence[Attributes]) -> int:
    """How many claimed attribute values are true, under the best one-to-one matching.

    Args:
        claims: what is said of each toy; some attributes may be missing.
        toys: the truth, all attributes of each toy; about eight toys at most.

    Returns:
        A count, at most the number of claimed attributes.
    """
    agree = [
        [sum(toy.get(k) == v for k, v in claim.items()) for toy in toys]
        for claim in claims[:_MAX_CLAIMS]
    ]
    # best[m]: most true attributes with the toys of bit set m already matched.
    best = {0: 0}
    for row in agree:
        after = dict(best)
        for taken, score in best.items():
            for i, gain in enumerate(row):
                if gain and not taken >> i & 1:
                    now = taken | 1 << i
                    after[now] = max(after.get(now, 0), score + gain)
        best = after
    return max(best.values())


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
