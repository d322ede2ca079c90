"""``--help`` of every program: usage, the docstring, then each setting."""

import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import MISSING, is_dataclass
from typing import Any

from data_gen.files.setting_types import Arguments, dataclass_in, settings_of, type_name


def help_text(
    sections: Sequence,
    word: str = "",
    *,
    library: Sequence[type] = (),
    program: str = "",
    doc: str | None = "",
    chosen: int | None = None,
    listing: str = "",
) -> str:
    """What ``--help`` prints.

    Args:
        word: "" for the program's own settings, "all", or what to search names and help for.
        library: sections whose settings are only counted, unless searched for.
        chosen: how many of ``sections`` are the program's own; the others were chosen.
    """
    width = min(shutil.get_terminal_size((100, 24)).columns, 100)
    lines = []
    if not word:
        lines += [
            f"usage: {program} [--config FILE] [--key value ...]",
            "",
            *(doc or "").strip().splitlines(),
            "",
            "settings:",
        ]
        lines += _entry(
            "config", "str", "A YAML file of settings; --key value is laid over it.", width
        )
    hidden = 0
    for i, section in enumerate(sections):
        settings = settings_of(section)
        if section in library and not word:
            hidden += len(settings)
            continue
        if not word and chosen is not None and i == chosen:
            lines += ["", f"settings of {_title(section)}:"]
        for name, setting in settings.items():
            text = setting.help
            if word not in ("", "all") and word.lower() not in f"{name} {text}".lower():
                continue
            if (cls := dataclass_in(setting.type)) is not None:
                text = f"{text} Its keys: {', '.join(settings_of(cls))}."
            lines += _entry(
                name, type_name(setting.type), _with_default(text, setting.default), width
            )
    if word and not lines:
        return f"no setting of {program} has {word!r} in its name or help"
    if not word and listing and (chosen is None or len(sections) <= chosen):
        lines += [
            "",
            *(
                part
                for line in listing.splitlines()
                for part in textwrap.wrap(line, width, subsequent_indent="  ")
            ),
        ]
    if hidden:
        names = " and ".join(cls.__name__ for cls in library)
        lines += [
            "",
            f"and {hidden} more of {names}: --help all prints them, --help WORD searches "
            "names and help of all",
        ]
    return "\n".join(lines)


def _title(section: Any) -> str:
    thing = section.function if isinstance(section, Arguments) else section
    return f"{thing.__name__} ({thing.__module__})"


def _with_default(text: str, default: Any) -> str:
    if default is MISSING:
        return f"{text} (required)".strip()
    if is_dataclass(default):
        return text
    default = getattr(default, "value", default)
    shown = (
        "null"
        if default is None
        else str(default).lower()
        if isinstance(default, bool)
        else str(default)
        if not isinstance(default, str)
        else default or '""'
    )
    return f"{text} (default: {shown})".strip()


def _entry(name: str, kind: str, text: str, width: int) -> list[str]:
    left = f"  --{name} {kind}"
    body = textwrap.wrap(text, width - 34)
    if len(left) < 33 and body:
        return [f"{left:<34}{body[0]}", *(" " * 34 + line for line in body[1:])]
    return [left, *(" " * 34 + line for line in body)]
