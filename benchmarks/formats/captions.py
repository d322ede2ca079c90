"""Read caption files of RePIC: ``[[image, ["<a>", "<b>"], caption, question], ...]``.

Also accepted: a single name as text, and names in lists of lists (the four-concept query file
has a list of name lists for each image), which are taken as one list. True captions, to compare
with, are a file of their own.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.formats.files import find_image, is_name, read_json
from data_gen.files.errors import InputError
from data_gen.files.json_stream import is_text
from data_gen.files.skipped import SkippedItems, printable
from rewards.parsing import answer_part


@dataclass(frozen=True)
class Caption:
    """One row: the image's path, the expected names as written in the file, and what was said."""

    image: str
    names: tuple[str, ...]
    text: str


def read_captions(path: str | Path) -> tuple[list[Caption], SkippedItems]:
    """Every usable row of a caption file, in order, and what is wrong with the others.

    Reasoning is no part of a caption (:func:`rewards.parsing.answer_part`).
    A caption may be empty, which names nobody; one that is null was never made, and is skipped.

    Raises:
        InputError: no such file, another format, or no usable row.
    """
    skipped = SkippedItems()
    rows = read_json(path, skipped)
    if not isinstance(rows, list):
        raise InputError(
            f"{path}: expected a list of [image, names, caption, question], found "
            f"{type(rows).__name__}; a captions file is needed, not its queries "
            f"or database"
        )
    found = []
    for number, row in enumerate(rows):
        image = row[0] if isinstance(row, list) and row else None
        where = f"row {number}" + (f": {printable(image)}" if isinstance(image, str) else "")
        caption = _caption(row)
        if isinstance(caption, Caption):
            found.append(caption)
        else:
            skipped.add(caption, where)
    if not found:
        raise InputError(
            f"{path} holds no caption that can be scored; {skipped.line() or 'it is empty'}"
        )
    return found, skipped


def read_true_captions(
    path: str | Path, roots: dict[str, str | Path], skipped: SkippedItems
) -> dict[Path, tuple[str, ...]]:
    """True captions of images, ``{image: caption or [captions]}``, by the images' files.

    Args:
        roots: see :func:`benchmarks.formats.files.find_image`.
        skipped: is given what cannot be used.

    Raises:
        InputError: no such file, another format, or no usable entry.
    """
    data = read_json(path, skipped)
    if not isinstance(data, dict):
        raise InputError(
            f"{path}: expected an object {{image: caption or [captions]}}, "
            f"found {type(data).__name__}"
        )
    found = {}
    for image, texts in data.items():
        texts = [
            text
            for text in (texts if isinstance(texts, list) else [texts])
            if is_text(text) and text.strip()
        ]
        file = find_image(image, roots)
        if not texts:
            skipped.add("image without a true caption", printable(image))
        elif file is None:
            skipped.add("true caption of an image that is missing on disk", printable(image))
        else:
            found[file.resolve()] = tuple(texts)
    if not found:
        raise InputError(
            f"{path} has no true caption of an image that is there; "
            f"{skipped.line() or 'it is empty'}"
        )
    return found


def repeated(captions: list[Caption]) -> dict[str, int]:
    """Images that stand in several rows with the same names, and in how many."""
    counts = Counter((caption.image, caption.names) for caption in captions)
    return {printable(image): n for (image, _), n in counts.items() if n > 1}


def first_of_each(captions: list[Caption], skipped: SkippedItems) -> list[Caption]:
    """The captions without those whose image and names have stood before."""
    seen, kept = set(), []
    for caption in captions:
        if (caption.image, caption.names) in seen:
            skipped.add("image with the same names again", printable(caption.image))
        else:
            seen.add((caption.image, caption.names))
            kept.append(caption)
    return kept


def _caption(row: Any) -> Caption | str:
    """The row, or what is wrong with it."""
    if not isinstance(row, list) or len(row) < 3:
        return "row that is no list of image, names and caption"
    image, names, text = row[:3]
    names = _names(names)
    if not is_text(image):
        return "row without an image"
    if not names:
        return "row without names"
    if not all(map(is_name, names)):
        return "row with a name that is none"
    if text is None:
        return "null caption"
    # An empty caption is one, so is_text is not asked.
    if not isinstance(text, str) or any("\ud800" <= char <= "\udfff" for char in text):
        return "caption that is no text"
    return Caption(image, tuple(names), answer_part(text))


def _names(value: Any) -> list:
    if isinstance(value, list):
        return [name for part in value for name in (part if isinstance(part, list) else [part])]
    return [] if value is None else [value]
