"""What programs print at their end: figures without braces, and what to type next."""

import shlex
from collections.abc import Mapping
from pathlib import Path


def figures(values: Mapping) -> str:
    """Numbers by name, as a part of a sentence: ``captions 40, mean 0.79, by colour/red 0.5``."""
    return ", ".join(f"{name} {value}" for name, value in _flat(values))


def next_commands(*commands: list[str | Path]) -> str:
    """``next: byname report runs/x``, each further command on a line of its own.

    Args:
        commands: words of each, which are quoted where a shell needs it.
    """
    typed = [shlex.join(map(str, words)) for words in commands]
    return "\n".join(f"{'next:' if not i else '':5} {line}" for i, line in enumerate(typed))


def look_at(page: str | Path) -> list[str | Path]:
    """The command that opens a page in the browser."""
    return ["python", "-m", "webbrowser", Path(page).resolve().as_uri()]


def _flat(values: Mapping, before: str = "") -> list[tuple[str, str]]:
    found = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{before}{key}/")
        else:
            shown = f"{value:.4g}" if isinstance(value, float) else str(value)
            found.append((f"{before}{key}", shown))
    return found
