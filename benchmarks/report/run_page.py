"""The report of a run as one HTML page: settings, training curves, evaluation and samples.

    byname report runs/toybox_demo        ->  runs/toybox_demo/report.html

Read from the run's directory, each part if it is there: ``config.resolved.yaml``, ``log.jsonl``,
``eval/evaluation.json`` and ``eval/gallery.json``.
"""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from benchmarks.report.charts import number, training_charts
from benchmarks.report.evaluation_page import sample_cards, scores
from benchmarks.report.html import MARK, document, safe, section
from data_gen.files.redaction import without_secrets


@dataclass
class Run:
    """What is known of a run; parts that are not there are None or empty."""

    name: str
    config: dict | None = None
    log: list[dict] = field(default_factory=list)
    evaluation: dict | None = None
    samples: list[dict] = field(default_factory=list)


def read_run(path: str | Path) -> Run:
    """Read a run's directory. Torn lines of the log are skipped; of a step that was logged
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
    parts = ("config.resolved.yaml", "eval/evaluation.json", "eval/gallery.json")
    try:
        config, evaluation, samples = (
            yaml.safe_load(_text(path / parts[0])),
            *(json.loads(_text(path / part) or "null") for part in parts[1:]),
        )
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        said = " ".join(str(error).split())
        raise ValueError(f"a part of {path} cannot be read: {said}") from None
    kinds = ((config, dict), (evaluation, dict), (samples, list))
    for part, (found, kind) in zip(parts, kinds, strict=True):
        if not isinstance(found, kind | None):
            raise ValueError(f"{path / part} is no file of byname's: it holds no {kind.__name__}")
    return Run(
        name=path.resolve().name,
        config=without_secrets(config),
        log=[steps[step] for step in sorted(steps)],
        evaluation=evaluation,
        samples=samples or [],
    )


def page(run: Run) -> str:
    """The report as HTML."""
    sections = [
        _head(run),
        section(
            "Before and after",
            _missing(
                run.evaluation,
                "There is no eval/evaluation.json: byname evaluate has not been run "
                "with --out here.",
                scores,
            ),
        ),
        section(
            "Training",
            _missing(
                run.log, "There is no log.jsonl: nothing was trained here yet.", training_charts
            ),
        ),
        section(
            "Samples",
            _missing(
                run.samples,
                "There is no eval/gallery.json: byname evaluate writes it.",
                sample_cards,
            ),
        ),
        section(
            "Settings",
            _missing(
                run.config, "There is no config.resolved.yaml: byname grpo writes it.", _settings
            ),
        ),
    ]
    return document(run.name, sections)


def write_report(path: str | Path) -> Path:
    """Write ``report.html`` into a run's directory and return its path. See :func:`read_run`.

    Raises:
        FileExistsError: there is one that is no page of ours.
        ValueError: a part of the run is not as byname writes it.
    """
    out, run = Path(path) / "report.html", read_run(path)
    if os.path.lexists(out) and f"{MARK}</title>" not in _text(out):
        raise FileExistsError(f"{out} is there, and byname did not write it; move it elsewhere")
    try:
        html = page(run)
    except (AttributeError, KeyError, IndexError, TypeError) as error:
        raise ValueError(
            f"a part of {path} is not as byname writes it ({type(error).__name__}: {error})"
        ) from None
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
        facts["Trained weights"] = (
            f"LoRA, rank {config['lora_r']}" if config["lora_r"] else ("all that is not frozen")
        )
    facts["Learning rate"] = number(config["learning_rate"]) if "learning_rate" in config else None
    rewards = config.get("rewards") or []
    weights = config.get("reward_weights") or [1] * len(rewards)
    facts["Rewards"] = (
        ", ".join(
            str(r).rpartition(":")[2].replace("_", " ") + (f" × {w:g}" if w != 1 else "")
            for r, w in zip(rewards, weights, strict=False)
        )
        or None
    )
    items = "".join(
        f"<div><dt>{safe(k)}</dt><dd>{safe(v)}</dd></div>"
        for k, v in facts.items()
        if v not in (None, "")
    )
    return (
        f'<header><h1>{safe(run.name)}</h1><p class="lead">A vision-language model after '
        f"reinforcement learning on the concepts its user owns.</p></header>"
        + (f'<dl class="facts">{items}</dl>' if items else "")
    )


def _settings(config: dict) -> str:
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    return (
        f"<details><summary>config.resolved.yaml, {len(config)} settings</summary>"
        f"<pre>{safe(text)}</pre></details>"
    )


def _missing(part, sentence: str, draw) -> str:
    return draw(part) if part else f'<p class="missing">{safe(sentence)}</p>'


def _seconds(log: list[dict]) -> float:
    """Time of all sessions; the clock of a resumed run starts again at 0."""
    total = last = 0.0
    for line in log:
        now = line.get("seconds") or 0.0
        total, last = total + (now - last if now >= last else now), now
    return total


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} min" if seconds >= 90 else f"{seconds:.0f} s"


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
