"""The boxes of a detection set in memory: a few numbers each, and what its file says against
them."""

import math
import re
from array import array
from typing import Any

from data_gen.images.boxes import Box

FLAGS = {
    "iscrowd": "crowd",
    "isfake": "drawn, not real",
    "isreflected": "reflection",
    "ignore": "marked to be ignored",
}
"""Flag of an annotation -> why it is not used."""

NOT_SET = ("", "0", "0.0", "false", "no", "none", "null", "off", "n", "f")
"""Texts of a flag that is not set: some writers quote numbers and truth values."""

ROTATIONS = ("rotation", "angle", "theta")

MOST_EXACT = 2**53
"""Largest whole number that a float holds exactly: two larger ids may have become one."""


def _flag(item: dict) -> str | None:
    """Why an annotation says of itself that it is not to be used."""
    more = item.get("attributes")
    more = more if isinstance(more, dict) else {}
    for flag, why in FLAGS.items():
        if _is_set(item.get(flag)) or _is_set(more.get(flag)):
            return why
    turns = (held.get(key) for held in (item, more) for key in ROTATIONS)
    return "rotated" if any(map(_is_turned, turns)) else None


def _is_set(value: Any) -> bool:
    return value.strip().casefold() not in NOT_SET if isinstance(value, str) else bool(value)


def _is_turned(value: Any) -> bool:
    """Whether a rotation, in degrees, changes a box: half a turn does not."""
    if not _is_set(value):
        return False
    try:
        degrees = float(value)
    except (TypeError, ValueError):
        return True
    return not math.isfinite(degrees) or not math.isclose(
        math.remainder(degrees, 180), 0, abs_tol=0.01
    )


def key_of(value: Any) -> str | None:
    """An id as text, or ``None`` where it is none: some writers quote numbers in one list and not
    in the other, or write all numbers as floats."""
    if type(value) is float:
        exact = value.is_integer() and abs(value) <= MOST_EXACT
        return str(int(value)) if exact else None
    if type(value) is str:
        value = value.strip()
        return re.sub(r"^(-?[0-9]+)\.0+$", r"\1", value) or None
    return str(value) if type(value) is int else None


class Annotations:
    """Boxes, images and categories, each identified by its place.

    Attributes:
        files: image -> file name, or ``None`` where it has none that is text.
        sizes: image -> width and height in pixels, (0, 0) where the file does not say.
        categories: category -> name.
        ids: box -> its id as text.
        image, category: box -> place of its image, of its category; -1 for none.
        flag: box -> the reason that its flag gives, or ``None``.
        described: box -> referring sentences.
        instance: box -> a text that boxes of the same subject share; missing for most.
        alike: box -> a text that boxes share which may be of the same subject, or may not.
        dialect: which program wrote the file, in a few words; empty where it does not show.
    """

    def __init__(self):
        self.files: list[str | None] = []
        self.sizes: list[tuple[int, int]] = []
        self.categories: list[str] = []
        self.ids: list[str] = []
        self.image, self.category = array("i"), array("i")
        self.edges = array("d")
        self.flag: dict[int, str] = {}
        self.described: dict[int, tuple[str, ...]] = {}
        self.instance: dict[int, str] = {}
        self.alike: dict[int, str] = {}
        self.dialect = ""

    def __len__(self) -> int:
        return len(self.ids)

    def box(self, i: int) -> Box:
        """Pixels; all NaN where the file has no four numbers."""
        x1, y1, x2, y2 = self.edges[4 * i : 4 * i + 4]
        return x1, y1, x2, y2

    def put(self, i: int, box: Box) -> None:
        """Replace a box."""
        self.edges[4 * i : 4 * i + 4] = array("d", box)

    def add(self, item: dict, image: int, category: int, box: Box | None) -> int:
        """Add a box; returns its place."""
        i = len(self.ids)
        named = (key_of(item.get(key)) for key in ("id", "ann_id", "ref_id"))
        name = next((key for key in named if key is not None), str(i))
        self.ids.append(name.encode("utf-8", "replace").decode())
        self.image.append(image)
        self.category.append(category)
        self.edges.extend(box or [math.nan] * 4)
        reason = _flag(item)
        if reason:
            self.flag[i] = reason
        return i
