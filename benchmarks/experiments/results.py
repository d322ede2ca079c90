"""Write the results of an experiment: Markdown for the docs, JSON, and a plot.

Every figure is a mean over training runs with a 95 % bootstrap interval over rows and runs
(:func:`benchmarks.metrics.intervals.pooled`). Arms that are not measured yet are skipped and named.
"""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.experiments.config import Experiment
from benchmarks.experiments.plan import rate_of, sweep_scores
from benchmarks.experiments.run import write_whole
from benchmarks.experiments.tables import plot_tables, table_keys, tables_markdown
from benchmarks.harness.table import row_line, show
from benchmarks.metrics.intervals import Metric, pooled, pooled_difference
from data_gen.files.files import atomic_file

NAMING = {"naming_1": "1 concept", "naming_2": "2 concepts", "naming_4": "4 concepts"}
OWNED = {"owned_1": "1 concept", "owned_2": "2 concepts", "owned_4": "4 concepts"}
IMAGE_ONLY = {"naming_image_only/f1": "1-2 concepts", "naming_image_only_4/f1": "4 concepts"}
OPEN_SET = {"naming_open_1/f1": "1 concept", "naming_open_2/f1": "2 concepts"}
CONTROLS = {
    "naming_absent/names_nothing": "absent",
    **{f"naming_absent_{r}refs/names_nothing": f"{r} shown" for r in range(1, 5)},
    "naming_wrong/names_nothing": "hard negative",
    "naming_none/names_nothing": "no reference",
}
PERCEPTION = {
    "oct/accuracy": "OCT, balanced accuracy",
    "vlt/iou50": "VLT, IoU ≥ 0.5",
    "captions/at_floor": "captions of 100 tokens or more",
    "captions/attribute_accuracy": "their attributes, true of those claimed",
    "naming_all/precision": "names, precision",
    "naming_all/recall": "names, recall",
}
GENERAL = {
    "description/attribute_accuracy": "captions: attributes true of those claimed",
    "description/attribute_coverage": "captions: attributes true of all",
    "list/counted": "counting",
    "list/placed": "position",
    "list/attribute_accuracy": "lists: attributes true of those claimed",
}
MARGIN = 0.02
"""A general skill counts as unchanged if it has moved by less."""

Runs = dict[str, list[dict[str, Metric]]]
"""Arm -> for each of its runs, metric key -> metric."""


def read_runs(experiment: Experiment) -> Runs:
    """The measured runs of every arm, seeds in order; arms without any are skipped."""
    found: Runs = {}
    for name, arm in experiment.arms.items():
        runs = [name] if arm.is_base else [f"{name}-{seed}" for seed in experiment.seeds]
        for run in runs:
            file = Path(experiment.out) / "test" / run / "columns.json"
            if file.exists():
                (metrics,) = json.loads(file.read_text()).values()
                found.setdefault(name, []).append(
                    {
                        key: [(np.array(top), np.array(bottom)) for top, bottom in metric]
                        for key, metric in metrics.items()
                    }
                )
    return found


def write_results(experiment: Experiment, every: bool = True) -> str:
    """Write ``results.md``, ``results.json`` and ``results.png`` from what has been measured.

    Args:
        every: put every metric into the JSON, not only those of the tables.

    Returns:
        The Markdown; empty where nothing has been measured.
    """
    out, runs = Path(experiment.out), read_runs(experiment)
    if not runs:
        return ""
    compared = table_keys(experiment) or [f"{s}/f1" for s in (*NAMING, *OWNED)]
    shown = {
        *compared,
        *(f"{s}/retrieved" for s in OWNED),
        *IMAGE_ONLY,
        *OPEN_SET,
        *CONTROLS,
        *PERCEPTION,
        *GENERAL,
    }
    figures = estimates(runs, None if every else shown)
    changes = [
        {
            "before": a,
            "after": b,
            "key": key,
            **asdict(
                pooled_difference(
                    [r[key] for r in runs[a]],
                    [r[key] for r in runs[b]],
                    paired_runs=_same_runs(experiment, runs, a, b),
                )
            ),
        }
        for a, b in experiment.compare
        if a in runs and b in runs
        for key in compared
        if all(key in run for run in (*runs[a], *runs[b]))
    ]
    general = general_changes(experiment, runs)
    sweeps = {
        name: {
            "scores": {f"{r:g}": s for r, s in sweep_scores(experiment, name).items()},
            "chosen": _chosen(experiment, name),
        }
        for name, arm in experiment.arms.items()
        if arm.rates
    }
    text = markdown(experiment, runs, figures, changes, general, sweeps)
    write_whole(
        out / "results.json",
        json.dumps(
            {
                "runs": {name: len(of) for name, of in runs.items()},
                "figures": figures,
                "changes": changes,
                "general": general,
                "rates": sweeps,
            },
            indent=1,
        )
        + "\n",
    )
    write_whole(out / "results.md", text)
    (plot_tables if experiment.tables else plot)(experiment, figures, out / "results.png")
    return text


def _same_runs(experiment: Experiment, runs: Runs, before: str, after: str) -> bool:
    """Whether each run of one arm was trained from that of the other, or both from the same, and
    all are measured."""
    whole = all(len(runs[name]) == len(experiment.seeds) for name in (before, after))
    return whole and not _stages(experiment, before).isdisjoint(_stages(experiment, after))


def _stages(experiment: Experiment, name: str) -> set[str]:
    """An arm, and those that its policies were trained from, one from the other."""
    before = experiment.arms[name].start or experiment.arms[name].policy_of
    return {name} | (_stages(experiment, before) if before else set())


def estimates(runs: Runs, keys: set[str] | None = None) -> dict[str, dict[str, dict]]:
    """Arm -> metric key -> ``{"value", "low", "high", "rows"}``, over all its runs; a metric that
    one of them, measured earlier, does not have is left out.

    Args:
        keys: of the metrics; all when ``None``.
    """
    return {
        name: {
            key: asdict(pooled([run[key] for run in of]))
            for key in of[0]
            if (keys is None or key in keys) and all(key in run for run in of)
        }
        for name, of in runs.items()
    }


def general_changes(experiment: Experiment, runs: Runs) -> dict[str, dict[str, dict]]:
    """Arm -> general skill -> its change from the base, and ``stayed``: true where the whole
    interval lies within :data:`MARGIN`, false where all of it lies outside, else null."""
    base = next((n for n, arm in experiment.arms.items() if arm.is_base and n in runs), "")
    found: dict[str, dict[str, dict]] = {}
    for name in runs if base else []:
        for key in GENERAL:
            if name == base or key not in runs[base][0]:
                continue
            change = asdict(
                pooled_difference([r[key] for r in runs[base]], [r[key] for r in runs[name]])
            )
            low, high = change["low"], change["high"]
            change["stayed"] = (
                None
                if low is None
                else (
                    True
                    if low >= -MARGIN and high <= MARGIN
                    else False
                    if high < -MARGIN or low > MARGIN
                    else None
                )
            )
            found.setdefault(name, {})[key] = change
    return found


def markdown(experiment, runs, figures, changes, general, sweeps) -> str:
    """The tables, ready for a page of the docs."""
    titles = {name: experiment.arms[name].title for name in experiment.arms}
    missing = [
        name
        for name, arm in experiment.arms.items()
        if len(runs.get(name, [])) < (1 if arm.is_base else len(experiment.seeds))
    ]
    if experiment.tables:
        lines = tables_markdown(experiment, figures, changes)
    else:
        lines = _naming_markdown(experiment, figures, changes, general, titles)
    lines += [
        "",
        "Learning rates, chosen on validation rows "
        f"(`{experiment.choose}`, seed {experiment.validation['seed']}): "
        + "; ".join(_rate_text(titles[n], s) for n, s in sweeps.items())
        + ".",
    ]
    lines += [
        "",
        f"Per cent; in brackets 95 % bootstrap intervals over rows and training runs "
        f"(seeds {', '.join(map(str, experiment.seeds))}; differences: the same rows)."
        + (
            ""  # the tables of a config show none of a paper's
            if experiment.tables
            else " The paper's figures are of its own benchmarks, models and data."
        ),
    ]
    if missing:
        lines += ["", f"**Not finished:** {', '.join(titles[n] for n in missing)}."]
    return "\n".join(lines) + "\n"


def _naming_markdown(experiment, figures, changes, general, titles) -> list[str]:
    """The tables of an experiment on naming."""
    lines = ["### Names, references handed over (F1, strict)", ""]
    lines += _with_paper(experiment, figures, NAMING)
    lines += ["", "### Names, references retrieved from a database (F1, strict)", ""]
    lines += _with_paper(experiment, figures, OWNED)
    first = next(iter(figures.values()))  # what was retrieved is the same for all
    lines += [
        "",
        "Share of the toys in the image that were retrieved: "
        + "; ".join(f"{title} {_cell(first, f'{s}/retrieved')}" for s, title in OWNED.items())
        + ".",
    ]
    lines += [
        "",
        "### Names, references as images only, without the owner's words (F1, strict)",
        "",
    ]
    lines += _table(titles, figures, IMAGE_ONLY)
    lines += ["", "### Names, unlisted toys beside those with references (F1, strict)", ""]
    lines += _table(titles, figures, OPEN_SET)
    lines += ["", "### Controls: captions that name nothing, where no name is expected", ""]
    lines += _table(titles, figures, CONTROLS)
    lines += [
        "",
        "### Differences (F1)",
        "",
        row_line(
            [
                "",
                *(
                    f"{t}, {how}"
                    for how, sets in (("given", NAMING), ("retrieved", OWNED))
                    for t in sets.values()
                ),
            ]
        ),
        _rule(6),
    ]
    for before, after in dict.fromkeys((c["before"], c["after"]) for c in changes):
        of = {c["key"]: c for c in changes if (c["before"], c["after"]) == (before, after)}
        lines.append(
            row_line(
                [
                    f"{titles[after]} − {titles[before]}",
                    *(
                        show(of[f"{s}/f1"], "share", sign=True) if f"{s}/f1" in of else "–"
                        for s in (*NAMING, *OWNED)
                    ),
                ]
            )
        )
    lines += ["", "### What else the rewards ask for", "", *_table(titles, figures, PERCEPTION)]
    lines += [
        "",
        "### General skills, without names: change from the base",
        "",
        row_line(["", *GENERAL.values(), "within 2 points"]),
        _rule(len(GENERAL) + 1),
    ]
    base = next((n for n, arm in experiment.arms.items() if arm.is_base), "")
    if base in figures:
        lines.append(
            row_line(
                [f"{titles[base]} (value)", *(_cell(figures[base], key) for key in GENERAL), ""]
            )
        )
    for name, of in general.items():
        verdicts = [of[key]["stayed"] for key in of]
        verdict = "no" if False in verdicts else "yes" if all(verdicts) else "not told apart"
        lines.append(
            row_line(
                [
                    titles[name],
                    *(show(of[key], "share", sign=True) if key in of else "–" for key in GENERAL),
                    verdict,
                ]
            )
        )
    return lines


def _with_paper(experiment: Experiment, figures, sets: dict[str, str]) -> list[str]:
    heads = [h for title in sets.values() for h in (title, "paper")]
    lines = [row_line(["", *heads]), _rule(len(heads))]
    for name, of in figures.items():
        arm = experiment.arms[name]
        lines.append(
            row_line(
                [
                    arm.title,
                    *(
                        cell
                        for s in sets
                        for cell in (_cell(of, f"{s}/f1"), str(arm.paper.get(s, "")))
                    ),
                ]
            )
        )
    return lines


def _table(titles: dict[str, str], figures, columns: dict[str, str]) -> list[str]:
    return [
        row_line(["", *columns.values()]),
        _rule(len(columns)),
        *(
            row_line([titles[name], *(_cell(of, key) for key in columns)])
            for name, of in figures.items()
        ),
    ]


def _cell(of: dict[str, dict], key: str) -> str:
    return show(of[key], "share") if key in of else "–"


def _rule(columns: int) -> str:
    return row_line(["---", *["---:"] * columns])


def _rate_text(title: str, sweep: dict) -> str:
    scores = ", ".join(f"{rate} {100 * score:.1f}" for rate, score in sweep["scores"].items())
    tried = sorted(sweep["scores"], key=float)
    edge = len(tried) > 1 and sweep["chosen"] in (tried[0], tried[-1])
    return (
        f"{title} {sweep['chosen'] or 'not chosen yet'}"
        + (f" ({scores})" if scores else "")
        + ", at the edge of what was tried" * edge
    )


def _chosen(experiment: Experiment, name: str) -> str | None:
    rates, scores = experiment.arms[name].rates, sweep_scores(experiment, name)
    known = len(rates) == 1 or len(scores) == len(rates)
    return f"{rate_of(experiment, name):g}" if known else None


def _line(experiment: Experiment, name: str) -> dict:
    """An arm that has another one's rate is dashed, if it differs in its rows, or dotted."""
    arm = experiment.arms[name]
    if not arm.rate_of:
        return {"linestyle": "-", "linewidth": 2}
    other_rows = arm.rows != experiment.arms[arm.rate_of].rows
    return {"linestyle": "--" if other_rows else ":", "linewidth": 1.5 if other_rows else 1}


def plot(experiment: Experiment, figures: dict, path: Path) -> None:
    """F1 over the number of concepts, each arm a line with its intervals; references handed over
    on the left, retrieved on the right."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    palette = colormaps["tab20"]
    colours = [palette(k) for k in range(palette.N)]
    for panel, sets, title in zip(
        panels, (NAMING, OWNED), ("references handed over", "references retrieved"), strict=True
    ):
        panel.set_prop_cycle(color=[*colours[::2], *colours[1::2]])
        for k, (name, of) in enumerate(figures.items()):
            points = [
                (i + 0.05 * (k - len(figures) / 2), of[f"{s}/f1"])
                for i, s in enumerate(sets)
                if of.get(f"{s}/f1", {}).get("value") is not None
            ]
            if not points:
                continue
            x, y = [p for p, _ in points], [100 * f["value"] for _, f in points]
            spread = [
                [max(0, 100 * (f["value"] - f["low"])) for _, f in points],
                [max(0, 100 * (f["high"] - f["value"])) for _, f in points],
            ]
            panel.errorbar(
                x,
                y,
                yerr=spread,
                marker="o",
                capsize=2,
                **_line(experiment, name),
                label=experiment.arms[name].title,
            )
        panel.set(
            title=title, xticks=range(len(sets)), xticklabels=list(sets.values()), ylim=(0, 101)
        )
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("F1 of names, %")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", fontsize=8)
    with atomic_file(path) as file:
        figure.savefig(file, format="png", dpi=110)
