"""The card of a policy: what it was trained from, on what, how, and what was measured.

A card is public where the policy is: absolute paths are cut to their last part, keys and passwords
are gone (:mod:`data_gen.files.redaction`), and everything that was written by others stands in
indented blocks, which open no markup.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_gen.files.files import kept_lines
from data_gen.files.redaction import without_secrets
from data_gen.files.settings import read_yaml, yaml_text

MEASURED = "eval/evaluation.md"
"""Where ``byname evaluate`` leaves a run's table, as a run's last line proposes it."""


def run_card(run: Path, *, merged: bool = False, more: Mapping[str, str] | None = None) -> str:
    """The card of the policy of a run, as Markdown with the hub's metadata.

    Args:
        run: the run's directory. What is missing there is left out.
        merged: whether adapters were merged into the weights.
        more: further sections, title -> text.
    """
    config = _config(run)
    base = str(config.get("policy") or "")
    adapter = bool(config.get("lora_r")) and not merged
    sections = {"Use": _block(use(adapter)), **(more or {})}
    if config:
        sections["Recipe"] = (
            "Every setting that is not a library's default; `byname grpo --config FILE` or "
            f"`byname sft --config FILE` reads it.\n\n{_block(yaml_text(config))}"
        )
    if rows := _rows(run):
        sections["Rows"] = rows
    sections["Measured"] = _measured(run)
    head = metadata(base, adapter)
    trained = f"Trained with byname from `{base}`."
    body = "\n\n".join(f"## {title}\n\n{text.strip()}" for title, text in sections.items())
    return f"{head}\n# {run.name}\n\n{trained if base else 'Trained with byname.'}\n\n{body}\n"


def metadata(base: str, adapter: bool) -> str:
    """The YAML that the hub reads. Only a hub id is named as the base: a folder says nothing."""
    values: dict[str, Any] = {
        "library_name": "peft" if adapter else "transformers",
        "pipeline_tag": "image-text-to-text",
        "tags": ["byname", "personalization", *(["lora"] if adapter else [])],
    }
    if base.count("/") == 1 and not Path(base).exists() and base[0] not in "./~":
        values = {"base_model": base, **values}
    return f"---\n{yaml_text(values)}---\n"


def use(adapter: bool) -> str:
    """Code that loads the policy without byname."""
    lines = ["from transformers import AutoModelForImageTextToText, AutoProcessor", ""]
    if adapter:
        lines = ["from peft import PeftConfig, PeftModel", *lines]
        lines += [
            'base = PeftConfig.from_pretrained("FOLDER").base_model_name_or_path',
            'model = AutoModelForImageTextToText.from_pretrained(base, dtype="auto")',
            'model = PeftModel.from_pretrained(model, "FOLDER")',
        ]
    else:
        lines.append('model = AutoModelForImageTextToText.from_pretrained("FOLDER", dtype="auto")')
    return "\n".join([*lines, 'processor = AutoProcessor.from_pretrained("FOLDER")'])


def _config(run: Path) -> dict:
    try:
        config = read_yaml(run / "config.resolved.yaml")
    except (OSError, ValueError):
        return {}
    config = {key: value for key, value in config.items() if key not in ("output_root", "resume")}
    return _short(without_secrets(config))


def _short(value: Any) -> Any:
    """Without the folders of an absolute path: they name the user."""
    if isinstance(value, list):
        return [_short(each) for each in value]
    if isinstance(value, dict):
        return {key: _short(each) for key, each in value.items()}
    if isinstance(value, str) and value.startswith(("/", "~")):
        return Path(value).name
    return value


def _rows(run: Path) -> str:
    try:
        digests = json.loads((run / "rows.json").read_bytes())
        return "\n".join(f"- `{key}`, digest `{str(value)[:16]}`" for key, value in digests.items())
    except (OSError, ValueError, RecursionError, AttributeError):
        return ""


def _measured(run: Path) -> str:
    file = run / MEASURED
    if file.is_file():
        return _block(file.read_text(encoding="utf-8", errors="replace"))
    lines = [line for line in kept_lines(run / "log.jsonl") if "eval_reward" in line]
    if not lines:
        return "Nothing was measured; `byname evaluate` does it."
    told = [f"- step {line['step']}: reward {line['eval_reward']}" for line in lines]
    return "\n".join(["On the held-out rows, while training:", "", *told])


def _block(text: str) -> str:
    """Indented: whatever it holds is shown as it is."""
    return "\n".join(f"    {line}" for line in text.strip().splitlines())
