"""Which annotated boxes are of use, and which of them can be asked for together."""

import math
from array import array
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from data_gen.files.errors import SourceError
from data_gen.files.files import find_file
from data_gen.images.boxes import (
    Box,
    area,
    cropped,
    hidden,
    iou,
)
from data_gen.sources.annotations import Annotations

TOLERANCE = 2.0
"""Pixels that a box may reach beyond its picture: annotators' tools round. It is clipped then."""

MOST_BOXES = 12
"""Boxes of one picture that a scene is chosen from, the largest first."""

MOST_THINGS = 5
"""Things of one scene."""


@dataclass(frozen=True)
class Limits:
    """What a box must be like.

    Args:
        min_share: least share of the picture's area, 0-1.
        max_share: largest share of the picture's area: a thing that fills the picture is not found
            by looking for it.
        min_side: least width and height, in pixels of the picture as annotated.
        min_margin: least distance to every edge of the picture, in pixels: what reaches the edge is
            cut off. 0 keeps it.
        duplicate_iou: IoU from which two boxes of one category are the same thing twice.
        max_overlap: largest share of a box of a scene that another one may cover.
    """

    min_share: float = 0.01
    max_share: float = 0.8
    min_side: float = 32
    min_margin: float = 1
    duplicate_iou: float = 0.9
    max_overlap: float = 0.1

    def __post_init__(self):
        for name, value in vars(self).items():
            most = math.inf if name in ("min_side", "min_margin") else 1
            if type(value) not in (int, float) or not 0 <= value <= most:
                raise SourceError(f"{name} must be a number from 0{'' if most > 1 else ' to 1'}, "
                                  f"not {value!r}")


@dataclass
class Kept:
    """What is of use.

    Attributes:
        boxes: picture -> places of its boxes, which now end within the picture.
        files: picture -> where it is.
        alone: boxes whose category no other box of the picture has, used or not.
        left_out: reason -> number of boxes (or pictures, where it says so).
    """

    boxes: dict[int, list[int]]
    files: dict[int, Path]
    alone: set[int]
    left_out: Counter


def useful_boxes(
    found: Annotations, folder: Path, limits: Limits, categories: set[str] | None = None
) -> Kept:
    """Sort out boxes, and clip those that reach a little beyond their picture.

    Args:
        found: as read.
        folder: where the pictures are, by their file names or the ends of these.
        limits: what a box must be like.
        categories: names of categories to use, casefolded; ``None`` for all.
    """
    left_out: Counter[str] = Counter()
    by_picture: dict[int, array] = defaultdict(lambda: array("i"))
    for i, picture in enumerate(found.picture):
        by_picture[picture].append(i)
    kept = Kept({}, {}, set(), left_out)
    for picture, boxes in by_picture.items():
        if found.files[picture] and not found.sizes[picture][0]:
            found.sizes[picture] = _size_on_disk(folder, found.files[picture])
        seen = Counter(found.category[i] for i in boxes)
        good: list[int] = []
        for i in boxes:
            reason, box = _judge(found, i, limits, categories)
            if reason is None and any(
                found.category[i] == found.category[j]
                and iou(box, found.box(j)) >= limits.duplicate_iou for j in good
            ):
                reason = "duplicate"
            if reason:
                left_out[reason] += 1
                continue
            good.append(i)
            found.put(i, box)
        if not good:
            continue
        file = find_file(folder, found.files[picture])
        if file is None:
            left_out["picture missing on disk"] += 1
            continue
        kept.boxes[picture], kept.files[picture] = good, file
        kept.alone.update(i for i in good if seen[found.category[i]] == 1)
    return kept


def _judge(found: Annotations, i: int, limits: Limits, categories: set[str] | None
           ) -> tuple[str | None, Box]:
    """Why box ``i`` is not used, if so, and the box within its picture."""
    box, category = found.box(i), found.category[i]
    width, height = found.sizes[found.picture[i]]
    name = found.categories[category] if category >= 0 else ""
    told = found.told.get(i)

    def reason() -> str | None:
        if i in found.flag:
            return found.flag[i]
        if found.files[found.picture[i]] is None:
            return "picture not listed, or without file_name"
        if not name and not told:
            return "category not listed, or without a name"
        if categories is not None and name.casefold() not in categories:
            return "of another category"
        if math.isnan(box[0]):
            return "bbox is not four numbers"
        if box[0] >= box[2] or box[1] >= box[3]:
            return "inverted or empty"
        if not width:
            return "picture of unknown size"
        if min(box) < -TOLERANCE or box[2] > width + TOLERANCE or box[3] > height + TOLERANCE:
            return "outside the picture"
        return None

    why = reason()
    if why:
        return why, box
    box = cropped(box, (0, 0, width, height))
    share = area(box) / (width * height)
    sides = (box[2] - box[0], box[3] - box[1])
    if share < limits.min_share or min(sides) < limits.min_side or min(sides) <= 0:
        return "tiny", box
    if share > limits.max_share:
        return "fills the picture", box
    if min(box[0], box[1], width - box[2], height - box[3]) < limits.min_margin:
        return "cut off by the picture's edge", box
    return None, box


def _size_on_disk(folder: Path, name: str) -> tuple[int, int]:
    """Width and height that the picture's header tells, (0, 0) where there is none."""
    try:
        with Image.open(find_file(folder, name) or folder / name) as header:
            return header.size
    except (OSError, Image.DecompressionBombError):
        return 0, 0


def apart(boxes: list[Box], max_overlap: float) -> list[int]:
    """Places of boxes that leave each other in sight: from the largest on, each that neither covers
    nor is covered by more than ``max_overlap`` of the smaller one of the two."""
    largest = sorted(range(len(boxes)), key=lambda i: -area(boxes[i]))[:MOST_BOXES]
    chosen: list[int] = []
    for i in largest:
        if all(hidden(boxes[i], boxes[j]) <= max_overlap for j in chosen):
            chosen.append(i)
    return chosen[:MOST_THINGS]
