"""Read the boxes of detection sets: COCO JSON, Objects365 (which is COCO) and references in the
style of RefCOCO, as a few numbers per box.

COCO: ``images`` [{id, file_name, width, height}], ``annotations`` [{id, image_id, category_id,
bbox, iscrowd}], ``categories`` [{id, name}], in any order. Objects365 adds ``isfake`` (a picture
of the object) and ``isreflected``. An annotation may carry ``instance_id`` or ``track_id``: boxes
that share it are the same subject in several images.

References: a list, JSON lines, or ``{"refs": [...]}`` of {sentences, bbox, file_name} or, with a
COCO file, {sentences, ann_id}. A sentence is text or {"raw"/"sent": text}. RefCOCO's own
``refs(unc).p`` is not read, as unpickling runs whatever code the file holds.
"""

import math
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data_gen.files.errors import SourceError
from data_gen.files.json_stream import is_text, json_items
from data_gen.files.skipped import SkippedItems
from data_gen.images.boxes import Box

BOX_FORMATS = {
    "xywh": lambda x, y, w, h: (x, y, x + w, y + h),
    "xyxy": lambda x1, y1, x2, y2: (x1, y1, x2, y2),
}

FLAGS = {"iscrowd": "crowd", "isfake": "drawn, not real", "isreflected": "reflection"}
"""Flag of an annotation -> why it is not used."""


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
        name = str(item.get("id", item.get("ann_id", item.get("ref_id", i))))
        self.ids.append(name.encode("utf-8", "replace").decode())
        self.image.append(image)
        self.category.append(category)
        self.edges.extend(box or [math.nan] * 4)
        reason = next((why for flag, why in FLAGS.items() if item.get(flag)), None)
        if reason:
            self.flag[i] = reason
        instance = item.get("instance_id", item.get("track_id"))
        if instance is not None:
            self.instance[i] = str(instance)
        return i


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
    found, skipped = Annotations(), SkippedItems()
    convert = BOX_FORMATS[box_format]
    keys = _read(path, found, skipped, convert)
    if not len(found):
        raise SourceError(
            f"{path}: no box in it (found: {', '.join(sorted(keys)) or 'nothing'}); "
            f"it must have COCO's images, annotations and categories, or references "
            f"with sentences, bbox and file_name"
        )
    if references:
        _read_references(references, found, skipped)
    return found, skipped


def _read(
    path: str | Path, found: Annotations, skipped: SkippedItems, convert: Callable
) -> set[str]:
    images: dict = {}
    categories: dict = {}
    names: dict = {}
    keys: set[str] = set()

    def image(key: str | None) -> int:
        if key not in images:
            images[key] = len(found.files)
            found.files.append(None)
            found.sizes.append((0, 0))
        return images[key]

    def category(key: str | None) -> int:
        return categories.setdefault(key, len(categories))

    for key, item in json_items(path):
        keys.add(key or "a list")
        if key not in ("images", "annotations", "categories", "refs", ""):
            continue
        if not isinstance(item, dict):
            skipped.add("entry that is no object")
        elif key == "images":
            _image(found, image(_key(item.get("id"))), item)
        elif key == "categories":
            names[category(_key(item.get("id")))] = item.get("name")
        elif key == "annotations":
            found.add(
                item,
                image(_key(item.get("image_id"))),
                category(_key(item.get("category_id"))),
                _box(item.get("bbox"), convert),
            )
        elif not (is_text(item.get("file_name")) and "bbox" in item):
            skipped.add("reference without file_name and bbox")
        else:
            place = image(item["file_name"])
            _image(found, place, item)
            name = item.get("category", item.get("category_name"))
            kind = -1
            if is_text(name):
                kind = category(name)
                names[kind] = name
            i = found.add(item, place, kind, _box(item["bbox"], convert))
            found.described[i] = _sentences(item, skipped)
    found.categories = [
        name if is_text(name) else "" for name in map(names.get, range(len(categories)))
    ]
    return keys


def _read_references(path: str | Path, found: Annotations, skipped: SkippedItems) -> None:
    places = {key: i for i, key in enumerate(found.ids)}
    pointed = False
    for key, item in json_items(path):
        if key not in ("refs", "") or not isinstance(item, dict):
            continue
        i = places.get(str(item.get("ann_id")))
        pointed |= i is not None
        if i is None:
            skipped.add("reference to no annotation")
        else:
            found.described[i] = found.described.get(i, ()) + _sentences(item, skipped)
    if not pointed:
        raise SourceError(
            f"{path}: no reference has an ann_id of the annotations; give the "
            f"references that belong to them"
        )


def _image(found: Annotations, place: int, item: dict) -> None:
    name, width, height = item.get("file_name"), item.get("width"), item.get("height")
    found.files[place] = name if is_text(name) else None
    if type(width) is int and 0 < width < 1e6 and type(height) is int and 0 < height < 1e6:
        found.sizes[place] = width, height


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


def _key(value: Any) -> str | None:
    """An id as text: some writers quote numbers in one list and not in the other."""
    return str(value) if type(value) in (int, str) else None
