"""The row contract: the columns of a row, and what is refused in each.

Rows are checked when they are written and again when they are read, because a row set may come
from somebody else's program. Images are opened as far as their headers, not decoded; decoding every
one is what ``byname generate --inspect`` does.
"""

import io
import math
import warnings
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from datasets import Features, Image, List, Value
from PIL import Image as PILImage

from data_gen.files.errors import InputError

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

TOO_LARGE = f"has no pixel, or more than {MAX_PIXELS}"


class RowError(InputError):
    """A row that breaks the contract. The message names the place, the row id, the column, why.

    ``kind`` says why without what is peculiar to the row, so that its like can be counted.
    """

    def __init__(self, message: str, kind: str = "other"):
        super().__init__(message)
        self.kind = kind


def check_row(row: dict, where: str = "row") -> None:
    """Refuse a row that breaks the contract.

    Args:
        row: columns as in :data:`FEATURES`; further columns are not looked at. Images are PIL
            images or the ``{"bytes", "path"}`` structs in which they are stored.
        where: file or generator, for the message.

    Raises:
        RowError: naming ``where``, the row's id, the column and the reason.
    """

    def refuse(column: str, reason: str, found: str = "") -> NoReturn:
        raise RowError(
            f"{where}: row {row.get('id')!r}: column '{column}': {reason}{found}",
            kind=f"{column}: {reason}",
        )

    for column in FEATURES:
        if column not in row:
            refuse(column, "is missing")
    for column in ("id", "task"):
        if not isinstance(row[column], str) or not row[column].strip():
            refuse(column, "must be a non-empty string", f", not {row[column]!r}")
    if row["source"] is not None and not isinstance(row["source"], str):
        refuse("source", "must be a string", f", not {row['source']!r}")

    try:
        placeholders = count_placeholders(row["prompt"])
    except ValueError as error:
        refuse("prompt", *error.args)
    if not isinstance(row["images"] or [], list):
        refuse("images", "must be a list of images", f", not {type(row['images']).__name__}")
    for i, image in enumerate(row["images"] or []):
        problem = image_problem(image)
        if problem:
            refuse(
                "images", f"an image {problem}", f" (number {i}); replace it or leave the row out"
            )
    if placeholders != len(row["images"] or []):
        refuse(
            "images",
            "as many images are needed as the prompt has placeholders",
            f", not {len(row['images'] or [])} images for {placeholders} placeholders",
        )

    answer, truth = row["answer"], TRUTH.get(row["task"])
    if answer is not None and not isinstance(answer, str):
        refuse("answer", "must be a string or null", f", not {answer!r}")
    if truth and truth.column == "answer":
        if answer is None:
            refuse("answer", f"is null in a row of {row['task']}")
        if truth.answers is not None and answer not in truth.answers:
            refuse(
                "answer",
                f"must be {' or '.join(map(repr, truth.answers))} in a row of {row['task']}",
                f", not {answer!r}",
            )
    box = row["box"]
    if box is not None:
        if (
            not isinstance(box, (list, tuple))
            or len(box) != 4
            or not all(isinstance(v, (int, float)) and math.isfinite(v) for v in box)
        ):
            refuse("box", "must be 4 finite numbers", f", not {box!r}")
        if not (0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1):
            refuse("box", "must be x1 y1 x2 y2 in 0-1 with x1 < x2 and y1 < y2", f", not {box!r}")
    elif truth and truth.column == "box":
        refuse("box", f"is null in a row of {row['task']}")

    seen: set[str] = set()
    for column in ("names", "absent_names"):
        if not isinstance(row[column], list):
            refuse(column, "must be a list of strings", f", not {row[column]!r}")
        for name in row[column]:
            if not isinstance(name, str) or not name.strip() or set(name) & set("<>"):
                refuse(column, "not a bare name (write bo, not <bo>)", f": {name!r}")
            if name.casefold() in seen:
                refuse(column, "a name is listed twice", f": {name!r}")
            seen.add(name.casefold())


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
            raise ValueError(f"unknown role, a message is by {', '.join(ROLES)}", f", not {role!r}")
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
    return placeholders


def image_problem(image: PILImage.Image | dict) -> str | None:
    """What is wrong with an image, as far as its header tells; ``None`` if nothing."""
    if isinstance(image, PILImage.Image):
        return _size_problem(image)
    if not isinstance(image, dict) or not {"bytes", "path"} <= set(image):
        return "must be pixels, or bytes and path"
    if image["bytes"] is None and not (image["path"] and Path(image["path"]).is_file()):
        return "has no bytes, and its file is not there"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large images, which are refused below
            with open_image(image) as opened:
                return _size_problem(opened)
    except PILImage.DecompressionBombError:
        return TOO_LARGE
    except Exception:  # pillow's readers raise SyntaxError, struct.error and more on damaged files
        return "is damaged or no image"


def open_image(image: dict) -> PILImage.Image:
    """Open a stored image without decoding it."""
    return PILImage.open(
        io.BytesIO(image["bytes"]) if image["bytes"] is not None else image["path"]
    )


def encode_image(image: PILImage.Image | dict, form: str = "png") -> dict:
    """An image as the ``{"bytes", "path"}`` struct of ``datasets.Image``.

    Args:
        image: pixels; a struct is returned as it is.
        form: a key of :data:`IMAGE_FORMATS`.
    """
    if isinstance(image, dict):
        return image
    buffer = io.BytesIO()
    image.save(buffer, form, **IMAGE_FORMATS[form])
    return {"bytes": buffer.getvalue(), "path": None}


def _size_problem(image: PILImage.Image) -> str | None:
    return None if 0 < image.width * image.height <= MAX_PIXELS else TOO_LARGE


def _short(value: Any) -> str:
    return f"{value!r:.60}"
