"""The rules of the row contract: which columns a row has, and what is refused in each.

Rows are checked when they are written and again when they are read, because a row set may come
from somebody else's program. Pictures are opened as far as their headers, not decoded; decoding
every one is what ``launch/generate.py --inspect`` does.
"""

import io
import math
import warnings
from pathlib import Path

from datasets import Features, Image, List, Value
from PIL import Image as PILImage

OCT = "object_consistency"
VLT = "visual_localization"
ICT = "identity_consistency"

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
"""Largest picture a row may hold, in pixels: a decompression bomb is not training data."""

PICTURE_FORMATS = {"png": {"compress_level": 1}, "jpeg": {"quality": 95, "subsampling": 0}}
"""How pictures are stored. Flat drawings are small and exact as PNG; photos are many times faster
to write, and several times smaller, as JPEG, which they have been before."""

TOO_LARGE = f"has no pixel, or more than {MAX_PIXELS}"


class RowError(ValueError):
    """A row that breaks the contract. The message names the place, the row id, the column, why.

    ``kind`` says why without what is peculiar to the row, so that its like can be counted.
    """

    def __init__(self, message: str, kind: str = "other"):
        super().__init__(message)
        self.kind = kind


def check_row(row: dict, where: str = "row") -> None:
    """Refuse a row that breaks the contract.

    Args:
        row: columns as in :data:`FEATURES`; further columns are not looked at. Pictures are PIL
            images or the ``{"bytes", "path"}`` structs in which they are stored.
        where: file or generator, for the message.

    Raises:
        RowError: naming ``where``, the row's id, the column and the reason.
    """

    def refuse(column: str, reason: str, found: str = ""):
        raise RowError(f"{where}: row {row.get('id')!r}: column '{column}': {reason}{found}",
                       kind=f"{column}: {reason}")

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
        refuse("images", "must be a list of pictures", f", not {type(row['images']).__name__}")
    for i, image in enumerate(row["images"] or []):
        problem = picture_problem(image)
        if problem:
            refuse("images", f"a picture {problem}",
                   f" (number {i}); replace it or leave the row out")
    if placeholders != len(row["images"] or []):
        refuse("images", "as many pictures are needed as the prompt has placeholders",
               f", not {len(row['images'] or [])} pictures for {placeholders} placeholders")

    if row["answer"] not in (None, "yes", "no"):
        refuse("answer", "must be 'yes', 'no' or null", f", not {row['answer']!r}")
    if row["task"] == OCT and row["answer"] is None:
        refuse("answer", "is null in an object_consistency row")
    box = row["box"]
    if box is not None:
        if (not isinstance(box, (list, tuple)) or len(box) != 4
                or not all(isinstance(v, (int, float)) and math.isfinite(v) for v in box)):
            refuse("box", "must be 4 finite numbers", f", not {box!r}")
        if not (0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1):
            refuse("box", "must be x1 y1 x2 y2 in 0-1 with x1 < x2 and y1 < y2", f", not {box!r}")
    if row["task"] == VLT and box is None:
        refuse("box", "is null in a visual_localization row")

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


def count_placeholders(prompt) -> int:
    """How many pictures a conversation has places for.

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
            raise ValueError('the content of a message must be a list of parts, {"type": "text", '
                             '"text": ...} or {"type": "image"}', f", not {_short(content)}")
        for part in content:
            kind = part.get("type") if isinstance(part, dict) else None
            if kind == "image":
                placeholders += 1
            elif kind != "text" or not isinstance(part.get("text"), str):
                raise ValueError("a content part must be an image or a text",
                                 f", not {_short(part)}")
    return placeholders


def picture_problem(image: PILImage.Image | dict) -> str | None:
    """What is wrong with a picture, as far as its header tells; ``None`` if nothing."""
    if isinstance(image, PILImage.Image):
        return _size_problem(image)
    if not isinstance(image, dict) or not {"bytes", "path"} <= set(image):
        return "must be pixels, or bytes and path"
    if image["bytes"] is None and not (image["path"] and Path(image["path"]).is_file()):
        return "has no bytes, and its file is not there"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large pictures, which are refused below
            with open_picture(image) as opened:
                return _size_problem(opened)
    except PILImage.DecompressionBombError:
        return TOO_LARGE
    except Exception:  # pillow's readers raise SyntaxError, struct.error and more on damaged files
        return "is damaged or no picture"


def open_picture(image: dict) -> PILImage.Image:
    """A stored picture, opened and not yet decoded."""
    return PILImage.open(io.BytesIO(image["bytes"]) if image["bytes"] is not None
                         else image["path"])


def encode_image(image: PILImage.Image | dict, form: str = "png") -> dict:
    """A picture as the ``{"bytes", "path"}`` struct of ``datasets.Image``; one that is a struct
    already stays as it is. ``form``: a key of :data:`PICTURE_FORMATS`."""
    if isinstance(image, dict):
        return image
    buffer = io.BytesIO()
    image.save(buffer, form, **PICTURE_FORMATS[form])
    return {"bytes": buffer.getvalue(), "path": None}


def _size_problem(image: PILImage.Image) -> str | None:
    return None if 0 < image.width * image.height <= MAX_PIXELS else TOO_LARGE


def _short(value) -> str:
    return f"{value!r:.60}"
