"""Read the boxes of detection sets: COCO JSON, Objects365 (which is COCO) and references in the
style of RefCOCO, as a few numbers per box.

COCO: ``images`` [{id, file_name, width, height, video_id}], ``annotations`` [{id, image_id,
category_id, bbox, iscrowd}], ``categories`` [{id, name}], in any order. Objects365 adds ``isfake``
(a picture of the object) and ``isreflected``. An annotation may carry ``instance_id`` or
``track_id``, by itself or in its ``attributes`` (CVAT): boxes that share it, in one video, are the
same subject in several images (:mod:`data_gen.sources.coco.instances`). Where there is no ``bbox``,
the hull of the polygons in ``segmentation`` is taken.

References: a list, JSON lines, or ``{"refs": [...]}`` of {sentences, bbox, file_name} or, with a
COCO file, {sentences, ann_id}. A sentence is text or {"raw"/"sent": text}.

Ids are whole numbers or texts; 3.0 is 3. An image or a category without an id, a box that names no
image, and whatever two different images or categories share an id for are left out and counted.
"""

import math
import re
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data_gen.files.errors import SourceError
from data_gen.files.json_stream import is_text, json_items
from data_gen.files.skipped import SkippedItems, printable
from data_gen.images.boxes import Box
from data_gen.sources.coco.boxes import Annotations, key_of
from data_gen.sources.coco.dialects import (
    augmented_from,
    dialect_of,
    refuse_other_formats,
    what_it_is,
)
from data_gen.sources.coco.instances import Instances

BOX_FORMATS = {
    "xywh": lambda x, y, w, h: (x, y, x + w, y + h),
    "xyxy": lambda x1, y1, x2, y2: (x1, y1, x2, y2),
}


def read_annotations(
    path: str | Path, references: str | Path | None = None, box_format: str = "xywh"
) -> tuple[Annotations, SkippedItems]:
    """Read a file of annotations or of references, and references to annotations.

    Args:
        path: COCO JSON, or references that carry their own boxes.
        references: references whose ``ann_id`` points into ``path``; then only boxes that are
            referred to have ``described``, and all are kept.
        box_format: how ``bbox`` is written: ``xywh`` (COCO) or ``xyxy``.

    Returns:
        The boxes, and the entries that were skipped.

    Raises:
        SourceError: a file is missing, no JSON, or of another schema.
    """
    if box_format not in BOX_FORMATS:
        raise SourceError(f"box_format must be xywh or xyxy, not {box_format!r}")
    refuse_other_formats(path)
    found, skipped = Annotations(), SkippedItems()
    convert = BOX_FORMATS[box_format]
    keys, first = _read(path, found, skipped, convert)
    if not len(found):
        raise SourceError(
            f"{path}: no box in it (found: {', '.join(sorted(keys)) or 'nothing'})"
            f"{skipped.clause()}; {what_it_is(keys, first)}"
        )
    shared = _distinct_ids(found)
    if references:
        refuse_other_formats(references)
        _read_references(references, found, shared, skipped)
    return found, skipped


def _read(
    path: str | Path, found: Annotations, skipped: SkippedItems, convert: Callable
) -> tuple[set[str], Any]:
    """Fill ``found``; returns the file's keys and its first item in a list without a key."""
    images: dict = {}
    categories: dict = {}
    names: dict[int, Any] = {}
    keys: set[str] = set()
    first: Any = None
    instances, conflicts = Instances(), _Conflicts()

    def image(key: str) -> int:
        if key not in images:
            images[key] = len(found.files)
            found.files.append(None)
            found.sizes.append((0, 0))
        return images[key]

    def category(key: str) -> int:
        return categories.setdefault(key, len(categories))

    for key, item in json_items(path):
        keys.add(key or "a list")
        if key == "info":
            found.dialect = dialect_of(item)
        if key not in ("images", "annotations", "categories", "refs", ""):
            continue
        first = item if first is None and not key else first
        if not isinstance(item, dict):
            skipped.add("entry that is no object")
        elif key == "images":
            own = key_of(item.get("id"))
            if own is None:
                skipped.add("image without an id", printable(item.get("file_name")))
                continue
            _image(found, image(own), item, conflicts)
            instances.see_image(images[own], item)
        elif key == "categories":
            own = key_of(item.get("id"))
            if own is None:
                skipped.add("category without an id", printable(item.get("name")))
            else:
                conflicts.see_category(category(own), names, item.get("name"))
        elif key == "annotations":
            of, kind = key_of(item.get("image_id")), key_of(item.get("category_id"))
            if of is None:
                skipped.add("box without an image_id", printable(item.get("id")))
                continue
            box, why = _box_or_hull(item, convert)
            i = found.add(item, image(of), -1 if kind is None else category(kind), box)
            if why and i not in found.flag:
                found.flag[i] = why
            instances.see_box(i, item)
        elif not (is_text(item.get("file_name")) and "bbox" in item):
            skipped.add("reference without file_name and bbox")
        else:
            place = image(item["file_name"])
            _image(found, place, item, conflicts)
            name = item.get("category", item.get("category_name"))
            kind = -1
            if is_text(name):
                kind = category(name)
                names[kind] = name
            i = found.add(item, place, kind, _box(item["bbox"], convert))
            found.described[i] = _sentences(item, skipped)
            instances.see_box(i, item)
    found.categories = [
        name if is_text(name) else "" for name in map(names.get, range(len(categories)))
    ]
    conflicts.flag(found)  # by ids, so before two of them get one place
    _one_place_a_name(found)
    _flag_augmented(found)
    instances.settle(found)
    return keys, first


class _Conflicts:
    """Ids that different images, or different categories, share."""

    def __init__(self) -> None:
        self.images: dict[int, str] = {}
        self.categories: dict[int, str] = {}

    def see_category(self, place: int, names: dict[int, Any], name: Any) -> None:
        """Take down a category's name, unless its id has another one."""
        before = names.setdefault(place, name)
        if _folded(before) != _folded(name):
            self.categories[place] = f"{printable(before)} and {printable(name)}"

    def flag(self, found: Annotations) -> None:
        """Flag the boxes that such an id leaves in doubt."""
        for i in range(len(found)) if self.images or self.categories else ():
            of, kind = self.images.get(found.image[i]), self.categories.get(found.category[i])
            if of:
                found.flag[i] = "image id of two images"
                found.ids[i] += f": {of}"
            elif kind:
                found.flag[i] = "category id of two categories"
                found.ids[i] += f": {kind}"


def _one_place_a_name(found: Annotations) -> None:
    """Categories of one name get one place, so that two of them in an image are known as such."""
    places: dict[str, int] = {}
    same = [
        places.setdefault(_folded(name), place) if name else place
        for place, name in enumerate(found.categories)
    ]
    if len(places) < len(found.categories):
        found.category = array("i", (same[k] if k >= 0 else k for k in found.category))


def _flag_augmented(found: Annotations) -> None:
    """Of the images that Roboflow made from one, only the first is used: two of them show the same
    things, and a "no" about these would be wrong."""
    firsts: dict[str, int] = {}
    copies: set[int] = set()
    for place, name in enumerate(found.files):
        origin = augmented_from(name)
        if origin and firsts.setdefault(origin, place) != place:
            copies.add(place)
    for i in range(len(found)) if copies else ():
        if found.image[i] in copies and i not in found.flag:
            found.flag[i] = "in an augmented copy of another image"


def _distinct_ids(found: Annotations) -> set[str]:
    """Make the ids of boxes distinct, as messages and neighbour tables know boxes by them; returns
    those that several boxes had."""
    counts: dict[str, int] = {}
    shared: set[str] = set()
    for i, name in enumerate(found.ids):
        n = counts[name] = counts.get(name, 0) + 1
        if n > 1:
            shared.add(name)
            found.ids[i] = f"{name}~{n}"
    return shared


def _read_references(
    path: str | Path, found: Annotations, shared: set[str], skipped: SkippedItems
) -> None:
    places = {key: i for i, key in enumerate(found.ids)}
    pointed = False
    for key, item in json_items(path):
        if key not in ("refs", "") or not isinstance(item, dict):
            continue
        name = key_of(item.get("ann_id"))
        i = places.get(name) if name is not None else None
        pointed |= i is not None
        if i is None:
            skipped.add("reference to no annotation")
        elif name in shared:
            skipped.add("reference to an id that several boxes have", name)
        else:
            found.described[i] = found.described.get(i, ()) + _sentences(item, skipped)
    if not pointed:
        raise SourceError(
            f"{path}: no reference has an ann_id of the annotations; give the "
            f"references that belong to them"
        )


def _image(found: Annotations, place: int, item: dict, conflicts: _Conflicts) -> None:
    name, width, height = item.get("file_name"), item.get("width"), item.get("height")
    name = name if is_text(name) else None
    whole = [_whole(side) for side in (width, height)]
    size = (whole[0], whole[1]) if all(0 < side < 1e6 for side in whole) else (0, 0)
    before, had = found.files[place], found.sizes[place]
    if before is not None and (before != name or (had[0] and size[0] and had != size)):
        conflicts.images[place] = (
            f"{printable(before)} and {printable(name)}"
            if before != name
            else f"{printable(name)} of {had[0]}x{had[1]} and {size[0]}x{size[1]}"
        )
        return
    found.files[place] = name
    if size[0]:
        found.sizes[place] = size


def _whole(value: Any) -> int:
    """A whole number, as such or as a float or a text; else 0."""
    key = key_of(value)
    return int(key) if key is not None and re.fullmatch(r"[0-9]{1,7}", key) else 0


def _box_or_hull(item: dict, convert: Callable) -> tuple[Box | None, str | None]:
    """An annotation's box, or the hull of its polygons where it has none; else why there is
    none."""
    value = item.get("bbox")
    given = _box(value, convert)
    empty = value in (None, []) or (given is not None and not any(value))
    if not empty:
        return given, None
    shape = item.get("segmentation")
    corners = _corners(shape)
    if corners:
        xs, ys = corners[::2], corners[1::2]
        return (min(xs), min(ys), max(xs), max(ys)), None
    if isinstance(shape, dict):
        return given, "no bbox, mask only (pycocotools.mask.toBbox makes one)"
    return given, None


def _corners(shape: Any) -> list[float]:
    """The numbers x y x y ... of polygons: a list of them, one by itself, or one of pairs; empty
    where they are none."""
    if not isinstance(shape, list) or not shape:
        return []
    parts = shape if all(isinstance(part, list) for part in shape) else [shape]
    if not all(len(part) % 2 == 0 for part in parts):
        return []
    numbers = [v for part in parts for v in part]
    if len(numbers) < 6 or not all(type(v) in (int, float) and abs(v) < math.inf for v in numbers):
        return []
    return [float(v) for v in numbers]


def _box(value: Any, convert: Callable) -> Box | None:
    """Four finite numbers as x1 y1 x2 y2, or ``None``."""
    if not isinstance(value, list) or len(value) != 4:
        return None
    if not all(type(v) in (int, float) and math.isfinite(v) for v in value):
        return None
    return convert(*map(float, value))


def _sentences(item: dict, skipped: SkippedItems) -> tuple[str, ...]:
    said = item.get("sentences", item.get("sentence", item.get("expression")))
    found = []
    for sentence in said if isinstance(said, list) else [said]:
        if isinstance(sentence, dict):
            sentence = sentence.get("raw") or sentence.get("sent")
        if is_text(sentence):
            found.append(" ".join(sentence.split()))
        else:
            skipped.add("sentence that is no text")
    return tuple(dict.fromkeys(found))


def _folded(name: Any) -> str:
    return " ".join(name.split()).casefold() if isinstance(name, str) else repr(name)
