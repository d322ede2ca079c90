"""How many times faster ours is: the median of the ratios of paired steps, with an interval.

The interval of a median needs nothing of how the ratios are spread: between the k-th smallest and
the k-th largest of n it lies with a probability of 1 - 2 P(X < k), X of n throws of a coin.
"""

import statistics
from collections.abc import Sequence
from math import comb

SLOWER = 0.95
"""A case whose lower bound is below is told as slower than stock."""


def ratios(result: dict, phase: str) -> list[float]:
    """Stock's time over ours in each pair of steps in which the phase took any."""
    pairs = zip(*(result[name]["steps"][phase] for name in ("stock", "ours")), strict=True)
    return [stock / ours for stock, ours in pairs if stock > 0 and ours > 0]


def faster(result: dict, phase: str) -> float:
    """The median of :func:`ratios`; NaN where there is none."""
    found = ratios(result, phase)
    return statistics.median(found) if found else float("nan")


def between(found: Sequence[float], level: float = 0.95) -> tuple[float, float] | None:
    """The narrowest such interval of the median at ``level``; ``None`` where the least and the
    largest value do not suffice (five values or fewer for 95 %)."""
    n, below, k = len(found), 0.0, 0
    while k < n // 2 and 1 - 2 * (below + comb(n, k) / 2**n) >= level:
        below += comb(n, k) / 2**n
        k += 1
    if k == 0:
        return None
    ordered = sorted(found)
    return ordered[k - 1], ordered[n - k]


def slower_line(results: Sequence[dict]) -> str:
    """Which cases' lower bounds of a whole step are under :data:`SLOWER`, in a sentence."""
    bounds, short = {}, []
    for result in results:
        interval = between(ratios(result, "step"))
        if interval is None:
            short.append(result["case"])
        else:
            bounds[result["case"]] = interval[0]
    parts = []
    if bounds:
        under = {case: low for case, low in bounds.items() if low < SLOWER}
        told = ", ".join(f"{case} ({low:.2f})" for case, low in under.items())
        least = min(bounds, key=bounds.__getitem__)
        of = f"of {len(bounds)} cases" if len(bounds) > 1 else "of one case"
        parts.append(
            f"Lower 95 % bound of a step's × under {SLOWER}: "
            + (told or f"none {of} (the least: {least}, {bounds[least]:.2f})")
        )
    if short:
        parts.append(f"too few steps for a bound: {', '.join(short)}")
    return "; ".join(parts) + "."
