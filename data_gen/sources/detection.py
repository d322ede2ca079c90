"""Rows from detection sets: COCO JSON, Objects365 and references in the style of RefCOCO.

A box is a subject, or a view of one where boxes in several images share an ``instance_id``. It is
asked for in the whole image: with another view of it as the reference, where there is one, and in
words otherwise, with a name or without. The words are a referring sentence, or the category where
no other box of the image has it. Object consistency compares close-ups. Identity rows show
close-ups of one subject, or of several subjects of one image that hide little of each other, and
ask about the whole image.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from PIL import Image

from data_gen.files.errors import ImageError, SourceError
from data_gen.files.files import file_digest, fingerprint_of
from data_gen.images.boxes import relative
from data_gen.images.photos import PhotoError, open_photo, open_picture, orientation
from data_gen.negatives.table import read_neighbours
from data_gen.rows.indexed import IndexedRows
from data_gen.sources.annotations import read_annotations
from data_gen.sources.box_filters import (
    Kept,
    Limits,
    apart,
    check_format,
    useful_boxes,
)
from data_gen.sources.coco.boxes import Annotations
from data_gen.tasks.builder import SourceRows
from data_gen.tasks.checks import check_images, check_negatives, indexed_rows
from data_gen.tasks.subjects import (
    Scene,
    Source,
    Subject,
    View,
    kind_sentence,
)
from data_gen.tasks.views import EXPECTED_COUNTS, REFERENCE_COUNTS, SUBJECT_COUNTS, Shares

OPEN_PX = 1600
"""Long side with which images are opened, in pixels: close-ups of small subjects need detail."""

CACHED_PHOTOS = 8
"""Decoded images held in memory: 50 MB at 1600 px."""


def detection_rows(
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
    image_format: str = "jpeg",
    negatives: str = "category",
    neighbours: str | Path | None = None,
    reference_counts: dict[int, float] = REFERENCE_COUNTS,
    subject_counts: dict[int, float] = SUBJECT_COUNTS,
    absent_share: float = 0.5,
    expected_counts: dict[int, float] = EXPECTED_COUNTS,
    combinations: dict[str, float] | None = None,
    paired_rows: bool = False,
    hard_share: float = 0.5,
    info_share: float = 0.5,
    named_share: float = 0.5,
    mirrored_share: float = 0.5,
    padded_share: float = 0.0,
    name: str = "detection",
    templates: dict | None = None,
    report: Callable[[str], None] = print,
) -> IndexedRows:
    """Rows from annotated boxes.

    Args:
        annotations: a COCO file, or references with boxes of their own; see
            :mod:`data_gen.sources.annotations`.
        images: folder of the images.
        seed: of every draw.
        counts: task -> number of rows, for all three tasks.
        references: references whose ``ann_id`` points into ``annotations``.
        box_format: how boxes are written: ``xywh`` or ``xyxy``.
        categories: names of the categories to use; ``None`` takes all.
        min_share, max_share, min_side, min_margin, duplicate_iou, max_overlap: see
            :class:`data_gen.sources.box_filters.Limits`.
        size: largest length of the bounded side of every image, in pixels.
        side: which side ``size`` bounds: ``long`` or ``short``.
        image_format: how images are stored, ``jpeg`` or ``png``.
        negatives: what a hard "no" is: ``category`` (the same) or ``nearest`` (in ``neighbours``).
        neighbours: file of :func:`data_gen.negatives.table.write_neighbours`; a subject's key is
            the id of its first box.
        subject_counts: weights of the number of subjects in an identity row's query: 1 takes any
            image of a subject, more take a scene with all that it shows.
        reference_counts, absent_share, expected_counts, combinations, paired_rows, hard_share,
        info_share, named_share, mirrored_share, padded_share: see
            :class:`data_gen.tasks.views.Shares`.
        name: begins the rows' ids, and so tells sets in a mixture apart.
        templates: from :func:`data_gen.tasks.prompts.load_prompts`.
        report: is given a line that says how many boxes are used and why others are not.

    Raises:
        SourceError: nothing usable or an impossible setting; at the call, not at the first row.
    """
    check_images(size, side, image_format)
    check_negatives(negatives, neighbours)
    shares = Shares(
        absent_share,
        hard_share,
        info_share,
        named_share,
        mirrored_share,
        padded_share,
        reference_counts,
        subject_counts,
        expected_counts,
        combinations,
        paired_rows,
    )
    limits = Limits(min_share, max_share, min_side, min_margin, duplicate_iou, max_overlap)
    found, kept = open_boxes(annotations, images, references, box_format, categories, limits)
    line = summary(name, kept, found.dialect)
    report(line)
    if not kept.boxes:
        raise SourceError(
            f"{annotations}: {line}; check the folder of images, or loosen the filters"
        )
    source = detection_source(found, kept, limits, name)
    nearest = read_neighbours(neighbours, source.subjects, kept.skipped) if neighbours else None
    rows = SourceRows(
        source, seed, shares=shares, size=size, side=side, nearest=nearest, templates=templates
    )
    files = [file for file in (annotations, references, neighbours) if file]
    return indexed_rows(
        rows,
        counts,
        kept.skipped,
        fingerprint_of(file_digest(files), *map(str, kept.files.values())),
        image_format,
    )


def open_boxes(
    annotations: str | Path,
    images: str | Path,
    references: str | Path | None,
    box_format: str,
    categories: list[str] | None,
    limits: Limits,
) -> tuple[Annotations, Kept]:
    """All annotations, and the boxes that are used. Arguments as for :func:`detection_rows`.

    Raises:
        SourceError: there is no such folder, or the files cannot be read.
    """
    if not Path(images).is_dir():
        raise SourceError(f"{images} is no folder; give the one that holds the images")
    found, skipped = read_annotations(annotations, references, box_format)
    try:
        check_format(found, box_format)
    except SourceError as error:
        raise SourceError(f"{annotations}: {error}") from None
    wanted = {category.casefold() for category in categories} if categories else None
    kept = useful_boxes(found, Path(images), limits, wanted)
    kept.skipped.update(skipped)
    return found, kept


def detection_source(found: Annotations, kept: Kept, limits: Limits, name: str) -> Source:
    """Used boxes as subjects, and images with several of them as scenes."""
    boxes = Boxes(found, kept)
    scenes = []
    for image, places in kept.boxes.items():
        chosen = [places[k] for k in apart([found.box(i) for i in places], limits.max_overlap)]
        subjects = tuple(dict.fromkeys(boxes.subject[i] for i in chosen))
        file = found.files[image]
        if len(subjects) > 1 and file is not None:
            scenes.append(Scene(file, subjects))
    return Source(name, boxes, scenes)


class Boxes(Sequence[Subject]):
    """Boxes as subjects, built on access. ``subject[i]`` is the place of box ``i``'s subject."""

    def __init__(self, found: Annotations, kept: Kept):
        self.found, self.kept = found, kept
        self.members: list[list[int]] = []
        self.subject: dict[int, int] = {}
        instances: dict[str, int] = {}
        for places in kept.boxes.values():
            for i in places:
                instance = found.instance.get(i)
                place = instances.setdefault(instance, len(self.members)) if instance else None
                if place is None or place == len(self.members):
                    place = len(self.members)
                    self.members.append([])
                self.members[place].append(i)
                self.subject[i] = place
        self.opened = lru_cache(CACHED_PHOTOS)(self._opened)

    def __len__(self) -> int:
        return len(self.members)

    def __getitem__(self, t: int) -> Subject:
        members = self.members[t]
        kind = self._kind(members[0])
        return Subject(
            self.found.ids[members[0]],
            tuple(map(self._view, members)),
            kind,
            kind and kind_sentence(kind),
            label=self.found.alike.get(members[0]),
        )

    def _view(self, i: int) -> View:
        image, kind = self.found.image[i], self._kind(i)
        described = self.found.described.get(i, ())
        if not described and kind and i in self.kept.alone:
            described = (f"the {kind}",)
        file, size = self.found.files[image], self.found.sizes[image]
        return View(
            f"{file}#{self.found.ids[i]}",
            lambda: self.opened(image),
            relative(self.found.box(i), size),
            described,
            file,
        )

    def _kind(self, i: int) -> str | None:
        category = self.found.category[i]
        name = self.found.categories[category].strip() if category >= 0 else ""
        return (name if name.isupper() else name.lower()) or None

    def _opened(self, image: int) -> Image.Image:
        name, path = str(self.found.files[image]), self.kept.files[image]
        try:
            photo = open_photo(path, OPEN_PX)
        except PhotoError as reason:
            raise ImageError(name, str(reason)) from None
        with open_picture(path) as header:
            if header.size != self.found.sizes[image]:
                raise ImageError(name, "of another size than its annotations say")
            if orientation(header) != 1:
                # Some annotation tools turned such images upright, others did not.
                raise ImageError(name, "turned by EXIF, so that its boxes are uncertain")
        return photo


def summary(name: str, kept: Kept, dialect: str = "") -> str:
    """One line: how many boxes are used, how many are not and why; and which program's file it is,
    where that shows."""
    boxes = sum(map(len, kept.boxes.values()))
    of = f" of {dialect}" if dialect else ""
    return f"{name}: {boxes} boxes in {len(kept.boxes)} images{of} used{kept.skipped.clause()}"
