"""A run on one page: what it was, how it went, what came of it, and samples to look at.

    python -m rl.report runs/toybox_demo        ->  runs/toybox_demo/report.html

Read from the run's directory, each part if it is there: ``config.resolved.yaml``, ``log.jsonl``,
``eval/evaluation.json`` and ``eval/gallery.json``. The page holds all it needs: no script, no
font, nothing from elsewhere. What a model wrote is escaped wherever it stands.
"""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from rl.report_charts import number, training_charts
from rl.report_gallery import gallery, policy_class, safe

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


@dataclass
class Run:
    """What is known of a run; parts that are not there are None or empty."""

    name: str
    config: dict | None = None
    log: list[dict] = field(default_factory=list)
    evaluation: dict | None = None
    samples: list[dict] = field(default_factory=list)


def read_run(path: str | Path) -> Run:
    """Read a run's directory. Torn lines of the log are passed over; of a step that was logged
    twice the later line counts.

    Raises:
        FileNotFoundError: no such directory.
        ValueError: a part that is there cannot be read; says which.
    """
    path = Path(path)
    if not path.is_dir():
        raise FileNotFoundError(f"no run at {path}")
    steps: dict[int, dict] = {}
    for line in _text(path / "log.jsonl").splitlines():
        try:
            entry = json.loads(line)
            steps.setdefault(int(entry["step"]), {}).update(entry)
        except (ValueError, KeyError, TypeError):
            continue
    try:
        return Run(
            name=path.resolve().name,
            config=yaml.safe_load(_text(path / "config.resolved.yaml") or "null"),
            log=[steps[step] for step in sorted(steps)],
            evaluation=json.loads(_text(path / "eval" / "evaluation.json") or "null"),
            samples=json.loads(_text(path / "eval" / "gallery.json") or "[]"),
        )
    except (yaml.YAMLError, json.JSONDecodeError) as error:
        raise ValueError(f"a part of {path} cannot be read: {error}") from None


def page(run: Run) -> str:
    """The report as HTML."""
    css = (Path(__file__).parent / "report.css").read_text(encoding="utf-8")
    sections = [
        _head(run),
        _section("Before and after", _missing(
            run.evaluation, "There is no eval/evaluation.json: launch/evaluate.py has not been run "
            "with --out here.", _comparison)),
        _section("Training", _missing(
            run.log, "There is no log.jsonl: nothing was trained here yet.", training_charts)),
        _section("Samples", _missing(
            run.samples, "There is no eval/gallery.json: launch/evaluate.py writes it.", _samples)),
        _section("Settings", _missing(
            run.config, "There is no config.resolved.yaml: launch/grpo.py writes it.", _settings)),
    ]
    return (f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{safe(run.name)} · byname</title><style>{css}</style></head>\n<body><main>"
            + "\n".join(sections) + "</main></body></html>\n")


def write_report(path: str | Path) -> Path:
    """Write ``report.html`` into a run's directory and return its path. See :func:`read_run`."""
    out = Path(path) / "report.html"
    html = page(read_run(path))
    # A model can write half a surrogate pair, which no encoding holds.
    out.write_text(html, encoding="utf-8", errors="replace")
    return out


def _head(run: Run) -> str:
    config, log = run.config or {}, run.log
    trained = [line for line in log if line.get("reward") is not None]
    facts = {"Policy": config.get("policy"), "Rows": config.get("rows")}
    if trained:
        most = config.get("max_steps") or 0
        facts["Steps"] = f"{trained[-1]['step']}" + (f" of {most}" if most > 0 else "")
        facts["Training time"] = _minutes(_seconds(log))
    if "num_generations" in config:
        facts["Completions per prompt"] = config["num_generations"]
    if "lora_r" in config:
        facts["Trained weights"] = f"LoRA, rank {config['lora_r']}" if config["lora_r"] else (
            "all that is not frozen")
    facts["Learning rate"] = number(config["learning_rate"]) if "learning_rate" in config else None
    rewards = config.get("rewards") or []
    weights = config.get("reward_weights") or [1] * len(rewards)
    facts["Rewards"] = ", ".join(
        str(r).rpartition(":")[2].replace("_", " ") + (f" × {w:g}" if w != 1 else "")
        for r, w in zip(rewards, weights, strict=False)) or None
    items = "".join(f"<div><dt>{safe(k)}</dt><dd>{safe(v)}</dd></div>"
                    for k, v in facts.items() if v not in (None, ""))
    return (f'<header><h1>{safe(run.name)}</h1><p class="lead">A vision-language model after '
            f'reinforcement learning on the things its user owns.</p></header>'
            + (f'<dl class="facts">{items}</dl>' if items else ""))


def _comparison(evaluation: dict) -> str:
    metrics, labels = evaluation["metrics"], [p["label"] for p in evaluation["policies"]]
    keys = [k for k in evaluation["headlines"] if metrics[k]["unit"] == "share"]
    legend = "".join(f'<span class="key {policy_class(i)}">{safe(label)}</span>'
                     for i, label in enumerate(labels))
    rows = "".join(_dots(metrics[key], labels) for key in keys)
    percent = "".join(f'<i style="left:{v}%">{v}</i>' for v in (0, 25, 50, 75, 100))
    total = sum(evaluation["counts"].values())
    return (f'<p class="note">{total:,} held-out questions; bars are {evaluation["level"]:.0%} '
            f'bootstrap intervals.</p><div class="dots"><div class="legend">{legend}</div>'
            f'<div class="scale"><span>per cent</span><span>{percent}</span>'
            f'<div class="numbers"></div></div>{rows}</div>' + _table(evaluation, labels))


def _dots(metric: dict, labels: list[str]) -> str:
    marks, numbers = [], []
    for i, label in enumerate(labels):
        e, css, top = metric["values"][label], policy_class(i), f"{0.65 + 0.9 * i:.2f}rem"
        shown = f"{_show(e['value'], 'share')} {_range(e, 'share')}"
        numbers.append(f'<span class="{css}">{shown}</span>')
        if e["value"] is not None:
            marks.append(f'<i class="{css}" style="top:{top};left:{e["low"]:.2%};'
                         f'width:{e["high"] - e["low"]:.2%}"></i>'
                         f'<b class="{css}" style="top:{top};left:{e["value"]:.2%}"></b>')
    return (f'<div class="row"><div class="what">{safe(metric["set"])}<small>'
            f'{safe(metric["title"])}</small></div><div class="track" style="--n:{len(labels)}">'
            f'{"".join(marks)}</div><div class="numbers">{"".join(numbers)}</div></div>')


def _table(evaluation: dict, labels: list[str]) -> str:
    heads = ["", *labels, *(f"{label} − {labels[0]}" for label in labels[1:])]
    lines, group = [], None
    for key, metric in evaluation["metrics"].items():
        if metric["set"] != group:
            group = metric["set"]
            lines.append(f'<tr class="set"><th colspan="{len(heads)}">{safe(group)} '
                         f'<span class="note">n = {metric["rows"]}</span></th></tr>')
        cells = [_cell(metric["values"][label], metric["unit"]) for label in labels]
        cells += [_cell(metric["change"][label], metric["unit"], True) for label in labels[1:]]
        css = ' class="headline"' if key in evaluation["headlines"] else ""
        lines.append(f"<tr{css}><td>{safe(metric['title'])}</td>{''.join(cells)}</tr>")
    head = "".join(f"<th>{safe(h)}</th>" for h in heads)
    return (f'<details><summary>All metrics, with differences</summary><div class="scroll"><table>'
            f'<thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'
            f'<p class="note">Shares in per cent. Differences are paired: the same questions.</p>'
            f"</details>")


def _cell(ends: dict, unit: str, change: bool = False) -> str:
    if ends["value"] is None:
        return "<td>–</td>"
    # Green or red only where the interval leaves zero out; a length is neither good nor bad.
    sure = change and unit == "share" and (ends["low"] > 0) - (ends["high"] < 0)
    css = {1: ' class="up"', -1: ' class="down"'}.get(sure or 0, "")
    value = _show(ends["value"], unit, change)
    return f"<td><span{css}>{value}</span> {_range(ends, unit, change)}</td>"


def _samples(samples: list[dict]) -> str:
    return (f'<p class="note">The first {len(samples)} of the sets, not chosen. Names are '
            f'<mark class="right">right</mark>, <mark class="wrong">wrong</mark> or '
            f'<span class="chip missed">missed</span>; true boxes are dashed, answered ones have '
            f"the policy's colour.</p>{gallery(samples)}")


def _settings(config: dict) -> str:
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    return (f"<details><summary>config.resolved.yaml, {len(config)} settings</summary>"
            f"<pre>{safe(text)}</pre></details>")


def _section(title: str, body: str) -> str:
    return f"<section><h2>{title}</h2>{body}</section>"


def _missing(part, sentence: str, draw) -> str:
    return draw(part) if part else f'<p class="missing">{safe(sentence)}</p>'


def _show(value: float | None, unit: str, sign: bool = False) -> str:
    if value is None:
        return "–"
    scaled = round(value * (100 if unit == "share" else 1), 1) + 0.0  # no negative zero
    return f"{scaled:{'+' if sign else ''}.1f}".replace("-", "−")


def _range(ends: dict, unit: str, sign: bool = False) -> str:
    if ends["value"] is None:
        return ""
    return f"<small>{_show(ends['low'], unit, sign)} – {_show(ends['high'], unit, sign)}</small>"


def _seconds(log: list[dict]) -> float:
    """Time of all stretches; the clock of a resumed run starts again at 0."""
    total = last = 0.0
    for line in log:
        now = line.get("seconds") or 0.0
        total, last = total + (now - last if now >= last else now), now
    return total


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} min" if seconds >= 90 else f"{seconds:.0f} s"


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def main(argv: list[str]) -> int:
    """``python -m rl.report runs/<name>``; returns the exit status."""
    if len(argv) != 1 or argv[0].startswith("-"):
        print("usage: python -m rl.report runs/<name>", file=sys.stderr)
        return 2
    try:
        print(f"wrote {write_report(argv[0])}")
    except (FileNotFoundError, ValueError) as error:
        print(f"report: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
