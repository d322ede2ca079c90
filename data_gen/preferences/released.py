"""Read histories of preferences that others published, their defects counted.

    PreferThinker   {"imageA", "imageB", "prefered_images", "non_prefered_images",
                     "prefer_attributes", "non_prefer_attributes", "user_id", "conversations"}
                    JSON, or JSONL; the answer is the last message, or within its <answer> tags
    Pick-a-Pic      {"user_id", "reference_list", "reference_list_bad", "image0", "image1", "label"}
    style           JSON, or JSONL; images are paths, label is 1 where image0 is preferred, 0 where
                    image1 is, 0.5 for a tie. Sets of the hub that are pickle files are not opened:
                    write them as JSONL first.

Both may stand in one file. Images lie under a folder; a path never leads out of it.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_gen.files.errors import InputError
from data_gen.files.files import find_file
from data_gen.files.json_stream import from_json, is_text
from data_gen.files.skipped import SkippedItems, printable
from data_gen.preferences.rows import MOST_PICTURES
from data_gen.preferences.users import Profile
from rewards.preference import ELEMENTS, read_chain

_KEYS = {
    "art_style": ("Art Styles", "Art Style", "art_style"),
    "colour": ("Color", "Colour", "colour"),
    "medium": ("Artistic Medium", "ArtisticMedium", "medium"),
    "saturation": ("Saturation", "saturation"),
    "detail": ("Detail", "detail"),
}
"""Element -> its keys; training and evaluation of the release differ in one of them."""

_ANSWER = re.compile(r"(?:image )?([ab])\.?", re.IGNORECASE)


@dataclass(frozen=True)
class History:
    """One published question.

    Args:
        id: file and place.
        user: as published, or empty.
        liked, disliked: files of 1-5 pictures each.
        candidates: files of A and of B.
        answer: ``A`` or ``B``.
        profiles: liked and disliked, where they are published.
        chain: the published chain of reasons, where there is one.
    """

    id: str
    user: str
    liked: tuple[Path, ...]
    disliked: tuple[Path, ...]
    candidates: tuple[Path, Path]
    answer: str
    profiles: tuple[Profile, Profile] | None = None
    chain: str = ""


def read_histories(
    path: str | Path, images: str | Path, skipped: SkippedItems, limit: int | None = None
) -> list[History]:
    """The usable questions of a file, in its order.

    Args:
        path: a JSON list, or JSON lines.
        images: the folder that paths lie in.
        skipped: is given what cannot be used, by reason.
        limit: stop after so many.

    Raises:
        InputError: the file cannot be read, or nothing in it can be used.
    """
    found: list[History] = []
    twice: set[tuple] = set()
    for place, entry in _entries(Path(path), skipped):
        where = f"{Path(path).name}: {place}"
        read = _history(entry, where, Path(images), skipped)
        if isinstance(read, str):
            skipped.add(read, where)
            continue
        key = (read.liked, read.disliked, frozenset(read.candidates))
        if key in twice:
            skipped.add("question that stands there twice", where)
            continue
        twice.add(key)
        found.append(read)
        if limit and len(found) == limit:
            break
    if not found:
        raise InputError(f"{path}: no question can be used; {skipped.line() or 'it is empty'}")
    return found


def _entries(path: Path, skipped: SkippedItems) -> Iterator[tuple[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the path") from None
    if text.lstrip().startswith("["):
        try:
            listed = from_json(text)
        except json.JSONDecodeError as error:
            raise InputError(f"{path}, line {error.lineno}: is not readable JSON") from None
        yield from ((str(i), entry) for i, entry in enumerate(listed))
        return
    for i, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                yield f"line {i}", from_json(line)
            except ValueError:
                skipped.add("line that is no JSON", f"{path.name}: line {i}")


def _history(entry: Any, where: str, root: Path, skipped: SkippedItems) -> History | str:
    """A question, or why it cannot be asked."""
    if not isinstance(entry, dict):
        return "entry that is no object"
    picked = "image0" in entry
    names = (
        ("reference_list", "reference_list_bad", "image0", "image1")
        if picked
        else ("prefered_images", "non_prefered_images", "imageA", "imageB")
    )
    answer = _label(entry.get("label")) if picked else _answer(entry.get("conversations"))
    if answer == "tie":
        return "tie"
    if answer is None:
        return "without an answer"
    histories = []
    for name in names[:2]:
        listed = entry.get(name)
        if not isinstance(listed, list) or not listed:
            return "without a history of both kinds"
        files = [_file(root, each) for each in listed[:MOST_PICTURES]]
        there = tuple(file for file in files if file)
        for _ in range(len(files) - len(there)):
            skipped.add("picture of a history that is missing", where)
        if not there:
            return "no picture of a history is there"
        histories.append(there)
    candidates = [_file(root, entry.get(name)) for name in names[2:]]
    a, b = candidates
    if a is None or b is None:
        return "candidate that is missing"
    if a == b:
        return "both candidates are one file"
    liked, disliked = histories
    if set(liked) & set(disliked):
        return "picture both liked and disliked"
    if {a, b} & {*liked, *disliked}:
        return "candidate that stands in the history"
    both = tuple(_profile(entry.get(key)) for key in ("prefer_attributes", "non_prefer_attributes"))
    if not picked and None in both:
        skipped.add("profile without five terms (the question is kept)", where)
    profiles = None if None in both else both
    messages = entry.get("conversations")
    said = messages[-1].get("value") if isinstance(messages, list) and messages else None
    return History(
        where,
        printable(str(entry.get("user_id", ""))),
        liked,
        disliked,
        (a, b),
        answer,
        profiles,
        said if is_text(said) and "<think>" in said else "",
    )


def _label(label: Any) -> str | None:
    if isinstance(label, bool) or not isinstance(label, int | float):
        return None
    return {1: "A", 0: "B", 0.5: "tie"}.get(label)


def _answer(conversations: Any) -> str | None:
    """The answer of the last message, whole or within its tags."""
    last = conversations[-1] if isinstance(conversations, list) and conversations else None
    text = last.get("value") if isinstance(last, Mapping) else None
    if not is_text(text):
        return None
    match = _ANSWER.fullmatch(text.strip())
    return match[1].upper() if match else read_chain(text).answer


def _file(root: Path, path: Any) -> Path | None:
    if not is_text(path) or "\0" in path:
        return None
    parts = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".")]
    return None if ".." in parts else find_file(root, "/".join(parts))


def _profile(attributes: Any) -> Profile | None:
    if not isinstance(attributes, Mapping):
        return None
    terms = [next((attributes[k] for k in _KEYS[e] if k in attributes), None) for e in ELEMENTS]
    if not all(is_text(term) and term.strip() for term in terms):
        return None
    return Profile(*(" ".join(str(term).split()) for term in terms))
