"""Reading published files: what is wrong with an entry is counted and named, the rest is used."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from data_gen.box_filters import find_file
from data_gen.json_stream import is_text

LeftOut = dict[str, list[str]]
"""Reason -> the places of what was left out, or noted, for it."""

NAMED = 10
"""How many places of each reason are told."""


class BenchmarkError(ValueError):
    """A benchmark cannot be used. The message names the file and says what to do."""


def check_settings(given: Any, cls: type, where: str) -> None:
    """Refuse what cannot be the settings of a dataclass.

    Raises:
        BenchmarkError: no mapping, or a setting that ``cls`` does not have.
    """
    if not isinstance(given, dict):
        raise BenchmarkError(f"{where} must hold settings, not {given!r:.60}")
    known = [f.name for f in fields(cls)]
    if unknown := [key for key in given if key not in known]:
        raise BenchmarkError(f"{where} has no setting {unknown[0]!r}; it has {', '.join(known)}")


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


def read_json(path: str | Path, left_out: LeftOut | None = None) -> Any:
    """A JSON file as a whole. Of a key that an object has twice the first value counts; the others
    are noted in ``left_out``.

    Bytes that are not UTF-8 come as lone surrogates, which :func:`data_gen.json_stream.is_text`
    finds, so that one bad entry does not cost the file.

    Raises:
        BenchmarkError: the file is missing, empty or no JSON, with the line.
    """
    def once(pairs: list[tuple[str, Any]]) -> dict:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key not in found:
                found[key] = value
            elif left_out is not None:
                leave(left_out, "key that stands there twice", shown(key))
        return found

    try:
        text = Path(path).read_text(encoding="utf-8-sig", errors="surrogateescape")
        return json.loads(text, object_pairs_hook=once)
    except OSError as error:
        raise BenchmarkError(f"{path} cannot be read ({error.strerror}); check the path") from None
    except json.JSONDecodeError as error:
        raise BenchmarkError(f"{path}, line {error.lineno}: is not readable JSON ({error.msg}); is "
                             f"the file whole?") from None
    except RecursionError:
        raise BenchmarkError(f"{path} is nested too deeply to be a benchmark") from None


def bare(tag: str) -> str:
    """The name in ``<bo>``, without brackets and outer blanks."""
    tag = tag.strip()
    return (tag[1:-1] if tag.startswith("<") and tag.endswith(">") else tag).strip()


def is_name(value: Any) -> bool:
    """Whether a value, with or without brackets, can be a name under the row contract."""
    return is_text(value) and bool(bare(value)) and not set(bare(value)) & set("<>")


def shown(value: Any) -> str:
    """A value of a file, short and printable, for a message."""
    text = value if isinstance(value, str) else repr(value)
    return "".join(c if c.isprintable() else "\ufffd" for c in text[:120])


def find_picture(path: str, roots: dict[str, str | Path]) -> Path | None:
    """The file that a published path means, or ``None`` where it is not on disk.

    Args:
        path: as published, such as ``./data/dreambooth/dog/00.jpg``.
        roots: beginning of published paths -> folder where what follows it lies; the longest that
            fits counts. ``""`` fits all; then leading folders that are not there are passed over.
            No path leads out of its folder.
    """
    parts = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".")]
    best: tuple[list[str], Path] | None = None
    for start, folder in roots.items():
        head = [part for part in start.split("/") if part not in ("", ".")]
        if parts[: len(head)] == head and (best is None or len(head) > len(best[0])):
            best = head, Path(folder)
    if best is None or "\0" in path or ".." in parts:
        return None
    head, folder = best
    rest = parts[len(head) :]
    try:
        if not head:
            return find_file(folder, "/".join(rest))
        file = folder.joinpath(*rest)
        return file if file.is_file() else None
    except OSError:  # a name that is longer than names can be
        return None


def kept_lines(path: Path) -> list[dict]:
    """The objects of a file of JSON lines; one torn by a kill is passed over, no file is none."""
    found = []
    for line in path.read_text(encoding="utf-8").split("\n") if path.exists() else []:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            found.append(entry)
    return found
