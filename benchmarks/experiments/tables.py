"""The tables and the plot of an experiment whose config says what they show (``tables``)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill

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


def plot_tables(experiment: Experiment, figures: Mapping[str, dict], path: Path) -> None:
    """A panel for each table: a group of bars for each of its columns, a bar for each arm."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    tables, palette = experiment.tables, colormaps["tab10" if len(figures) <= 10 else "tab20"]
    arms = [
        Patch(color=palette(k % palette.N), label=experiment.arms[name].title)
        for k, name in enumerate(figures)
    ]
    figure = Figure(figsize=(10, 0.8 + 2.9 * len(tables)), layout="constrained")
    panels = figure.subplots(len(tables), squeeze=False)[:, 0]
    for panel, (title, columns) in zip(panels, tables.items(), strict=True):
        for k, of in enumerate(figures.values()):
            _bars(panel, [of.get(key) for key in columns], k, arms)
        panel.set(title=title, xticks=range(len(columns)), ylabel="%", ylim=(0, 101))
        panel.set_xticklabels([fill(words, 18) for words in columns.values()])
        panel.set_xlim(-0.6, len(columns) - 0.4)
        panel.grid(axis="y", alpha=0.3)
    figure.legend(handles=arms, loc="outside lower center", fontsize=9, ncols=3)
    with atomic_file(path) as file:
        figure.savefig(file, format="png", dpi=110)


def _bars(panel, figures: Sequence[dict | None], k: int, arms: Sequence) -> None:
    """The bars of arm ``k``, with their intervals; none where nothing was measured.

    Args:
        arms: the entries of the legend, whose colours the bars have.
    """
    width = 0.8 / len(arms)
    known = [(i, f) for i, f in enumerate(figures) if f is not None and f["value"] is not None]
    panel.bar(
        [i + width * (k - (len(arms) - 1) / 2) for i, _ in known],
        [100 * f["value"] for _, f in known],
        width,
        yerr=[
            [max(0, 100 * (f["value"] - f["low"])) for _, f in known],
            [max(0, 100 * (f["high"] - f["value"])) for _, f in known],
        ],
        capsize=2,
        error_kw={"elinewidth": 1},
        color=arms[k].get_facecolor(),
    )
