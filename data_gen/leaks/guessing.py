"""How often an answer is guessed right from some cues: cross-validated, beside the prior.

The prior is the share of the most frequent answer. Folds keep rows of one identity together, so
that nothing is recognised; the interval is a bootstrap over identities.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

FOLDS = 5
RESAMPLES = 1000
MARGIN = 0.02
"""How far the lower end of the interval may lie above the prior."""

LEAST_ROWS = 100
"""Fewer rows of a question say nothing."""

ENOUGH_ROWS = 2000
"""With fewer rows a leak of a few points can be missed."""

BOX_IOU = 0.5


class Guess(NamedTuple):
    """How well one question is answered from one kind of cue. Shares are in 0-1.

    Attributes:
        question: what is to be told.
        cue: from what.
        rows: number of rows.
        prior: share of the most frequent answer.
        right, low, high: share guessed right, with the ends of its 95 % interval.
    """

    question: str
    cue: str
    rows: int
    prior: float
    right: float
    low: float
    high: float

    @property
    def leaks(self) -> bool:
        """Whether the cue tells the answer: the lower end is above prior + :data:`MARGIN`."""
        return self.low > self.prior + MARGIN


def guess(
    question: str,
    cue: str,
    features: Sequence | np.ndarray,
    answers: Sequence[str] | np.ndarray,
    groups: Sequence[str] | np.ndarray,
    model: Callable[[], Any],
) -> Guess:
    """Guess answers from features.

    Args:
        question, cue: what is asked, and what it is guessed from; for the table.
        features: N of whatever ``model`` learns from.
        answers: N.
        groups: N identities; no fold has rows of one on both sides.
        model: makes a classifier: :func:`of_numbers`, :func:`of_vectors` or :func:`of_texts`.
    """
    answers, groups = np.asarray(answers), np.asarray(groups)
    values, counts = np.unique(answers, return_counts=True)
    prior = counts.max() / len(answers)
    if len(values) == 1 or counts.min() < 2 * FOLDS:  # there is nothing to guess
        return Guess(question, cue, len(answers), prior, prior, prior, prior)
    hits = np.zeros(len(answers))
    for train, test in _folds(tuple(answers), tuple(groups)):
        if len(np.unique(answers[train])) == 1:
            hits[test] = answers[test] == answers[train][0]
            continue
        fitted = model().fit([features[i] for i in train], answers[train])
        hits[test] = fitted.predict([features[i] for i in test]) == answers[test]
    low, high = interval(hits, groups)
    return Guess(question, cue, len(answers), prior, float(hits.mean()), low, high)


def of_numbers() -> Any:
    """Gradient boosting, for a few numbers per row."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(max_iter=40, max_depth=4, random_state=0)


def of_vectors() -> Any:
    """Logistic regression, for a vector of an encoder per row."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))


def of_texts() -> Any:
    """Logistic regression on which words, and which neighbours, a text has."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    words = CountVectorizer(ngram_range=(1, 2), binary=True, token_pattern=r"\S+")
    return make_pipeline(words, LogisticRegression(C=0.1, max_iter=500))


def guess_boxes(
    boxes: np.ndarray, queries: np.ndarray, groups: Sequence[str] | np.ndarray
) -> list[Guess]:
    """How often the box (N, 4) is hit at IoU >= 0.5 by one box for all rows, and by a box that is
    predicted from the query image. The latter knows what stands out in an image, which is no fault
    of the rows; the prior of both is the former."""
    from sklearn.linear_model import Ridge

    groups = np.asarray(groups)
    constant, predicted = np.zeros(len(boxes)), np.zeros(len(boxes))
    for train, test in _folds((0,) * len(boxes), tuple(groups)):
        candidates = boxes[train][:: max(1, len(train) // 300)]
        best = max(candidates, key=lambda box: (_iou(box, boxes[train]) >= BOX_IOU).mean())
        constant[test] = _iou(best, boxes[test]) >= BOX_IOU
        if queries.shape[1]:
            model = Ridge(alpha=1.0).fit(queries[train], boxes[train])
            predicted[test] = _iou(model.predict(queries[test]), boxes[test]) >= BOX_IOU
    prior, question = float(constant.mean()), "box at IoU >= 0.5"
    found = [
        Guess(question, "one box for all", len(boxes), prior, prior, *interval(constant, groups))
    ]
    if queries.shape[1]:
        found.append(
            Guess(
                question,
                "a box from the query",
                len(boxes),
                prior,
                float(predicted.mean()),
                *interval(predicted, groups),
            )
        )
    return found


def interval(hits: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """The 95 % bootstrap interval of the mean of ``hits`` (N), by resampling groups."""
    _, index = np.unique(groups, return_inverse=True)
    right, rows = np.bincount(index, hits), np.bincount(index).astype(float)
    rng, n = np.random.default_rng(0), len(rows)
    means = []
    for _ in range(RESAMPLES):
        drawn = rng.integers(n, size=n)
        means.append(right[drawn].sum() / rows[drawn].sum())
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


@lru_cache(maxsize=2)  # of what is shown and what is seen: the same for several cues
def _folds(answers: tuple, groups: tuple) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows to learn from, and rows to guess, by their numbers; each row is guessed once."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    if len(set(groups)) < FOLDS:
        return list(StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(answers, answers))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    return list(folds.split(answers, answers, groups))


def _iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of boxes (4,) or (N, 4) with boxes (N, 4)."""
    a = np.atleast_2d(a)
    low, high = np.maximum(a[:, :2], b[:, :2]), np.minimum(a[:, 2:], b[:, 2:])
    both = np.clip(high - low, 0, None).prod(axis=1)
    whole = sum(np.clip(c[:, 2:] - c[:, :2], 0, None).prod(axis=1) for c in (a, b)) - both
    return both / np.maximum(whole, 1e-9)
