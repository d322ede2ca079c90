"""The tables and the plot of an experiment whose config says what they show (``tables``)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.experiments.config import Experiment
from benchmarks.harness.table import row_line, show
from data_gen.files.files import atomic_file


def table_keys(experiment: Experiment) -> list[str]:
    """The metrics of all tables, in their order."""
    return list(dict.fromkeys(key for columns in experiment.tables.values() for key in columns))


def tables_markdown(
    experiment: Experiment, figures: Mapping[str, dict], changes: Sequence[dict]
) -> list[str]:
    """Each table, and the differences that the experiment asks for, as lines of Markdown.

    Args:
        figures: arm -> metric -> ``{"value", "low", "high"}``.
        changes: ``before``, ``after``, ``key`` and the same three each.
    """
    lines: list[str] = []
    pairs = dict.fromkeys((c["before"], c["after"]) for c in changes)
    for title, columns in experiment.tables.items():
        lines += [""] if lines else []
        lines += [f"### {title}", "", *_head(columns)]
        for name, of in figures.items():
            cells = [show(of[key], "share") if key in of else "–" for key in columns]
            lines.append(row_line([experiment.arms[name].title, *cells]))
        for before, after in pairs:
            found = {c["key"]: c for c in changes if (c["before"], c["after"]) == (before, after)}
            cells = [
                show(found[key], "share", sign=True) if key in found else "–" for key in columns
            ]
            what = f"{experiment.arms[after].title} − {experiment.arms[before].title}"
            lines.append(row_line([what, *cells]))
    return lines


def _head(columns: Mapping[str, str]) -> list[str]:
    return [row_line(["", *columns.values()]), row_line(["---", *["---:"] * len(columns)])]


def plot_table(experiment: Experiment, figures: Mapping[str, dict], path: Path) -> None:
    """The first table: a group of bars for each of its columns, a bar for each arm."""
    from matplotlib.figure import Figure

    title, columns = next(iter(experiment.tables.items()))
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    panel, width = figure.subplots(), 0.8 / max(1, len(figures))
    for k, (name, of) in enumerate(figures.items()):
        known = [
            (i, of[key])
            for i, key in enumerate(columns)
            if key in of and of[key]["value"] is not None
        ]
        if known:
            panel.bar(
                [i + width * (k - (len(figures) - 1) / 2) for i, _ in known],
                [100 * f["value"] for _, f in known],
                width,
                yerr=[
                    [max(0, 100 * (f["value"] - f["low"])) for _, f in known],
                    [max(0, 100 * (f["high"] - f["value"])) for _, f in known],
                ],
                capsize=2,
                label=experiment.arms[name].title,
            )
    panel.set(title=title, xticks=range(len(columns)), ylabel="%", ylim=(0, 101))
    panel.set_xticklabels(list(columns.values()))
    panel.grid(axis="y", alpha=0.3)
    figure.legend(loc="outside right center", fontsize=8)
    with atomic_file(path) as file:
        figure.savefig(file, format="png", dpi=110)
