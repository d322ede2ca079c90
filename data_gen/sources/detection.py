"""Rows from detection sets: COCO JSON, Objects365 and references in the style of RefCOCO.

A box is a thing, or a view of one where boxes of several pictures share an ``instance_id``. It is
asked for in the whole picture with another view of it as the reference, where there is one, and in
words otherwise: a referring sentence, or its category where nothing else in the picture is of it,
with a name or without. Object consistency compares close-ups; identity rows show close-ups of one
thing, or of several things of one picture that leave each other in sight, and ask about the whole
picture.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from PIL import Image

from data_gen.files.errors import ImageError, SourceError
from data_gen.files.files import file_digest, stamp_of
from data_gen.files.skipped import left_out_clause
from data_gen.images.boxes import relative
from data_gen.images.photos import PhotoError, open_photo
from data_gen.negatives.table import read_neighbours
from data_gen.rows.indexed import RowMaker
from data_gen.sources.annotations import Annotations, read_annotations
from data_gen.sources.box_filters import (
    Kept,
    Limits,
    apart,
    useful_boxes,
)
from data_gen.tasks.builder import SourceRows
from data_gen.tasks.checks import check_negatives, check_pictures, row_maker
from data_gen.tasks.subjects import (
    Scene,
    Source,
    Thing,
    View,
    kind_sentence,
)
from data_gen.tasks.views import Shares

OPEN_PX = 1600
"""Long side that pictures are opened at, in pixels: close-ups of small things need the detail."""

CACHED_PHOTOS = 8
"""Decoded pictures held in memory: 50 MB at 1600 px."""


def detection_maker(
    annotations: str | Path,
    images: str | Path,
    *,
    seed: int,
    counts: dict[str, int],
    references: str | Path | None = None,
    box_format: str = "xywh",
    categories: list[str] | None = None,
    min_share: float = 0.01,
    max_share: float = 0.8,
    min_side: float = 32,
    min_margin: float = 1,
    duplicate_iou: float = 0.9,
    max_overlap: float = 0.1,
    size: int = 512,
    side: str = "long",
    picture: str = "jpeg",
    negatives: str = "category",
    neighbours: str | Path | None = None,
    multi_share: float = 0.3,
    distractor_share: float = 0.5,
    absent_share: float = 0.15,
    hard_share: float = 0.5,
    info_share: float = 0.5,
    named_share: float = 0.5,
    mirrored_share: float = 0.5,
    padded_share: float = 0.0,
    name: str = "detection",
    templates: dict | None = None,
    report: Callable[[str], None] = print,
) -> RowMaker:
    """Rows made from annotated boxes.

    Args:
        annotations: a COCO file, or references with boxes of their own; see
            :mod:`data_gen.sources.annotations`.
        images: folder of the pictures.
        seed: of every draw.
        counts: task -> number of rows, for all three tasks.
        references: references whose ``ann_id`` points into ``annotations``.
        box_format: how boxes are written: ``xywh`` or ``xyxy``.
        categories: names of the categories to use; ``None`` takes all.
        min_share, max_share, min_side, min_margin, duplicate_iou, max_overlap: see
            :class:`data_gen.sources.box_filters.Limits`.
        size: largest length of the bounded side of every picture, in pixels.
        side: which side ``size`` bounds: ``long`` or ``short``.
        picture: how pictures are stored, ``jpeg`` or ``png``.
        negatives: what a hard "no" is: ``category`` (the same) or ``nearest`` (in ``neighbours``).
        neighbours: file of :func:`data_gen.negatives.table.write_neighbours`; a thing's key is the id of
            its first box.
        multi_share, distractor_share, absent_share, hard_share, info_share, named_share,
        mirrored_share, padded_share: see :class:`data_gen.tasks.views.Shares`.
        name: begins the rows' ids and tells this set from others in a mixture.
        templates: from :func:`data_gen.tasks.prompts.load_prompts`.
        report: is given a line that says how many boxes are used and why others are not.

    Raises:
        SourceError: nothing usable or an impossible setting; at the call, not at the first row.
    """
    check_pictures(size, side, picture)
    check_negatives(negatives, neighbours)
    shares = Shares(multi_share, distractor_share, absent_share, hard_share, info_share,
                    named_share, mirrored_share, padded_share)
    limits = Limits(min_share, max_share, min_side, min_margin, duplicate_iou, max_overlap)
    found, kept = open_boxes(annotations, images, references, box_format, categories, limits)
    line = summary(name, kept)
    report(line)
    if not kept.boxes:
        raise SourceError(f"{annotations}: {line}; check the folder of pictures, or loosen the "
                          f"filters")
    source = detection_source(found, kept, limits, name)
    nearest = read_neighbours(neighbours, source.things, kept.left_out) if neighbours else None
    rows = SourceRows(source, seed, shares=shares, size=size, side=side, nearest=nearest,
                      templates=templates)
    files = [file for file in (annotations, references, neighbours) if file]
    return row_maker(rows, counts, kept.left_out,
                     stamp_of(file_digest(files), *map(str, kept.files.values())), picture)


def open_boxes(annotations: str | Path, images: str | Path, references: str | Path | None,
               box_format: str, categories: list[str] | None, limits: Limits
               ) -> tuple[Annotations, Kept]:
    """What is annotated, and which boxes of it are of use. Arguments as above.

    Raises:
        SourceError: there is no such folder, or the files cannot be read.
    """
    if not Path(images).is_dir():
        raise SourceError(f"{images} is no folder; give the one that holds the pictures")
    found, passed = read_annotations(annotations, references, box_format)
    wanted = {category.casefold() for category in categories} if categories else None
    kept = useful_boxes(found, Path(images), limits, wanted)
    kept.left_out.update(passed)
    return found, kept


def detection_source(found: Annotations, kept: Kept, limits: Limits, name: str) -> Source:
    """Boxes that are of use as things, and pictures of several as scenes."""
    boxes = Boxes(found, kept)
    scenes = []
    for picture, places in kept.boxes.items():
        chosen = [places[k] for k in apart([found.box(i) for i in places], limits.max_overlap)]
        things = tuple(dict.fromkeys(boxes.thing[i] for i in chosen))
        if len(things) > 1:
            scenes.append(Scene(found.files[picture], things))
    return Source(name, boxes, scenes)


class Boxes(Sequence):
    """Boxes as things, made when they are asked for. ``thing[i]`` is the place of box ``i``'s."""

    def __init__(self, found: Annotations, kept: Kept):
        self.found, self.kept = found, kept
        self.members: list[list[int]] = []
        self.thing: dict[int, int] = {}
        instances: dict[str, int] = {}
        for places in kept.boxes.values():
            for i in places:
                instance = found.instance.get(i)
                place = instances.setdefault(instance, len(self.members)) if instance else None
                if place is None or place == len(self.members):
                    place = len(self.members)
                    self.members.append([])
                self.members[place].append(i)
                self.thing[i] = place
        self.opened = lru_cache(CACHED_PHOTOS)(self._opened)

    def __len__(self) -> int:
        return len(self.members)

    def __getitem__(self, t: int) -> Thing:
        members = self.members[t]
        kind = self._kind(members[0])
        return Thing(self.found.ids[members[0]], tuple(map(self._view, members)), kind,
                     kind and kind_sentence(kind))

    def _view(self, i: int) -> View:
        picture, kind = self.found.picture[i], self._kind(i)
        told = self.found.told.get(i, ())
        if not told and kind and i in self.kept.alone:
            told = (f"the {kind}",)
        file, size = self.found.files[picture], self.found.sizes[picture]
        return View(f"{file}#{self.found.ids[i]}", lambda: self.opened(picture),
                    relative(self.found.box(i), size), told, file)

    def _kind(self, i: int) -> str | None:
        category = self.found.category[i]
        name = self.found.categories[category].strip() if category >= 0 else ""
        return (name if name.isupper() else name.lower()) or None

    def _opened(self, picture: int) -> Image.Image:
        name, path = self.found.files[picture], self.kept.files[picture]
        try:
            photo = open_photo(path, OPEN_PX)
        except PhotoError as reason:
            raise ImageError(name, str(reason)) from None
        with Image.open(path) as header:
            if header.size != self.found.sizes[picture]:
                raise ImageError(name, "of another size than its annotations say")
            if header.getexif().get(0x0112, 1) != 1:
                # Some annotators' tools turned such pictures upright, others did not.
                raise ImageError(name, "turned by EXIF, so that its boxes are uncertain")
        return photo


def summary(name: str, kept: Kept) -> str:
    """One line: how many boxes are used, how many are not and why."""
    boxes = sum(map(len, kept.boxes.values()))
    return (f"{name}: {boxes} boxes in {len(kept.boxes)} pictures used"
            + left_out_clause(kept.left_out))
