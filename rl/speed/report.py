"""The measurements as a table, as three curves, and with a fit of the predicted cost."""

import statistics
from pathlib import Path

from rl.sharing.cost import OVERHEAD, Prices
from rl.speed.workload import Shape, costs, fit


def faster(result: dict, phase: str) -> float:
    """Stock's time for a phase over ours."""
    return result["stock"]["seconds"][phase] / max(result["ours"]["seconds"][phase], 1e-9)


def line(result: dict) -> str:
    """One row of the table."""
    stock, ours, least = result["stock"], result["ours"], result["bound"]
    return (
        f"| {result['case']} | {stock['seconds']['step']:.2f} | {faster(result, 'step'):.2f} | "
        f"{faster(result, 'loss'):.2f} | {result['predicted']:.2f} | "
        f"{faster(result, 'generation'):.2f} | "
        f"{stock['tokens']} / {ours['tokens']} / {least['tokens']} | "
        f"{stock['images']} / {ours['images']} / {least['images']} |"
    )


def table_of(results: list[dict]) -> str:
    """Markdown table: stock's step in seconds, how many times faster ours is, tokens and images."""
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
    """The overhead that fits this run best, and how wrong predictions with the one in use were."""
    points = []
    for r in results:
        shape = Shape(**r["shape"])
        expected = costs(shape, shape.prompt, Prices(**r["prices"]), r["image_price"])
        for name in ("stock", "ours") if r["shared"] else ("stock",):
            points.append((r[name]["seconds"]["loss"], expected[name]))
    errors = {r["case"]: r["predicted"] / faster(r, "loss") - 1 for r in results if r["shared"]}
    long = [
        errors[r["case"]]
        for r in results
        if r["shared"] and r["shape"]["prompt"] >= 4 * r["shape"]["completion"]
    ]
    return {
        "overhead": fit(points) if len(points) > 2 else None,
        "errors": errors,
        "median_error": statistics.median(map(abs, errors.values())) if errors else None,
        "largest_error_long_prompts": max(map(abs, long)) if long else None,
    }


def fit_line(results: list[dict]) -> str:
    """:func:`fitted` in a sentence."""
    found = fitted(results)
    text = "Too few cases to fit."
    if found["overhead"] is not None:
        text = f"Best fit: an overhead of {found['overhead']:.0f} tokens; used: {OVERHEAD:.0f}."
    if found["median_error"] is not None:
        text += f" Prediction off by {found['median_error']:.0%} (median of shared cases)"
        if found["largest_error_long_prompts"] is not None:
            text += f", by {found['largest_error_long_prompts']:.0%} at most where P >= 4 C"
        text += "."
    return text
