"""Rows from folders of real photos: ``<root>/<subject>/*.jpg``, and a classes file if there is one.

A subject is a thing and its photos are its views; :mod:`data_gen.tasks.builder` makes the rows. A
folder's photo shows one subject, so the query of a multi row is a composite of photos; its
``source`` says so.

Left out: localization rows (such photos have no boxes), and finding near-copies among photos.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

from PIL import Image

from data_gen.files.errors import SourceError
from data_gen.files.files import stamp_of
from data_gen.images.photos import PhotoError, open_photo
from data_gen.rows import ICT, OCT
from data_gen.rows.indexed import RowMaker, all_rows, interleaved
from data_gen.sources.photo_folders import (
    CLASSES_FILES,
    Subject,
    folded,
    is_heldout,
    printable,
    read_classes,
    scan,
    summary,
)
from data_gen.tasks.builder import SourceRows
from data_gen.tasks.checks import check_counts, check_pictures
from data_gen.tasks.subjects import (
    Source,
    Thing,
    View,
    kind_sentence,
)
from data_gen.tasks.views import Shares

CACHED_PHOTOS = 64
"""Decoded photos held in memory: 50 MB at 512 px."""


def folder_rows(root: str | Path, **settings) -> Iterator[dict]:
    """The rows of :func:`folder_maker`, one after the other."""
    return all_rows(folder_maker(root, **settings))


def folder_maker(
    root: str | Path,
    *,
    seed: int,
    counts: dict[str, int],
    size: int = 512,
    side: str = "long",
    picture: str = "jpeg",
    classes: str | Path | None = None,
    split: str | None = None,
    heldout_share: float = 0.2,
    multi_share: float = 0.3,
    distractor_share: float = 0.5,
    absent_share: float = 0.15,
    hard_share: float = 0.5,
    info_share: float = 0.5,
    skipped: Counter | None = None,
    templates: dict | None = None,
    report: Callable[[str], None] = print,
) -> RowMaker:
    """Rows made from the photos below ``root``. The same seed and photos give the same rows.

    A row depends on its id and the seed only, so asking for more rows of one task changes no other
    row. Tasks come interleaved.

    Args:
        root: directory of subjects' folders.
        seed: of every draw.
        counts: task -> number of rows, for ``object_consistency`` and ``identity_consistency``.
        size: largest length of the bounded side of every picture, composites included, in pixels.
        side: which side ``size`` bounds: ``long`` or ``short``.
        picture: how pictures are stored, ``jpeg`` or ``png``.
        classes: the subjects' classes, see :func:`read_classes`; ``None`` looks for a file in
            ``root``. Without classes there are no hard negatives and no info.
        split: ``train`` or ``heldout`` takes those subjects only, ``None`` takes all.
        heldout_share: share of subjects held out, see :func:`is_heldout`.
        multi_share: share of identity rows with 2-3 references that are not distractors.
        distractor_share: share of identity rows with 1-2 more references that the query lacks.
        absent_share: share of identity rows whose query holds none of the references.
        hard_share: share of "no" rows whose query is of the reference's class, reached as far as
            classes with several subjects go. Distractors and strangers are drawn the same way.
        info_share: share of references that come with their class (``It is a backpack.``).
        skipped: is given what was left out, reason -> number of files.
        templates: from :func:`data_gen.tasks.prompts.load_prompts`.
        report: is given the summary line: photos used, photos left out and why.

    Raises:
        SourceError: nothing usable, too few subjects or an impossible setting; at the call, not at
            the first row.
    """
    check_counts(counts, (OCT, ICT), "folders")
    check_pictures(size, side, picture)
    _check_split(split, heldout_share)
    shares = Shares(multi_share, distractor_share, absent_share, hard_share, info_share)
    root = Path(root)
    if not root.is_dir():
        raise SourceError(f"{root} is no directory; give one that holds <subject>/*.jpg")
    file = (
        Path(classes)
        if classes
        else next((root / name for name in CLASSES_FILES if os.path.isfile(root / name)), None)
    )
    try:
        subjects, left_out = scan(root, size, side, keep=file)
    except OSError as error:
        raise SourceError(f"{root} cannot be listed ({error.strerror})") from None
    kinds = read_classes(file) if file else {}
    for subject in subjects:
        subject.kind = kinds.get(folded(subject.name))
    line = summary(subjects, left_out, classes=file)
    if not subjects:
        raise SourceError(
            f"{root} holds no usable photo; give a directory with photos at "
            f"<subject>/*.jpg ({line})"
        )
    pool = [
        s
        for s in subjects
        if split is None or is_heldout(s.name, heldout_share) == (split == "heldout")
    ]
    report(line + (f"; split '{split}' takes {len(pool)} of the subjects" if split else ""))
    if skipped is not None:
        skipped.update({reason: len(paths) for reason, paths in left_out.items()})
    _check_subjects(pool, counts, shares, f"{root}" + (f", split '{split}'" if split else ""))
    prefix = f"folders-{split}" if split else "folders"
    source = folder_source(root, pool, size, side)
    rows = SourceRows(source, seed, prefix=prefix, shares=shares, size=size, side=side,
                      templates=templates)
    photos = [photo for subject in pool for photo in subject.photos]
    return RowMaker(
        counts,
        rows.make,
        order=interleaved,
        left_out={reason: len(paths) for reason, paths in left_out.items()},
        stamp=stamp_of(
            str(templates),
            str([subject.kind for subject in pool]),
            *(part for p in photos for part in (printable(p.relative_to(root)), p)),
        ),
        picture=picture,
    )


def folder_source(root: Path, subjects: list[Subject], size: int, side: str) -> Source:
    """Subjects below ``root`` as things; their photos are opened when they are needed.

    Opening raises :class:`SourceError` for a photo that was fine when it was scanned.
    """

    @lru_cache(CACHED_PHOTOS)
    def opened(path: Path) -> Image.Image:
        try:
            return open_photo(path, size, side)
        except PhotoError as reason:
            raise SourceError(
                f"{path}: {reason}, though it was fine at the start; was it changed meanwhile?"
            ) from None

    def view(path: Path) -> View:
        return View(printable(path.relative_to(root)), lambda: opened(path))

    return Source("folders", [
        Thing(s.name, tuple(map(view, s.photos)), s.kind, s.kind and kind_sentence(s.kind))
        for s in subjects
    ])


def _check_split(split: str | None, heldout_share: float) -> None:
    if split not in (None, "train", "heldout"):
        raise SourceError(f"split must be 'train', 'heldout' or null, not {split!r}")
    if type(heldout_share) not in (int, float) or not 0 <= heldout_share <= 1:
        raise SourceError(f"heldout_share must be from 0 to 1, not {heldout_share!r}")


def _check_subjects(pool: list[Subject], counts: dict, shares: Shares, where: str) -> None:
    pairs = sum(len(s.photos) > 1 for s in pool)
    if pairs < 1:
        raise SourceError(
            f"{where}: {len(pool)} subjects, none with two photos; add photos: a row "
            f"needs a reference and another photo of the same subject"
        )
    if len(pool) < 2 and counts.get(OCT):
        raise SourceError(f"{where}: one subject; {OCT} rows need another to say no to: add one")
    for share, needs, have in (
        ("multi", "two subjects with two photos each", pairs),
        ("distractor", "two subjects", len(pool)),
        ("absent", "two subjects", len(pool)),
    ):
        if counts.get(ICT) and getattr(shares, share) and have < 2:
            raise SourceError(f"{where}: {share}_share needs {needs}; add photos or set it to 0")
