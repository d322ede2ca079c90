"""An evaluation as HTML: a plot of the intervals, a table of all metrics, samples with images.

Part of a run's report (:mod:`benchmarks.report.run_page`), or a page of its own.
"""

from benchmarks.report.html import document, safe, section
from benchmarks.report.sample_cards import gallery, policy_class


def evaluation_page(title: str, evaluation: dict, samples: list[dict]) -> str:
    """An evaluation as HTML.

    Args:
        title: of the page.
        evaluation: what ``evaluation.json`` holds.
        samples: what ``gallery.json`` holds.
    """
    policies = "".join(
        f"<div><dt>{safe(p['label'])}</dt><dd>{safe(p['path'])}</dd></div>"
        for p in evaluation["systems"]
    )
    parts = [
        f'<header><h1>{safe(title)}</h1><p class="lead">The benchmark '
        f'{safe(evaluation["benchmark"])}.</p></header><dl class="facts">{policies}</dl>',
        section("Scores", scores(evaluation)),
    ]
    if skipped := evaluation.get("skipped"):
        parts.append(section("Skipped", _skipped(skipped)))
    if samples:
        parts.append(section("Samples", sample_cards(samples)))
    return document(title, parts)


def scores(evaluation: dict) -> str:
    """Headlines as dots with intervals, and the table of all metrics, folded."""
    metrics, labels = evaluation["metrics"], [p["label"] for p in evaluation["systems"]]
    keys = [k for k in evaluation["headlines"] if k in metrics and metrics[k]["unit"] == "share"]
    rows = "".join(_dots(metrics[key], labels) for key in keys)
    who = min(26, max(len("per cent"), *map(len, labels)))
    percent = "".join(f'<i style="left:{v}%">{v}</i>' for v in (0, 25, 50, 75, 100))
    total = sum(evaluation["counts"].values())
    return (
        f'<p class="note">{total:,} questions; bars are {evaluation["level"]:.0%} '
        f'bootstrap intervals.</p><div class="dots" style="--who:{who}ch">'
        f'<div class="row scale"><span></span>'
        f'<div class="line"><span class="who">per cent</span><span>{percent}</span><span></span>'
        f"</div></div>{rows}</div>" + _table(evaluation, labels)
    )


def _dots(metric: dict, labels: list[str]) -> str:
    """A metric's row: what it is, and a line for each system with its name, dot and figures."""
    lines = []
    for i, label in enumerate(labels):
        e, marks = metric["values"][label], ""
        if e["value"] is not None:
            marks = (
                f'<i style="left:{e["low"]:.2%};width:{e["high"] - e["low"]:.2%}"></i>'
                f'<b style="left:{e["value"]:.2%}"></b>'
            )
        lines.append(
            f'<div class="line {policy_class(i)}"><span class="who">{safe(label)}</span>'
            f'<span class="track">{marks}</span><span class="numbers">'
            f"<b>{_show(e['value'], 'share')}</b> {_range(e, 'share')}</span></div>"
        )
    return (
        f'<div class="row"><div class="what">{safe(metric["set"])}<small>'
        f"{safe(metric['title'])}</small></div><div>{''.join(lines)}</div></div>"
    )


def _table(evaluation: dict, labels: list[str]) -> str:
    heads = ["", *labels, *(f"{label} − {labels[0]}" for label in labels[1:])]
    lines, group = [], None
    for key, metric in evaluation["metrics"].items():
        if metric["set"] != group:
            group = metric["set"]
            lines.append(
                f'<tr class="set"><th colspan="{len(heads)}">{safe(group)} '
                f'<span class="note">n = {metric["rows"]}</span></th></tr>'
            )
        cells = [_cell(metric["values"][label], metric["unit"]) for label in labels]
        cells += [_cell(metric["change"][label], metric["unit"], True) for label in labels[1:]]
        css = ' class="headline"' if key in evaluation["headlines"] else ""
        lines.append(f"<tr{css}><td>{safe(metric['title'])}</td>{''.join(cells)}</tr>")
    head = "".join(f"<th>{safe(h)}</th>" for h in heads)
    return (
        f'<details><summary>All metrics, with differences</summary><div class="scroll"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
        f'<p class="note">Shares in per cent. Differences are paired: the same questions.</p>'
        f"</details>"
    )


def _cell(ends: dict, unit: str, change: bool = False) -> str:
    if ends["value"] is None:
        return "<td>–</td>"
    # Green or red only where the interval leaves zero out; a length is neither good nor bad.
    sure = change and unit == "share" and (ends["low"] > 0) - (ends["high"] < 0)
    css = {1: ' class="up"', -1: ' class="down"'}.get(sure or 0, "")
    value = _show(ends["value"], unit, change)
    return f"<td><span{css}>{value}</span> {_range(ends, unit, change)}</td>"


def sample_cards(samples: list[dict]) -> str:
    """Images, truth and what each system replied, of every sample."""
    return (
        f'<p class="note">The first {len(samples)} of the sets, not chosen. Names are '
        f'<mark class="right">right</mark>, <mark class="wrong">wrong</mark> or '
        f'<span class="chip missed">missed</span>; true boxes are dashed, answered ones have '
        f"the policy's colour.</p>{gallery(samples)}"
    )


def _skipped(reasons: dict[str, dict]) -> str:
    lines = "".join(
        f"<li>{about['count']:,} × {safe(reason)} "
        f"<small>({safe(', '.join(map(str, about['where'])))})</small></li>"
        for reason, about in reasons.items()
    )
    return f"<ul>{lines}</ul>"


def _show(value: float | None, unit: str, sign: bool = False) -> str:
    if value is None:
        return "–"
    scaled = round(value * (100 if unit == "share" else 1), 1) + 0.0  # no negative zero
    return f"{scaled:{'+' if sign else ''}.1f}".replace("-", "−")


def _range(ends: dict, unit: str, sign: bool = False) -> str:
    if ends["value"] is None:
        return ""
    return f"<small>{_show(ends['low'], unit, sign)} – {_show(ends['high'], unit, sign)}</small>"
