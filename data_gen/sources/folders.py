"""Rows from folders of real photos: ``<root>/<subject>/*.jpg``, and a classes file if there is one.

A folder is a subject and its photos are its views; :mod:`data_gen.tasks.builder` builds the rows. A
photo shows one subject, so the query of a row with several is a composite of photos; its ``source``
says so.

Near copies among a subject's photos are used once (:mod:`data_gen.images.near_copies`). Not made:
localization rows, as such photos have no boxes.
"""

import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from PIL import Image

from data_gen.files.errors import ImageError, SourceError
from data_gen.files.files import fingerprint_of
from data_gen.images.photos import PhotoError, open_photo
from data_gen.rows import ICT, OCT
from data_gen.rows.indexed import IndexedRows, interleaved
from data_gen.sources.photo_folders import (
    CLASSES_FILES,
    PhotoFolder,
    PhotoPaths,
    folded,
    is_heldout,
    names_of_fold,
    printable,
    read_classes,
    scan,
    summary,
)
from data_gen.sources.zip_root import folder_of_root
from data_gen.tasks.builder import SourceRows
from data_gen.tasks.checks import check_counts, check_images
from data_gen.tasks.subjects import (
    Source,
    Subject,
    View,
    kind_sentence,
)
from data_gen.tasks.views import EXPECTED_COUNTS, REFERENCE_COUNTS, SUBJECT_COUNTS, Shares
from rewards.names import name_key, name_problem

NAMES = ("random", "folder")
"""How subjects are called in rows."""

CACHED_PHOTOS = 64
"""Decoded photos held in memory: 50 MB at 512 px."""

CACHED_SUBJECTS = 256
"""Subjects held in memory with their views; many photos are a few subjects or thousands."""


def folder_rows(
    root: str | Path,
    *,
    seed: int,
    counts: dict[str, int],
    size: int = 512,
    side: str = "long",
    image_format: str = "jpeg",
    classes: str | Path | None = None,
    split: str | None = None,
    heldout_share: float = 0.2,
    heldout_fold: str | None = None,
    reference_counts: dict[int, float] = REFERENCE_COUNTS,
    subject_counts: dict[int, float] = SUBJECT_COUNTS,
    absent_share: float = 0.5,
    expected_counts: dict[int, float] = EXPECTED_COUNTS,
    combinations: dict[str, float] | None = None,
    paired_rows: bool = False,
    hard_share: float = 0.5,
    info_share: float = 0.5,
    names: str = "random",
    templates: dict | None = None,
    report: Callable[[str], None] = print,
) -> IndexedRows:
    """Rows from the photos below ``root``. The same seed and photos give the same rows.

    A row depends on its id and the seed only, so asking for more rows of one task changes no other
    row. Tasks come interleaved.

    Args:
        root: directory of subjects' folders, or a zip file of them.
        seed: of every draw.
        counts: task -> number of rows, for ``object_consistency`` and ``identity_consistency``.
        size: largest length of the bounded side of every image, composites included, in pixels.
        side: which side ``size`` bounds: ``long`` or ``short``.
        image_format: how images are stored, ``jpeg`` or ``png``.
        classes: the subjects' classes, see :func:`read_classes`; ``None`` looks for a file in
            ``root``. Without classes there are no hard negatives and no info.
        split: ``train`` or ``heldout`` takes those subjects only, ``None`` takes all.
        heldout_share: share of subjects held out, see :func:`is_heldout`.
        heldout_fold: ``k/n`` holds out part k of n in its place, see :func:`names_of_fold`.
        reference_counts: weights of the number of references of an identity row.
        subject_counts: weights of the number of subjects in its query; several are a composite.
        absent_share: share of identity rows whose query holds none of the references, whatever
            these two numbers.
        expected_counts: weights of how many of the references are in the query, where any is.
        combinations: weights of ``"references/subjects/expected"`` in place of these four, for
            mixtures in which the numbers tell the answer.
        paired_rows: two rows for each query, see :class:`data_gen.tasks.views.Shares`.
        hard_share: share of "no" rows whose query is of the reference's class, reached as far as
            classes with several subjects go. Distractors and unlisted subjects are drawn the same
            way.
        info_share: share of references that come with their class (``It is a backpack.``).
        names: ``random`` draws a name for each reference of each row, so that no name is learned;
            ``folder`` calls every subject as its folder, for a policy of one's own things alone.
        templates: from :func:`data_gen.tasks.prompts.load_prompts`.
        report: is given the summary line: photos used, photos skipped and why.

    Raises:
        SourceError: nothing usable, too few subjects or an impossible setting; at the call, not at
            the first row.
    """
    check_counts(counts, (OCT, ICT), "folders")
    check_images(size, side, image_format)
    _check_split(split, heldout_share)
    if names not in NAMES:
        raise SourceError(f"names must be {' or '.join(NAMES)}, not {names!r}")
    shares = Shares(
        absent=absent_share,
        hard=hard_share,
        info=info_share,
        reference_counts=reference_counts,
        subject_counts=subject_counts,
        expected_counts=expected_counts,
        combinations=combinations,
        paired_rows=paired_rows,
    )
    root = folder_of_root(root)
    file = (
        Path(classes)
        if classes
        else next((root / name for name in CLASSES_FILES if os.path.isfile(root / name)), None)
    )
    try:
        folders, skipped = scan(root, size, side, keep=file)
    except OSError as error:
        raise SourceError(f"{root} cannot be listed ({error.strerror})") from None
    kinds = read_classes(file) if file else {}
    for folder in folders:
        folder.kind = kinds.get(folded(folder.name))
    line = summary(folders, skipped, classes=file)
    if not folders:
        raise SourceError(
            f"{root} holds no usable photo; give a directory with photos at "
            f"<subject>/*.jpg ({line})"
        )
    names_found = [folder.name for folder in folders]
    if heldout_fold is None:
        held = {name for name in names_found if is_heldout(name, heldout_share)}
    else:
        held = names_of_fold(names_found, heldout_fold)
    pool = [f for f in folders if split is None or (f.name in held) == (split == "heldout")]
    report(line + (f"; split '{split}' takes {len(pool)} of the subjects" if split else ""))
    _check_subjects(pool, f"{root}" + (f", split '{split}'" if split else ""))
    prefix = f"folders-{split}" if split else "folders"
    if names == "folder":
        _check_names(root, pool)
    source = folder_source(root, pool, size, side, named=names == "folder")
    rows = SourceRows(
        source, seed, prefix=prefix, shares=shares, size=size, side=side, templates=templates
    )
    photos = PhotoPaths(photo for folder in pool for photo in folder.photos)
    opened = all(folder.opened for folder in pool)
    return IndexedRows(
        counts,
        rows.make,
        order=interleaved,
        columns=rows.columns,
        skipped=skipped,
        fingerprint=fingerprint_of(
            str(templates),
            str([folder.kind for folder in pool]),
            *(
                part
                for p in photos
                for part in (printable(p.relative_to(root)), p if opened else _state(p))
            ),
        ),
        image_format=image_format,
    )


def _state(path: Path) -> str:
    """Size and time of a file that is not read for the fingerprint: there are too many."""
    info = os.stat(path)
    return f"{info.st_size} {info.st_mtime_ns}"


def folder_source(
    root: Path, folders: list[PhotoFolder], size: int, side: str, named: bool = False
) -> Source:
    """The folders below ``root`` as subjects, perhaps named as they are; their photos are opened
    when they are needed.

    Opening raises :class:`SourceError` for a photo that was fine when it was scanned, and
    :class:`ImageError` for one that was not opened then.
    """
    scanned = all(folder.opened for folder in folders)

    @lru_cache(CACHED_PHOTOS)
    def opened(path: Path) -> Image.Image:
        try:
            return open_photo(path, size, side)
        except PhotoError as reason:
            if not scanned:
                raise ImageError(printable(path), str(reason)) from None
            raise SourceError(
                f"{path}: {reason}, though it was fine at the start; was it changed meanwhile?"
            ) from None

    def view(path: Path) -> View:
        return View(printable(path.relative_to(root)), lambda: opened(path))

    return Source("folders", _Folders(folders, view, named), copies=not scanned)


class _Folders(Sequence[Subject]):
    """Folders as subjects, built on access."""

    def __init__(
        self, folders: list[PhotoFolder], view: Callable[[Path], View], named: bool = False
    ):
        self.folders, self.view, self.named = folders, view, named
        self.built = lru_cache(CACHED_SUBJECTS)(self._built)

    def __len__(self) -> int:
        return len(self.folders)

    def __getitem__(self, i: int) -> Subject:
        return self.built(i)

    def _built(self, i: int) -> Subject:
        folder = self.folders[i]
        return Subject(
            folder.name,
            tuple(map(self.view, folder.photos)),
            folder.kind,
            folder.kind and kind_sentence(folder.kind),
            label=folder.alike,
            name=folder.name if self.named else None,
        )


def _check_names(root: Path, folders: list[PhotoFolder]) -> None:
    """Refuse folders whose names are no names, or no two names, in captions."""
    taken: dict[str, str] = {}
    for folder in folders:
        if problem := name_problem(folder.name):
            raise SourceError(
                f"{root}: the folder {folder.name!r} names nobody: it {problem}; rename it"
            )
        other = taken.setdefault(name_key(folder.name), folder.name)
        if other != folder.name:
            raise SourceError(
                f"{root}: {other!r} and {folder.name!r} are one name in captions; rename one"
            )


def _check_split(split: str | None, heldout_share: float) -> None:
    if split not in (None, "train", "heldout"):
        raise SourceError(f"split must be 'train', 'heldout' or null, not {split!r}")
    if type(heldout_share) not in (int, float) or not 0 <= heldout_share <= 1:
        raise SourceError(f"heldout_share must be from 0 to 1, not {heldout_share!r}")


def _check_subjects(pool: list[PhotoFolder], where: str) -> None:
    pairs = sum(len(folder.photos) > 1 for folder in pool)
    if pairs < 2:
        if len(pool) == 1 and len(pool[0].sub_folders) > 1:
            raise SourceError(
                f"{where}: all photos lie in {printable(pool[0].name)}, in "
                f"{len(pool[0].sub_folders)} folders; if these are the subjects, give "
                f"{Path(where) / printable(pool[0].name)}"
            )
        raise SourceError(
            f"{where}: {len(pool)} subjects, {pairs or 'none'} with two photos; two are needed: a "
            f"row needs a reference and another photo of the same subject, or of another one that "
            f"could be asked for too; add photos"
        )
