"""The measurements as tables, as three curves, and how far the prediction was off."""

from dataclasses import asdict
from pathlib import Path

from rl.speed.pairs import between, faster, ratios, slower_line
from rl.speed.prediction import (
    AIM,
    LONG,
    Constants,
    Errors,
    errors_in_use,
    errors_left_out,
    errors_of,
    fit,
    long_prompt,
    predicted,
)


def line(result: dict) -> str:
    """One row of the table."""
    stock, ours, least = result["stock"], result["ours"], result["bound"]
    step, loss, generation = (times(result, phase) for phase in ("step", "loss", "generation"))
    return (
        f"| {result['case']} | {stock['seconds']['step']:.2f}, {ours['seconds']['step']:.2f} | "
        f"{step} | {loss} | {predicted(result):.2f} | {generation} | "
        f"{stock['tokens']} / {ours['tokens']} / {least['tokens']} | "
        f"{stock['images']} / {ours['images']} / {least['images']} |"
    )


def times(result: dict, phase: str) -> str:
    """How many times faster a phase is, with the 95 % interval of paired steps."""
    interval = between(ratios(result, phase))
    told = f" [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else ""
    return f"{faster(result, phase):.2f}{told}"


def table_of(results: list[dict]) -> str:
    """Markdown table: steps in seconds, how many times faster ours is (with 95 % intervals of
    paired steps), what was predicted of the loss, tokens and images."""
    head = (
        "| case | step, s: stock, ours | step × | loss × | predicted × | generation × "
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


def errors_table(results: list[dict]) -> str:
    """Markdown table of the prediction's errors: with the constants in use, and with those that the
    other cases give. Empty where no case shares."""
    used, left_out = errors_in_use(results), errors_left_out(results)
    lines = []
    for result in results:
        if result["case"] in used:
            case, told = result["case"], left_out.get(result["case"])
            lines.append(
                f"| {case} | {'yes' if long_prompt(result) else 'no'} | {times(result, 'loss')} | "
                f"{predicted(result):.2f} | {used[case]:+.0%} | "
                f"{'–' if told is None else f'{told:+.0%}'} |"
            )
    head = f"| case | P >= {LONG} C | loss × | predicted × | error | error, fitted to the others |"
    return "\n".join([head, "|" + "---|" * 6, *lines]) + "\n" if lines else ""


def prediction(results: list[dict]) -> dict:
    """The constants in use and those that fit these cases best, and how far both are off; for the
    JSON file."""
    best = fit(results)
    found: dict = {"used": asdict(Constants()), "fitted": asdict(best) if best else None}
    for name, errors in (("used", errors_in_use(results)), ("left_out", errors_left_out(results))):
        found[f"errors_{name}"] = errors
        for kind, of in _KINDS.items():
            told = errors_of(results, errors, of)
            found[f"errors_{name}_{kind}"] = told._asdict() if told else None
    return found


def summary(results: list[dict]) -> str:
    """Sentences: which cases are slower than stock, how far the prediction is off, which constants
    would fit best."""
    lines = [slower_line(results)]
    used, left_out = errors_in_use(results), errors_left_out(results)
    for name, errors in (("constants in use", used), ("constants fitted to the others", left_out)):
        parts = [
            f"{title} {_told(told)}"
            for kind, title in (("long", f"P >= {LONG} C:"), ("short", "others:"))
            if (told := errors_of(results, errors, _KINDS[kind]))
        ]
        if parts:
            lines.append(f"Error of the prediction, {name}: {'; '.join(parts)}.")
    best, now = fit(results), Constants()
    if best is None:
        lines.append("Too few cases to fit.")
    else:
        lines.append(
            f"Best fit (in use): an overhead of {best.overhead:.0f} tokens ({now.overhead:.0f}), "
            f"attention at {best.attention:.2f} ({now.attention:.2f}), images at "
            f"{best.images:.2f} ({now.images:.2f}) and TRL's LM head on a CPU at {best.head:.2f} "
            f"({now.head:.2f}) times what counting says."
        )
    return "\n".join(lines)


_KINDS = {"long": long_prompt, "short": lambda result: not long_prompt(result)}


def _told(errors: Errors) -> str:
    low, high = errors.interval
    return (
        f"median {errors.median:.0%} [{low:.0%}, {high:.0%}] over {errors.cases} cases, "
        f"{errors.within} of them within {AIM:.0%}, at most {errors.largest:.0%} ({errors.worst})"
    )
