"""Bootstrap intervals for everything the benchmarks report.

Every metric here is a mean of ratios of sums over rows: an accuracy is right / asked, micro F1 is
2 hits / (2 hits + extra + missed). So resampling rows means resampling columns of numbers, and one
matrix product does it.

Percentile intervals (Efron 1979), without bias correction. Where every row scored the same, the
interval has no width, which says nothing about rows that were not drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

Ratio = tuple[np.ndarray, np.ndarray]
"""Numerators and denominators, one of each per row: float arrays of shape (N,)."""

Metric = list[Ratio]
"""One or more ratios over the same N rows; the metric is the mean of sum / sum."""

RESAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """A metric's value and the ends of its interval, in the metric's own unit.

    All three are None where the metric is undefined: precision where nothing was named.
    """

    value: float | None
    low: float | None
    high: float | None
    rows: int


def ratio(numerator, denominator=None) -> Metric:
    """A metric of one ratio; without ``denominator`` the plain mean over rows.

    Args:
        numerator: N numbers or booleans.
        denominator: N numbers or booleans; 1 each when None.
    """
    top = np.asarray(numerator, dtype=np.float64)
    bottom = np.ones_like(top) if denominator is None else np.asarray(denominator, np.float64)
    return [(top, bottom)]


def value(metric: Metric) -> float:
    """The metric over all rows; NaN where a denominator sums to 0."""
    return float(_means(_columns(metric).sum(0)[None])[0])


def estimate(
    metric: Metric, *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """A metric with its percentile bootstrap interval over rows.

    Args:
        metric: ratios over N rows.
        level: coverage, in (0, 1).
        resamples: how often N rows are drawn with replacement.
        seed: the draws depend on it and on N alone.
    """
    samples = _means(_resampled(_columns(metric), resamples, seed))
    return _estimate(value(metric), samples, level, len(metric[0][0]))


def difference(
    before: Metric,
    after: Metric,
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """``after`` - ``before`` with an interval, paired: both were measured on the same N rows, and
    each resample draws the same rows for both.

    Raises:
        ValueError: the two have not the same number of rows.
    """
    if len(before[0][0]) != len(after[0][0]):
        raise ValueError(
            f"a paired difference needs the same rows, not {len(before[0][0])} "
            f"and {len(after[0][0])}"
        )
    sums = _resampled(_columns(before + after), resamples, seed)
    cut = 2 * len(before)
    samples = _means(sums[:, cut:]) - _means(sums[:, :cut])
    return _estimate(value(after) - value(before), samples, level, len(before[0][0]))


def pooled(
    runs: Sequence[Metric], *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """The mean of a metric over S training runs, with an interval over rows and runs.

    Each resample draws rows (the same for all runs) and runs, both with replacement. With the few
    runs that one can afford, the part of the interval that is theirs comes out too narrow, by
    sqrt((S - 1) / S).

    Args:
        runs: the metric of each run, over the same N rows. A run in which it is undefined is
            skipped in the mean.

    Raises:
        ValueError: no runs, or not the same rows.
    """
    points, samples = _pooled(runs, resamples, seed, draw=0)
    return _estimate(_mean(points), samples, level, len(runs[0][0][0]))


def pooled_difference(
    before: Sequence[Metric],
    after: Sequence[Metric],
    *,
    paired_runs: bool = False,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Mean over the runs of ``after`` less that of ``before``, paired over rows as in
    :func:`pooled`.

    Args:
        paired_runs: run s of ``after`` was trained from run s of ``before``, or both from the same:
            the same runs of both are drawn. Otherwise they are drawn independently.

    Raises:
        ValueError: not the same rows, or ``paired_runs`` and not as many runs.
    """
    if paired_runs and len(before) != len(after):
        raise ValueError(f"paired runs must be as many, not {len(before)} and {len(after)}")
    if len(before[0][0][0]) != len(after[0][0][0]):
        raise ValueError(
            f"a paired difference needs the same rows, not {len(before[0][0][0])} "
            f"and {len(after[0][0][0])}"
        )
    first, low = _pooled(before, resamples, seed, draw=1)
    second, high = _pooled(after, resamples, seed, draw=1 if paired_runs else 2)
    return _estimate(_mean(second) - _mean(first), high - low, level, len(before[0][0][0]))


def _pooled(runs: Sequence[Metric], resamples: int, seed: int, draw: int):
    """Values of S runs, and (R,) means over drawn runs of drawn rows."""
    sizes = {len(run[0][0]) for run in runs}
    if len(sizes) != 1:
        raise ValueError(f"runs to pool need the same rows, not {sorted(sizes)}")
    points = np.array([value(run) for run in runs])
    found = np.stack([_means(_resampled(_columns(run), resamples, seed)) for run in runs], axis=1)
    rng = np.random.default_rng([seed, draw, len(runs)])
    chosen = rng.integers(0, len(runs), (resamples, len(runs)))
    return points, _mean(np.take_along_axis(found, chosen, axis=1))


def _mean(values: np.ndarray):
    """Over the last axis, what is not finite skipped; NaN where nothing is left."""
    known = np.isfinite(values)
    count = known.sum(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(known, values, 0.0).sum(-1) / np.where(count == 0, np.nan, count)


def _columns(metric: Metric) -> np.ndarray:
    """(N, 2K): numerator and denominator of each of K ratios."""
    return np.stack([column for pair in metric for column in pair], axis=1)


def _means(sums: np.ndarray) -> np.ndarray:
    """(R, 2K) sums to (R,) means of ratios."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return (sums[:, 0::2] / np.where(sums[:, 1::2] == 0, np.nan, sums[:, 1::2])).mean(1)


def _resampled(columns: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """(R, C): sums of each column over each resample."""
    n = len(columns)
    if n == 0:
        return np.full((resamples, columns.shape[1]), np.nan)
    return _draws(n, resamples, seed) @ columns


@lru_cache(maxsize=8)
def _draws(n: int, resamples: int, seed: int) -> np.ndarray:
    """(R, N): how often each row is drawn in each resample."""
    drawn = np.random.default_rng([seed, n]).integers(0, n, (resamples, n), dtype=np.int64)
    drawn += np.arange(resamples)[:, None] * n
    counts = np.bincount(drawn.ravel(), minlength=resamples * n)
    return counts.reshape(resamples, n).astype(np.float64)


def _estimate(point: float, samples: np.ndarray, level: float, rows: int) -> Estimate:
    defined = samples[np.isfinite(samples)]
    if not np.isfinite(point) or not defined.size:
        return Estimate(None, None, None, rows)
    tail = (1 - level) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Estimate(float(point), float(low), float(high), rows)
