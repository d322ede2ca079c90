"""The result of an evaluation as JSON and as a Markdown table, systems side by side."""

from collections.abc import Sequence
from dataclasses import asdict
from statistics import median

from benchmarks.metrics.intervals import (
    RESAMPLES,
    Metric,
    difference,
    estimate,
)
from rewards.preference import ELEMENTS

TITLES = {
    "accuracy": "balanced accuracy",
    "positive": "accuracy, concept present",
    "negative": "accuracy, concept absent",
    "negative_easy": "accuracy, another concept present",
    "negative_hard": "accuracy, a hard negative present",
    "answered": "answers in the requested form",
    "iou50": "IoU ≥ 0.5",
    "mean_iou": "mean IoU",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "f1_on_toy": "F1, a name counts only on its own toy",
    "on_own_toy": "mentions on their own toy",
    "on_another_toy": "mentions on another toy",
    "on_no_toy": "mentions on no toy of the image",
    "named_twice": "captions that give one name twice",
    "names_used": "captions with an expected name",
    "names_nothing": "captions that name nothing",
    "tokens": "tokens per caption",
    "at_floor": "captions of 100 tokens or more",
    "attribute_accuracy": "claimed attributes that are true",
    "attribute_coverage": "attributes that are claimed and true, of all",
    "retrieved": "expected names whose reference was retrieved",
    "kept_right": "right references that verification kept",
    "dropped_wrong": "wrong references that verification dropped",
    "counted": "scenes with the right number of toys listed",
    "placed": "toys listed at their place from the left",
    "published_precision": "precision, as published",
    "published_recall": "recall, as published",
    "published_f1": "F1, as published",
    "names_given": "captions that write a given name",
    "self_bleu": "Self-BLEU-4",
    "overlap": "4-grams copied from the question",
    "bleu": "BLEU-4 per caption",
    "cider": "CIDEr-D × 100",
    "meteor": "METEOR",
    "sentence_similarity": "similarity to a true caption × 100",
    "clip_score": "CLIPScore × 100",
    "image_similarity": "similarity of image and references × 100",
    "auroc": "area under the ROC curve",
    "accuracy_owned": "balanced accuracy, threshold from the owner's photos",
    "negative_hard_owned": "accuracy, a hard negative present, threshold from the owner's photos",
    "threshold": "p(yes) from which it counts as there",
    "accuracy_half": "balanced accuracy, p(yes) > ½",
    "accuracy_balanced": "balanced accuracy, errors balanced",
    "choice": "right by letter or words",
    "letter": "right by letter",
    "text": "right by the option's words",
    "first": "answers that are the first option",
    "likelihood": "right by likelihood",
    "likelihood_per_token": "right by likelihood per token",
    "right": "right answers",
    "format": "chains without fault",
    "profile": "terms of the profile and its opposite",
    **{f"profile_{element}": f"... {element.replace('_', ' ')}" for element in ELEMENTS},
    "agreement": "same picture in both orders",
    "flipped": "answers that the opposite history changes",
    "nearest": "right by nearest features, without reasons",
    "terms": "terms of a picture",
    **{element: f"... {element.replace('_', ' ')}" for element in ELEMENTS},
    "named_expected": "captions that name somebody, somebody expected",
    "named_not": "captions that name somebody, nobody expected",
    "expected_named_long": "somebody expected: named, long",
    "expected_named_short": "somebody expected: named, short",
    "expected_silent_long": "somebody expected: silent, long",
    "expected_silent_short": "somebody expected: silent, short",
    "not_named_long": "nobody expected: named, long",
    "not_named_short": "nobody expected: named, short",
    "not_silent_long": "nobody expected: silent, long",
    "not_silent_short": "nobody expected: silent, short",
}
"""Last part of a metric's key -> its label in tables. All but ``tokens`` are shares in 0-1, or
figures that are usually multiplied by 100."""


def tabulate(
    metrics: dict[str, dict[str, Metric]],
    sets: dict[str, str],
    headlines: Sequence[str] = (),
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> dict:
    """Estimates of all metrics of all systems; each system after the first is compared with it.

    Args:
        metrics: system label -> metric key ``<set>/<metric>`` -> metric; same keys for all.
        sets: set -> title.
        headlines: keys of the metrics to look at first.

    Returns:
        ``{"headlines", "level", "metrics": {key: {"set", "title", "unit", "rows",
        "values": {label: {"value", "low", "high"}}, "change": {label: {...}}}}}``; ``change`` is
        paired: system minus first system on the same rows.
    """
    first, *others = metrics
    options = {"level": level, "resamples": resamples}
    table = {}
    for key in metrics[first]:
        group, _, name = key.partition("/")
        found = {label: estimate(metrics[label][key], **options) for label in metrics}
        change = {
            label: difference(metrics[first][key], metrics[label][key], **options)
            for label in others
        }
        table[key] = {
            "set": sets[group],
            "title": TITLES[name],
            "unit": "tokens" if name == "tokens" else "share",
            "rows": found[first].rows,
            "values": {label: _ends(e) for label, e in found.items()},
            "change": {label: _ends(e) for label, e in change.items()},
        }
    return {
        "headlines": [key for key in headlines if key in table],
        "level": level,
        "metrics": table,
    }


def markdown(result: dict, keys: Sequence[str] | None = None) -> str:
    """What :func:`tabulate` returned, as a table; shares in per cent, intervals in brackets.

    Args:
        result: of :func:`tabulate`.
        keys: the metrics to show; all when None.
    """
    metrics = {k: m for k, m in result["metrics"].items() if keys is None or k in keys}
    labels = list(next(iter(metrics.values()))["values"])
    heads = ["", "n", *labels, *(f"{label} − {labels[0]}" for label in labels[1:])]
    lines = [row_line(heads), row_line(["---", "---:", *["---:"] * (len(heads) - 2)])]
    group = None
    for key, metric in metrics.items():
        if keys is None and metric["set"] != group:
            group = metric["set"]
            lines.append(row_line([f"*{group}*", str(metric["rows"]), *[""] * (len(heads) - 2)]))
        bold = keys is None and key in result["headlines"]
        title = f"**{metric['title']}**" if bold else metric["title"]
        title, n = (
            (title, "") if keys is None else (f"{metric['set']}: {title}", str(metric["rows"]))
        )
        cells = [show(metric["values"][label], metric["unit"]) for label in labels]
        cells += [show(metric["change"][label], metric["unit"], sign=True) for label in labels[1:]]
        lines.append(row_line([title, n, *cells]))
    lines += [
        "",
        f"Shares in per cent; in brackets {result['level']:.0%} bootstrap intervals over "
        f"{result.get('unit', 'rows')} (differences: paired).",
    ]
    return "\n".join(lines) + "\n"


def side_by_side(result: dict, columns: dict[str, str]) -> str:
    """A score and its controls side by side, a line for each system.

    Args:
        result: of :func:`tabulate`.
        columns: head -> metric key; metrics that were not measured get a dash.
    """
    metrics = result["metrics"]
    labels = list(next(iter(metrics.values()))["values"])
    lines = [row_line(["system", *columns]), row_line(["---", *["---:"] * len(columns)])]
    for label in labels:
        lines.append(
            row_line(
                [
                    label,
                    *(
                        show(metrics[key]["values"][label], metrics[key]["unit"])
                        if key in metrics
                        else "–"
                        for key in columns.values()
                    ),
                ]
            )
        )
    return "\n".join(lines) + "\n"


def cost_table(result: dict) -> str:
    """What each system costs: a line each, medians over concepts.

    Args:
        result: ``systems``, ``learned`` and ``seconds_per_query`` of evaluation.json.
    """
    heads = ["system", "s to learn a concept", "bytes", "parameters", "s a query"]
    lines = [row_line(heads), row_line(["---", *["---:"] * (len(heads) - 1)])]
    for label in (system["label"] for system in result["systems"]):
        costs = result["learned"].get(label, [])
        middle = {
            key: f"{median(cost[key] for cost in costs):{form}}" if costs else "–"
            for key, form in (("seconds", ".1f"), ("n_bytes", ",.0f"), ("n_parameters", ",.0f"))
        }
        each = result["seconds_per_query"].get(label)
        lines.append(row_line([label, *middle.values(), "–" if each is None else f"{each:.3f}"]))
    return "\n".join(lines) + "\n"


def show(ends: dict, unit: str, *, sign: bool = False) -> str:
    """``71.2 [67.5, 74.8]``; a dash where the metric is undefined."""
    if ends["value"] is None:
        return "–"
    scale = 100 if unit == "share" else 1
    found = [ends[k] * scale for k in ("value", "low", "high")]
    if unit == "share" and not sign:  # the area under a curve is resampled about its value
        found = [min(max(x, 0.0), 100.0) for x in found]
    # Adding 0.0 turns a negative zero into zero.
    value, low, high = (f"{round(x, 1) + 0.0:{'+' if sign else ''}.1f}" for x in found)
    return f"{value} [{low}, {high}]"


def _ends(found) -> dict:
    return {k: v for k, v in asdict(found).items() if k != "rows"}


def row_line(cells: Sequence[str]) -> str:
    """A line of a Markdown table."""
    # A label may hold a bar.
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
