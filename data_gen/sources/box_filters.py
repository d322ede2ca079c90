"""Filter annotated boxes, and choose those of an image that make a scene."""

import math
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data_gen.files.errors import SourceError
from data_gen.files.skipped import SkippedItems, printable
from data_gen.images.boxes import (
    Box,
    area,
    cropped,
    hidden,
)
from data_gen.images.finding import SHARED, find_pictures
from data_gen.images.photos import PhotoError, open_picture
from data_gen.sources.coco.boxes import Annotations
from rewards.visual_localization import iou

TOLERANCE = 2.0
"""Pixels that a box may reach beyond its image, as annotation tools round; it is clipped then."""

MAX_BOXES = 12
"""Boxes of one image that a scene is chosen from, the largest first."""

MAX_SUBJECTS = 5
"""Most subjects of one scene."""


@dataclass(frozen=True)
class Limits:
    """What a box must be like to be used.

    Args:
        min_share: least share of the image's area, 0-1.
        max_share: largest share of the image's area: a subject that fills the image need not be
            looked for.
        min_side: least width and height, in pixels of the image as annotated.
        min_margin: least distance to every edge of the image, in pixels, as a subject at the edge
            may be cut off; 0 keeps these.
        duplicate_iou: IoU from which two boxes of one category are the same subject twice.
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
                raise SourceError(
                    f"{name} must be a number from 0{'' if most > 1 else ' to 1'}, not {value!r}"
                )


@dataclass
class Kept:
    """The boxes that are used.

    Attributes:
        boxes: image -> places of its boxes, which now end within the image.
        files: image -> where it is.
        alone: boxes whose category no other box of the image has, used or not.
        skipped: boxes (or images, where the reason says so) that are not used.
    """

    boxes: dict[int, list[int]]
    files: dict[int, Path]
    alone: set[int]
    skipped: SkippedItems


def useful_boxes(
    found: Annotations, folder: Path, limits: Limits, categories: set[str] | None = None
) -> Kept:
    """Filter boxes, and clip those that reach a little beyond their image.

    Args:
        found: as read.
        folder: where the images are, by their file names or the ends of these.
        limits: what a box must be like.
        categories: names of categories to use, casefolded; ``None`` for all.
    """
    skipped = SkippedItems()
    by_image: dict[int, array] = defaultdict(lambda: array("i"))
    for i, image in enumerate(found.image):
        by_image[image].append(i)
    kept = Kept({}, {}, set(), skipped)
    listed = [found.files[image] for image in by_image]
    files, lost = find_pictures(folder, [name for name in listed if name])
    shared = {name for name, n in Counter(listed).items() if n > 1}
    for image, boxes in by_image.items():
        name = found.files[image]
        if name in files and not found.sizes[image][0]:
            found.sizes[image] = _size_on_disk(files[name])
        seen = Counter(found.category[i] for i in boxes)
        good: list[int] = []
        for i in boxes:
            reason, box = _judge(found, i, limits, categories)
            if reason is None and any(
                found.category[i] == found.category[j]
                and iou(box, found.box(j)) >= limits.duplicate_iou
                for j in good
            ):
                reason = "duplicate"
            if reason:
                skipped.add(reason, found.ids[i])
                continue
            good.append(i)
            found.put(i, box)
        if not good or name is None:
            continue
        if name in lost or name in shared:
            skipped.add(lost.get(name, SHARED), printable(name))
            continue
        kept.boxes[image], kept.files[image] = good, files[name]
        kept.alone.update(i for i in good if seen[found.category[i]] == 1)
    return kept


def _judge(
    found: Annotations, i: int, limits: Limits, categories: set[str] | None
) -> tuple[str | None, Box]:
    """Why box ``i`` is not used (``None`` if it is), and the box within its image."""
    box, category = found.box(i), found.category[i]
    width, height = found.sizes[found.image[i]]
    name = found.categories[category] if category >= 0 else ""
    described = found.described.get(i)

    def reason() -> str | None:
        if i in found.flag:
            return found.flag[i]
        if found.files[found.image[i]] is None:
            return "image not listed, or without file_name"
        if not name and not described:
            return "category not listed, or without a name"
        if categories is not None and name.casefold() not in categories:
            return "of another category"
        if math.isnan(box[0]):
            return "bbox is not four numbers"
        if box[0] >= box[2] or box[1] >= box[3]:
            return "inverted or empty"
        if not width:
            return "image of unknown size"
        if min(box) < -TOLERANCE or box[2] > width + TOLERANCE or box[3] > height + TOLERANCE:
            return "outside the image"
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
        return "fills the image", box
    if min(box[0], box[1], width - box[2], height - box[3]) < limits.min_margin:
        return "cut off by the image's edge", box
    return None, box


def _size_on_disk(file: Path) -> tuple[int, int]:
    """Width and height by the image's header; (0, 0) where it cannot be read."""
    try:
        with open_picture(file) as header:
            return header.size
    except PhotoError:
        return 0, 0


def check_format(found: Annotations, box_format: str) -> None:
    """Refuse boxes that are written in another way than ``box_format`` says: those that end in
    their images by chance would be wrong.

    Raises:
        SourceError: many boxes lie outside of their images or are empty, and as few as none of them
            where they are read the other way; or all are fractions of their images.
    """
    other = "xyxy" if box_format == "xywh" else "xywh"
    n = sum(1 for _ in _sized(found))
    if not n:
        return
    if all(max(abs(v) for v in box) <= 2 < min(size) for box, size in _sized(found)):
        box, _ = next(_sized(found))
        raise SourceError(
            f"all {n} boxes lie within 2 pixels of a corner, such as {_shown(box)}"
            " (x1 y1 x2 y2): they are fractions of their images; write pixels"
        )
    odd = sum(not _fits(box, size) for box, size in _sized(found))
    if odd < max(2, 0.05 * n):
        return
    otherwise = sum(not _fits(_read_as(other, box), size) for box, size in _sized(found))
    if otherwise <= 0.01 * n:
        box, (width, height) = next(pair for pair in _sized(found) if not _fits(*pair))
        raise SourceError(
            f"{odd} of {n} boxes lie outside of their images or are empty, read as "
            f"box_format: {box_format}, such as {_shown(box)} (x1 y1 x2 y2) in one of "
            f"{width}x{height}; set box_format: {other}, which fits {n - otherwise} of "
            "them"
        )


def _sized(found: Annotations) -> Iterator[tuple[Box, tuple[int, int]]]:
    """Boxes of four numbers whose image has a size, and that; one by one, as there are millions."""
    for i, image in enumerate(found.image):
        size, box = found.sizes[image], found.box(i)
        if size[0] and not math.isnan(box[0]):
            yield box, size


def _read_as(other: str, box: Box) -> Box:
    """A box as it would be, had its numbers been read in the ``other`` of the two formats."""
    x1, y1, x2, y2 = box
    return (x1, y1, x2 - x1, y2 - y1) if other == "xyxy" else (x1, y1, x1 + x2, y1 + y2)


def _fits(box: Box, size: tuple[int, int]) -> bool:
    x1, y1, x2, y2 = box
    width, height = size
    inside = min(box) >= -TOLERANCE and x2 <= width + TOLERANCE and y2 <= height + TOLERANCE
    return inside and x1 < x2 and y1 < y2


def _shown(box: Box) -> str:
    return " ".join(f"{v:g}" for v in box)


def apart(boxes: list[Box], max_overlap: float) -> list[int]:
    """Places of boxes that hide little of each other: from the largest on, each that overlaps none
    of those chosen before by more than ``max_overlap`` of the smaller one of the two."""
    largest = sorted(range(len(boxes)), key=lambda i: -area(boxes[i]))[:MAX_BOXES]
    chosen: list[int] = []
    for i in largest:
        if all(hidden(boxes[i], boxes[j]) <= max_overlap for j in chosen):
            chosen.append(i)
    return chosen[:MAX_SUBJECTS]
