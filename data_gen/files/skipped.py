"""What was skipped, by reason."""

from collections import Counter
from pathlib import Path
from typing import Any


class SourceError(ValueError):
    """A source cannot give what was asked for. The message names the file and the remedy."""


def left_out_clause(left_out: Counter) -> str:
    """``; left out 12: 9 crowd, 3 cut off``: ends a source's summary line. Empty for nothing."""
    reasons = ", ".join(f"{n} {reason}" for reason, n in left_out.most_common())
    return f"; left out {left_out.total()}: {reasons}" if left_out else ""


def is_missing_path(path: str) -> bool:
    """Whether ``path`` is meant as a path here and nothing is there; ``owner/name`` may be a hub
    id, unless a folder ``owner`` is here."""
    first = Path(path).parts[:1]
    here = path.startswith((".", "~", "/")) or bool(first and Path(first[0]).is_dir())
    return here and not Path(path).exists()


class PictureError(ValueError):
    """One picture cannot be used; rows do without it.

    Args:
        where: the picture, as told to the user.
        reason: why, in a few words that do not name the picture, so that reasons can be counted.
    """

    def __init__(self, where: str, reason: str):
        super().__init__(f"{where}: {reason}")
        self.where, self.reason = where, reason


LeftOut = dict[str, list[str]]
"""Reason -> the places of what was left out, or noted, for it."""


NAMED = 10
"""How many places of each reason are told."""


def leave(left_out: LeftOut, reason: str, where: str) -> None:
    """Note that what stands at ``where`` is left out for ``reason``."""
    left_out.setdefault(reason, []).append(where)


def told(left_out: LeftOut) -> dict[str, dict]:
    """For JSON: reason -> ``count`` and the first places, ``where``, most frequent reason first."""
    return {reason: {"count": len(places), "where": places[:NAMED]}
            for reason, places in sorted(left_out.items(), key=lambda item: -len(item[1]))}


def left_out_line(left_out: LeftOut) -> str:
    """``left out 3: 2 null caption (row 4, row 9), 1 ...``; empty for nothing."""
    if not left_out:
        return ""
    reasons = ", ".join(
        f"{about['count']} {reason} ({', '.join(about['where'][:3])}"
        f"{', …' if about['count'] > 3 else ''})" for reason, about in told(left_out).items())
    return f"left out {sum(map(len, left_out.values()))}: {reasons}"


def shown(value: Any) -> str:
    """A value of a file, short and printable, for a message."""
    text = value if isinstance(value, str) else repr(value)
    return "".join(c if c.isprintable() else "\ufffd" for c in text[:120])
