"""The measurements as a table, as three curves, and with a fit of the predicted cost."""

import math
import statistics
from dataclasses import replace
from pathlib import Path

from rl.sharing.cost import OVERHEAD, Prices
from rl.speed.workload import Shape, costs, fit


def faster(result: dict, phase: str) -> float:
    """Stock's time for a phase over ours."""
    return result["stock"]["seconds"][phase] / max(result["ours"]["seconds"][phase], 1e-9)


def between(result: dict, phase: str) -> tuple[float, float] | None:
    """95 % interval of how many times faster ours is, from the ratios of n paired steps; ``None``
    for fewer than three. Ratios are taken as log-normal, their spread as known (z = 1.96)."""
    pairs = zip(*(result[name]["steps"][phase] for name in ("stock", "ours")), strict=True)
    logs = [math.log(stock / ours) for stock, ours in pairs if stock > 0 and ours > 0]
    if len(logs) < 3:
        return None
    mean, error = statistics.mean(logs), statistics.stdev(logs) / math.sqrt(len(logs))
    return math.exp(mean - 1.96 * error), math.exp(mean + 1.96 * error)


def line(result: dict) -> str:
    """One row of the table."""
    stock, ours, least = result["stock"], result["ours"], result["bound"]
    shown = {}
    for phase in ("step", "loss"):
        interval = between(result, phase)
        shown[phase] = f"{faster(result, phase):.2f}"
        shown[phase] += f" ({interval[0]:.2f}-{interval[1]:.2f})" if interval else ""
    return (
        f"| {result['case']} | {stock['seconds']['step']:.2f} | {shown['step']} | "
        f"{shown['loss']} | {result['predicted']:.2f} | "
        f"{faster(result, 'generation'):.2f} | "
        f"{stock['tokens']} / {ours['tokens']} / {least['tokens']} | "
        f"{stock['images']} / {ours['images']} / {least['images']} |"
    )


def table_of(results: list[dict]) -> str:
    """Markdown table: stock's step in seconds, how many times faster ours is (with 95 % intervals
    of paired steps), tokens and images."""
    head = (
        "| case | stock step, s | step × | loss × | predicted × | generation × "
        "| tokens stock / ours / least | images through the tower |"
    )
    return "\n".join([head, "|" + "---|" * 8, *map(line, results)]) + "\n"


def draw(results: list[dict], path: Path) -> None:
    """Plot how many times faster ours is against G, prompt length and completion length."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    kinds = [k for k in ("G", "prompt", "completion") if any(r["kind"] == k for r in results)]
    if not kinds:
        return
    figure, axes = pyplot.subplots(1, len(kinds), figsize=(4.2 * len(kinds), 3.2), squeeze=False)
    for axis, kind in zip(axes[0], kinds, strict=True):
        mine = [r for r in results if r["kind"] == kind]
        x = [r["shape"][kind] for r in mine]
        for phase in ("step", "loss", "generation"):
            axis.plot(x, [faster(r, phase) for r in mine], marker="o", label=phase)
        axis.axhline(1, color="grey", linewidth=0.8)
        axis.set(
            xscale="log",
            xlabel={"G": "completions per prompt"}.get(kind, f"{kind} tokens"),
            ylabel="times faster than stock TRL",
            xticks=x,
        )
        axis.set_xticklabels(x)
        axis.minorticks_off()
    axes[0][0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def fitted(results: list[dict]) -> dict:
    """The overhead and the price of attention that fit this run best, and how wrong predictions
    with those in use were."""
    points = []
    for r in results:
        shape, prices = Shape(**r["shape"]), Prices(**r["prices"])
        whole = costs(shape, shape.prompt, prices, r["image_price"])
        rest = costs(shape, shape.prompt, replace(prices, pair=0.0), r["image_price"])
        for name in ("stock", "ours") if r["shared"] else ("stock",):
            points.append((r[name]["seconds"]["loss"], rest[name], whole[name] - rest[name]))
    errors = {r["case"]: r["predicted"] / faster(r, "loss") - 1 for r in results if r["shared"]}
    long = [
        errors[r["case"]]
        for r in results
        if r["shared"] and r["shape"]["prompt"] >= 4 * r["shape"]["completion"]
    ]
    overhead, attention = fit(points) if len(points) > 3 else (None, None)
    return {
        "overhead": overhead,
        "attention": attention,
        "errors": errors,
        "median_error": statistics.median(map(abs, errors.values())) if errors else None,
        "largest_error_long_prompts": max(map(abs, long)) if long else None,
    }


def fit_line(results: list[dict]) -> str:
    """:func:`fitted` in a sentence."""
    found = fitted(results)
    text = "Too few cases to fit."
    if found["overhead"] is not None:
        text = (
            f"Best fit: an overhead of {found['overhead']:.0f} tokens (used: {OVERHEAD:.0f}), and "
            f"attention at {found['attention']:.1f} times the price that is used."
        )
    if found["median_error"] is not None:
        text += f" Prediction off by {found['median_error']:.0%} (median of shared cases)"
        if found["largest_error_long_prompts"] is not None:
            text += f", by {found['largest_error_long_prompts']:.0%} at most where P >= 4 C"
        text += "."
    return text
