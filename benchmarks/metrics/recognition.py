"""Recognition metrics: accuracy of yes/no answers, and of the probability of yes.

Reported as the field does: positive accuracy, negative accuracy, and their mean ("weighted"), so
that a policy which always says yes has 50 % whatever the balance. Negatives that differ in a single
attribute are shown apart from easy ones.

From probabilities (:func:`rl.policy.likelihood.yes_probabilities`) comes what does not depend on
where a policy draws its line: the area under the ROC curve, and the accuracy at the threshold where
it errs as often on positives as on negatives.
"""

from collections.abc import Sequence

import numpy as np

from benchmarks.metrics.intervals import Metric, ratio
from rewards.parsing import answer_part, yes_or_no


def recognition_metrics(
    texts: Sequence[str],
    truths: Sequence[str],
    hard: Sequence[bool] | None = None,
    answer_format: str = "auto",
) -> dict[str, Metric]:
    """The scores of N answers; both, neither or hedged is a wrong answer.

    Args:
        texts: what the policy wrote.
        truths: ``yes`` or ``no``.
        hard: for negatives, whether they are hard; None: unknown.
        answer_format: which part of a text is the answer: see :func:`rewards.parsing.answer_part`.

    Returns:
        ``accuracy`` (mean of the next two), ``positive``, ``negative``, with ``hard`` also
        ``negative_easy`` and ``negative_hard``, and ``answered`` (share with one clear answer).
    """
    said = [yes_or_no(answer_part(text, answer_format)) for text in texts]
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


def probability_metrics(p_yes: Sequence[float], truths: Sequence[str]) -> dict[str, Metric]:
    """The scores of N probabilities; with ties counted half.

    Args:
        p_yes: p(yes) / (p(yes) + p(no)), 0-1.
        truths: ``yes`` or ``no``.

    Returns:
        ``auroc``; ``accuracy_half``, the mean of positive and negative accuracy where more than
        one half means yes; ``accuracy_balanced``, the same at :func:`balancing_threshold`. The
        latter is chosen on the rows that it scores. Undefined where all truths are alike.
    """
    p = np.asarray(p_yes, dtype=np.float64)
    positive = np.array([t == "yes" for t in truths], dtype=bool)
    threshold, _ = balancing_threshold(p_yes, truths)
    return {
        "auroc": auroc(p, positive),
        "accuracy_half": _balanced((p > 0.5) == positive, positive),
        "accuracy_balanced": _balanced((p >= threshold) == positive, positive),
    }


def balancing_threshold(p_yes: Sequence[float], truths: Sequence[str]) -> tuple[float, float]:
    """The threshold at which positives and negatives are mistaken equally often, or nearly so.

    Args:
        p_yes, truths: as in :func:`probability_metrics`.

    Returns:
        The threshold, from which on an answer is yes, and the mean of the two error rates there
        (the equal error rate); NaN where all truths are alike.
    """
    p = np.asarray(p_yes, dtype=np.float64)
    positive = np.array([t == "yes" for t in truths], dtype=bool)
    yes, no = np.sort(p[positive]), np.sort(p[~positive])
    if not len(yes) or not len(no):
        return float("nan"), float("nan")
    cuts = np.append(np.unique(p), np.inf)
    missed = np.searchsorted(yes, cuts) / len(yes)
    false = 1 - np.searchsorted(no, cuts) / len(no)
    # Where two thresholds are as even, the one with fewer errors.
    best = np.lexsort((missed + false, np.abs(missed - false)))[0]
    return float(min(cuts[best], 1.0)), float((missed[best] + false[best]) / 2)


def _balanced(right: np.ndarray, positive: np.ndarray) -> Metric:
    return [*ratio(right * positive, positive), *ratio(right * ~positive, ~positive)]


def auroc(p: np.ndarray, positive: np.ndarray) -> Metric:
    """The area, as a mean over positives and one over negatives.

    For a positive v is the share of negatives below it, for a negative the share of positives
    above it; the area A is the mean of v on either side (DeLong 1988). As the metric is the mean
    of both sides, 2 v - A is averaged: its resamples then vary as the area does.
    """
    yes, no = np.sort(p[positive]), np.sort(p[~positive])
    share = np.zeros_like(p)
    if len(yes) and len(no):

        def below(sorted_values, x):
            return (
                (
                    np.searchsorted(sorted_values, x, "left")
                    + np.searchsorted(sorted_values, x, "right")
                )
                / 2
                / len(sorted_values)
            )

        share[positive] = below(no, p[positive])
        share[~positive] = 1 - below(yes, p[~positive])
        share = 2 * share - share[positive].mean()
    return [*ratio(share * positive, positive), *ratio(share * ~positive, ~positive)]
