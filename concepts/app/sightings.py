"""Find concepts in many photos: who is where, as a table, a contact sheet with boxes, and files."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from concepts.app.marking import with_boxes
from concepts.methods.assistant import Assistant
from data_gen.files.skipped import SkippedItems
from data_gen.images.boxes import Box
from data_gen.images.features import PHOTO_PX
from data_gen.images.photos import PhotoError, open_photo
from data_gen.rows.contact_sheet import FONTS, writable

CELL_PX = 240
"""Side of a photo on the sheet."""

MOST_CELLS = 200
"""Photos on a sheet."""

LINE_PX = 20


@dataclass(frozen=True)
class Sighting:
    """A concept in a photo.

    Args:
        photo: the photo's name, without folders.
        name: the concept's.
        p: that it is there; 0-1.
        box: x1 y1 x2 y2 in 0-1 of the photo; ``None`` where no box was written.
    """

    photo: str
    name: str
    p: float | None
    box: Box | None = None


@dataclass(frozen=True)
class SearchedPhoto:
    """A photo that was looked at, and who is in it."""

    photo: str
    image: Image.Image
    sightings: tuple[Sighting, ...]


def search(assistant: Assistant, photo: Path, skipped: SkippedItems) -> SearchedPhoto | None:
    """Look at a photo; ``None`` where it does not open, which is counted in ``skipped``."""
    try:
        image = open_photo(photo, PHOTO_PX)
    except PhotoError as reason:
        skipped.add(str(reason), photo.name)
        return None
    there = [one for one in assistant.who(image) if one.used]
    boxes = assistant.method.locate([(image, one.name) for one in there])
    seen = tuple(
        Sighting(photo.name, one.name, one.p, box) for one, box in zip(there, boxes, strict=True)
    )
    return SearchedPhoto(photo.name, image, seen)


def sheet(looked: Sequence[SearchedPhoto], columns: int = 4) -> Image.Image:
    """The photos side by side with boxes, and under each who is in it.

    Raises:
        ValueError: no photo.
    """
    if not looked:
        raise ValueError("no photo to show")
    shown = looked[:MOST_CELLS]
    columns = min(columns, len(shown))
    font = ImageFont.truetype(str(FONTS / "DejaVuSans.ttf"), 13)
    gap, height = 10, CELL_PX + 2 * LINE_PX
    rows = -(-len(shown) // columns)
    whole = Image.new(
        "RGB", (gap + columns * (CELL_PX + gap), gap + rows * (height + gap)), "white"
    )
    pen = ImageDraw.Draw(whole)
    for i, one in enumerate(shown):
        x = gap + i % columns * (CELL_PX + gap)
        y = gap + i // columns * (height + gap)
        boxes = [(s.name, s.box) for s in one.sightings if s.box is not None]
        small = with_boxes(one.image, boxes)
        small.thumbnail((CELL_PX, CELL_PX))
        whole.paste(small, (x, y))
        names = ", ".join(s.name for s in one.sightings) or "nobody"
        for line, (words, colour) in enumerate(((names, "#1f2328"), (one.photo, "#6e7781"))):
            pen.text((x, y + CELL_PX + 2 + line * LINE_PX), writable(words[:34]), colour, font)
    return whole


def as_csv(looked: Sequence[SearchedPhoto]) -> str:
    """A line for each sighting, and one without a name for a photo of nobody: ``photo, name, p,
    x1, y1, x2, y2``. A name that a spreadsheet would take for a formula gets an apostrophe."""
    out = io.StringIO()
    table = csv.writer(out)
    table.writerow(("photo", "name", "p", "x1", "y1", "x2", "y2"))
    for one in looked:
        for s in one.sightings or (Sighting(one.photo, "", None),):
            p = "" if s.p is None else f"{s.p:.4f}"
            box = ("", "", "", "") if s.box is None else tuple(f"{v:.4f}" for v in s.box)
            table.writerow((_harmless(s.photo), _harmless(s.name), p, *box))
    return out.getvalue()


def as_json(looked: Sequence[SearchedPhoto]) -> str:
    """``[{"photo", "sightings": [{"name", "p", "box"}]}]``"""
    return json.dumps(
        [
            {
                "photo": one.photo,
                "sightings": [{"name": s.name, "p": s.p, "box": s.box} for s in one.sightings],
            }
            for one in looked
        ],
        ensure_ascii=False,
        indent=1,
    )


def _harmless(text: str) -> str:
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
