"""Objects as lines of text: an item, or JSON with an item, a category and scenes."""

import json
from collections import Counter
from pathlib import Path

from data_gen.sources import SourceError

MAX_TEXT = 300
"""Longest item or scene, in characters; longer ones are left out."""

Entry = tuple[str, str | None, list[str]]
"""Item, category, scenes."""


def read_objects(path: Path, left_out: Counter, *, need_scenes: bool) -> list[Entry]:
    """(item, category, scenes) of each usable line of a text file.

    Raises:
        SourceError: the file cannot be read, or has no usable line.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise SourceError(f"texts: {path} cannot be read ({error.strerror}); give a text file with "
                          "one object per line") from None
    found: list[Entry] = []
    for line in lines:
        try:
            text = line.decode("utf-8").strip()
        except UnicodeDecodeError:
            left_out["a line that is not UTF-8"] += 1
            continue
        if not text or text.startswith("#"):
            continue
        entry = read_object(text)
        if isinstance(entry, str):
            left_out[entry] += 1
        elif need_scenes and len(entry[2]) < 2:
            left_out["an object without two scenes"] += 1
        else:
            found.append(entry)
    if not found:
        raise SourceError(f"texts: {path} has no usable line ({dict(left_out) or 'it is empty'}); "
                          "write an item per line, or give 'scene' for items without scenes")
    return found


def read_object(text: str) -> Entry | str:
    """A line as (item, category, scenes), or the reason why it is of no use."""
    if not text.startswith("{"):
        return (text, None, []) if usable(text) else "a text too long or not printable"
    try:
        entry = json.loads(text)
    except ValueError:
        return "a line that is no JSON"
    if not isinstance(entry, dict) or not usable(entry.get("item")):
        return "an object without a usable item"
    scenes = entry.get("scenes") or []
    if not isinstance(scenes, list) or not all(map(usable, scenes)):
        return "scenes that are no list of texts"
    category = entry.get("category")
    return (entry["item"].strip(), category.strip() if usable(category) else None,
            list(dict.fromkeys(scene.strip() for scene in scenes)))


def usable(text) -> bool:
    """Whether this is a text to write into a prompt."""
    return (isinstance(text, str) and bool(text.strip()) and len(text) <= MAX_TEXT
            and text.strip().isprintable())
