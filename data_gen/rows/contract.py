"""The row contract: the columns of a row, and what is refused in each.

Rows are checked when they are written and again when they are read, because a row set may come
from somebody else's program. Images are opened as far as their headers, not decoded; decoding every
one is what ``byname generate --inspect`` does.
"""

import io
import math
import reprlib
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from datasets import Features, Image, List, Value
from PIL import Image as PILImage

from data_gen.files.errors import InputError
from data_gen.files.files import is_file
from data_gen.images.photos import FORMATS, MAX_RATIO, PhotoError, open_picture, photo_bytes
from rewards.names import name_key, name_problem

OCT = "object_consistency"
VLT = "visual_localization"
ICT = "identity_consistency"


class Truth(NamedTuple):
    """Where the truth of a task's rows is, and what it may be.

    Args:
        column: ``answer``, ``box`` or ``names``. An ``answer`` or a ``box`` must not be null; where
            the truth is in another column, ``answer`` may be any text or null.
        answers: candidate answers; ``None`` where any text is one.
    """

    column: str
    answers: tuple[str, ...] | None = None


TRUTH: dict[str, Truth] = {
    OCT: Truth("answer", ("yes", "no")),
    VLT: Truth("box"),
    ICT: Truth("names"),
}
"""Task -> its truth; :func:`data_gen.tasks.table.add_task` adds further tasks. Rows of a task that
is not here may have any text or null as their ``answer``."""

FEATURES = Features(
    {
        "id": Value("string"),
        "task": Value("string"),
        "prompt": List(
            {
                "role": Value("string"),
                "content": List({"type": Value("string"), "text": Value("string")}),
            }
        ),
        "images": List(Image()),
        "answer": Value("string"),
        "box": List(Value("float64")),
        "names": List(Value("string")),
        "absent_names": List(Value("string")),
        "source": Value("string"),
    }
)

ROLES = ("system", "user", "assistant")

MAX_PIXELS = 4096 * 4096
"""Largest image that a row may hold, in pixels: a decompression bomb is not training data."""

IMAGE_FORMATS = {"png": {"compress_level": 1}, "jpeg": {"quality": 95, "subsampling": 0}}
"""Formats in which images are stored, with pillow's options. Flat drawings are small and exact as
PNG; photos, which were JPEG files before, are written many times faster as JPEG and are several
times smaller."""

ROW_FORMATS = tuple(form for form in FORMATS if form != "HEIF")
"""Formats of images in rows: what pillow reads everywhere. ``datasets`` decodes them by itself, and
whatever :func:`check_row` lets pass it decodes with pillow."""

NOT_UTF8 = "holds half of a surrogate pair, which no encoding has"

TOO_LARGE = f"has no pixel, or more than {MAX_PIXELS}"

TOO_LONG = f"is more than {MAX_RATIO} times as long as wide, which processors of images refuse"


class RowError(InputError):
    """A row that breaks the contract. The message names the place, the row id, the column, why.

    ``kind`` says why without what is peculiar to the row, so that its like can be counted.
    """

    def __init__(self, message: str, kind: str = "other"):
        super().__init__(message)
        self.kind = kind


def check_row(row: dict, where: str = "row", folder: Path | None = None) -> None:
    """Refuse a row that breaks the contract.

    Args:
        row: columns as in :data:`FEATURES`; further columns are not looked at. Images are PIL
            images or the ``{"bytes", "path"}`` structs in which they are stored.
        where: file or generator, for the message.
        folder: of the row set, where it was made by others: files of images must lie in it.

    Raises:
        RowError: naming ``where``, the row's id, the column and the reason.
    """

    def refuse(column: str, reason: str, found: str = "") -> NoReturn:
        raise RowError(
            f"{where}: row {_short(row.get('id'))}: column '{column}': {reason}{found}",
            kind=f"{column}: {reason}",
        )

    for column in FEATURES:
        if column not in row:
            refuse(column, "is missing")
    for column in ("id", "task"):
        if not isinstance(row[column], str) or not row[column].strip():
            refuse(column, "must be a non-empty string", f", not {_short(row[column])}")
    for column in ("source", "answer"):
        if row[column] is not None and not isinstance(row[column], str):
            refuse(column, "must be a string or null", f", not {_short(row[column])}")
    for column in ("id", "task", "source", "answer"):
        if not _is_utf8(row[column] or ""):
            refuse(column, NOT_UTF8)

    try:
        placeholders = count_placeholders(row["prompt"])
    except ValueError as error:
        refuse("prompt", *error.args)
    if not isinstance(row["images"] or [], list):
        refuse("images", "must be a list of images", f", not {type(row['images']).__name__}")
    for i, image in enumerate(row["images"] or []):
        problem = image_problem(image, folder)
        if problem:
            refuse(
                "images",
                f"an image {problem}",
                f" (number {i}{_path_of(image)}); replace it or leave the row out",
            )
    if placeholders != len(row["images"] or []):
        refuse(
            "images",
            "as many images are needed as the prompt has placeholders",
            f", not {len(row['images'] or [])} images for {placeholders} placeholders",
        )

    answer, truth = row["answer"], TRUTH.get(row["task"])
    if truth and truth.column == "answer":
        if answer is None:
            refuse("answer", f"is null in a row of {row['task']}")
        if truth.answers is not None and answer not in truth.answers:
            refuse(
                "answer",
                f"must be {' or '.join(map(repr, truth.answers))} in a row of {row['task']}",
                f", not {_short(answer)}",
            )
    box = row["box"]
    if box is not None:
        if (
            not isinstance(box, (list, tuple))
            or len(box) != 4
            or not all(isinstance(v, (int, float)) and abs(v) < math.inf for v in box)
        ):
            refuse("box", "must be 4 finite numbers", f", not {_short(box)}")
        if not (0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1):
            refuse(
                "box",
                "must be x1 y1 x2 y2 in 0-1 with x1 < x2 and y1 < y2",
                f", not {_short(box)}",
            )
    elif truth and truth.column == "box":
        refuse("box", f"is null in a row of {row['task']}")

    seen: set[str] = set()
    for column in ("names", "absent_names"):
        if not isinstance(row[column], list):
            refuse(column, "must be a list of strings", f", not {_short(row[column])}")
        for name in row[column]:
            if problem := name_problem(name):
                refuse(column, f"a name {problem}", f": {_short(name)}")
            if name_key(name) in seen:
                refuse(column, "a name is listed twice", f": {_short(name)}")
            seen.add(name_key(name))


def count_placeholders(prompt: Any) -> int:
    """How many image placeholders a conversation has.

    Raises:
        ValueError: what is wrong with the conversation in general, and in particular.
    """
    if not isinstance(prompt, list) or not prompt:
        raise ValueError("must be a non-empty list of messages")
    placeholders = 0
    for message in prompt:
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            role = message.get("role") if isinstance(message, dict) else message
            raise ValueError(
                f"unknown role, a message is by {', '.join(ROLES)}", f", not {_short(role)}"
            )
        content = message.get("content") or []
        if not isinstance(content, list):
            raise ValueError(
                'the content of a message must be a list of parts, {"type": "text", '
                '"text": ...} or {"type": "image"}',
                f", not {_short(content)}",
            )
        for part in content:
            kind = part.get("type") if isinstance(part, dict) else None
            if kind == "image":
                placeholders += 1
            elif kind != "text" or not isinstance(part.get("text"), str):
                raise ValueError(
                    "a content part must be an image or a text", f", not {_short(part)}"
                )
            elif not _is_utf8(part["text"]):
                raise ValueError(NOT_UTF8)
    return placeholders


def image_problem(image: PILImage.Image | dict, folder: Path | None = None) -> str | None:
    """What is wrong with an image, as far as its header tells; ``None`` if nothing.

    Args:
        folder: where the image's file, if it is stored as one, must lie; ``None``: anywhere.
    """
    if isinstance(image, PILImage.Image):
        return _size_problem(image)
    if not isinstance(image, dict) or not {"bytes", "path"} <= set(image):
        return "must be pixels, or bytes and path"
    if image["bytes"] is None:
        path = image["path"]
        if not isinstance(path, str) or not is_file(path):
            return "has no bytes, and its file is not there"
        # Links are followed: one in the set may lead to any file of this machine.
        if folder is not None and not Path(path).resolve().is_relative_to(folder.resolve()):
            return "has no bytes, and its file lies outside of the row set"
    elif not isinstance(image["bytes"], bytes):
        return "must be pixels, or bytes and path"
    try:
        with open_image(image) as opened:
            return _size_problem(opened)
    except PhotoError as reason:
        return TOO_LARGE if str(reason) == "too large" else "is damaged or no image"


def open_image(image: dict) -> PILImage.Image:
    """Open a stored image without decoding it.

    Raises:
        PhotoError: it is damaged, or of no format in :data:`ROW_FORMATS`.
    """
    return open_picture(
        image["bytes"] if image["bytes"] is not None else image["path"], ROW_FORMATS
    )


def image_bytes(image: dict) -> bytes:
    """The content of a stored image.

    Raises:
        PhotoError: its file cannot be read.
    """
    return image["bytes"] if image["bytes"] is not None else photo_bytes(image["path"])


def encode_image(image: PILImage.Image | dict, form: str = "png") -> dict:
    """An image as the ``{"bytes", "path"}`` struct of ``datasets.Image``, without the path.

    Args:
        image: pixels, stored without what else a photo says (its place, camera and colour
            profile); or a struct, whose bytes are kept as they are.
        form: a key of :data:`IMAGE_FORMATS`.
    """
    if isinstance(image, dict):
        return {"bytes": image_bytes(image), "path": None}
    pixels = image.copy()
    pixels.info = {key: value for key, value in image.info.items() if key == "transparency"}
    buffer = io.BytesIO()
    pixels.save(buffer, form, **IMAGE_FORMATS[form])
    return {"bytes": buffer.getvalue(), "path": None}


def _path_of(image: Any) -> str:
    """The path of an image that is stored as one, for a message."""
    stored = isinstance(image, dict) and image.get("bytes") is None
    return f", {_short(image.get('path'))}" if stored else ""


def _size_problem(image: PILImage.Image) -> str | None:
    if not 0 < image.width * image.height <= MAX_PIXELS:
        return TOO_LARGE
    return TOO_LONG if max(image.size) > MAX_RATIO * min(image.size) else None


def _is_utf8(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)


_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 60


def _short(value: Any) -> str:
    """A value of an untrusted row for a message: short, however long or deeply nested it is."""
    try:
        return _REPR.repr(value)[:120]
    except ValueError:  # a number of thousands of digits
        return f"a {type(value).__name__}"
