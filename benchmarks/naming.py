"""Are things called by their names? The strict, set-level score.

    hit     a due name that is written
    extra   a name of an absent concept that is written, or a tag that is nobody's name
    missed  a due name that is not written

Precision, recall and F1 are micro averages over captions. What counts as written is the one rule of
:mod:`rewards.names`. A name is written or it is not: fifty times is once, and a caption wrapped in
``<bo>...</bo>`` is markup and names nobody, as in the reward.

Why not the metric that RePIC published: it splits at whitespace, so names of several words and
possessives never match, and wrong names beside the right ones cost nothing.
"""

from collections.abc import Sequence

import numpy as np

from benchmarks.intervals import Metric, ratio
from rewards.names import Tally, find_names, tally


def count_names(text: str, due: Sequence[str], absent: Sequence[str] = ()) -> Tally:
    """Hits, extras and misses of one caption.

    Args:
        text: the caption; any string.
        due: bare names that belong.
        absent: bare names given in the prompt whose concept is not in the picture.
    """
    found = find_names(text, {*due, *absent})
    return tally(found.written - (found.closed & set(due)), due, found.unlisted)


def naming_metrics(tallies: Sequence[Tally]) -> dict[str, Metric]:
    """The scores of N captions.

    Returns:
        ``precision``, ``recall``, ``f1`` (micro, 0-1; undefined where the denominator is 0),
        ``names_used`` (share of captions with at least one due name written) and
        ``names_nothing`` (share of captions in which no name at all is written).
    """
    hits, extra, missed = (
        np.array([getattr(t, field) for t in tallies], dtype=np.float64)
        for field in ("hits", "extra", "missed")
    )
    return {
        "precision": ratio(hits, hits + extra),
        "recall": ratio(hits, hits + missed),
        "f1": ratio(2 * hits, 2 * hits + extra + missed),
        "names_used": ratio(hits > 0),
        "names_nothing": ratio(hits + extra == 0),
    }
