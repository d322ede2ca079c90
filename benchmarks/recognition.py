"""Is the thing in the picture? Accuracy of yes/no answers.

Reported as the field does: positive accuracy, negative accuracy, and their mean ("weighted"), so
that a policy which always says yes has 50 % whatever the balance. Negatives that differ in a single
attribute are shown apart from easy ones.
"""

from collections.abc import Sequence

import numpy as np

from benchmarks.intervals import Metric, ratio
from rewards.parsing import yes_or_no


def recognition_metrics(
    texts: Sequence[str], truths: Sequence[str], hard: Sequence[bool] | None = None
) -> dict[str, Metric]:
    """The scores of N answers; both, neither or hedged is a wrong answer.

    Args:
        texts: what the policy wrote.
        truths: ``yes`` or ``no``.
        hard: for negatives, whether they are hard; None: nobody knows.

    Returns:
        ``accuracy`` (mean of the next two), ``positive``, ``negative``, with ``hard`` also
        ``negative_easy`` and ``negative_hard``, and ``answered`` (share with one clear answer).
    """
    said = [yes_or_no(text) for text in texts]
    right = np.array([s == t for s, t in zip(said, truths, strict=True)], dtype=np.float64)
    positive = np.array([t == "yes" for t in truths])
    metrics = {
        "accuracy": [*ratio(right * positive, positive), *ratio(right * ~positive, ~positive)],
        "positive": ratio(right * positive, positive),
        "negative": ratio(right * ~positive, ~positive),
    }
    if hard is not None:
        difficult = np.asarray(hard, dtype=bool) & ~positive
        easy = ~difficult & ~positive
        metrics["negative_easy"] = ratio(right * easy, easy)
        metrics["negative_hard"] = ratio(right * difficult, difficult)
    metrics["answered"] = ratio([s is not None for s in said])
    return metrics
