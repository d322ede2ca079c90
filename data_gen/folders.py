"""Rows from folders of real photos: ``<root>/<subject>/*.jpg``, and a classes file if there is one.

Object consistency: a photo of a subject, and another photo of it (yes) or one of another subject
(no), of the same class where there is one (*hard*) or of another. Yes and no are balanced for every
subject, so that the reference alone tells nothing. Identity consistency: one reference, or two or
three ("multi"), with distractor references, and with queries that hold none of the references. A
folder's photo shows one subject, so the query of a multi row is a composite of photos, side by side
or one above the other, whichever keeps them larger; its ``source`` says so.

Left out: localization rows (such photos have no boxes), and finding near-copies among photos.
"""

import os
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image

from data_gen import tasks
from data_gen.maker import RowMaker, all_rows, interleaved, stamp_of
from data_gen.names import draw_names
from data_gen.photos import PhotoError, fitted, open_photo
from data_gen.rows import ICT, OCT
from data_gen.subjects import (
    CLASSES_FILES,
    FolderError,
    Subject,
    folded,
    is_heldout,
    printable,
    read_classes,
    scan,
    summary,
)

CACHED_PHOTOS = 64
"""Decoded photos held in memory: 50 MB at 512 px."""

MAX_MULTI = 3
"""Most subjects in one query (2506.18369 uses 2-3 references)."""

MAX_DISTRACTORS = 2


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
        templates: from :func:`data_gen.prompts.load_prompts`.
        report: is given the summary line: photos used, photos left out and why.

    Raises:
        FolderError: nothing usable, too few subjects or an impossible setting; at the call, not at
            the first row.
    """
    shares = {
        "multi": multi_share,
        "distractor": distractor_share,
        "absent": absent_share,
        "hard": hard_share,
        "info": info_share,
    }
    _check_settings(counts, size, side, split, {**shares, "heldout": heldout_share})
    root = Path(root)
    if not root.is_dir():
        raise FolderError(f"{root} is no directory; give one that holds <subject>/*.jpg")
    file = (
        Path(classes)
        if classes
        else next((root / name for name in CLASSES_FILES if os.path.isfile(root / name)), None)
    )
    try:
        subjects, left_out = scan(root, size, side, keep=file)
    except OSError as error:
        raise FolderError(f"{root} cannot be listed ({error.strerror})") from None
    kinds = read_classes(file) if file else {}
    for subject in subjects:
        subject.kind = kinds.get(folded(subject.name))
    line = summary(subjects, left_out, classes=file)
    if not subjects:
        raise FolderError(
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
    source = Source(root, pool, seed, prefix, size, side, shares, templates)
    make = {OCT: source.object_row, ICT: source.identity_row}
    photos = [photo for subject in pool for photo in subject.photos]
    return RowMaker(
        counts,
        lambda task, i: make[task](i),
        order=interleaved,
        left_out={reason: len(paths) for reason, paths in left_out.items()},
        stamp=stamp_of(
            str(templates),
            str([subject.kind for subject in pool]),
            *(part for p in photos for part in (printable(p.relative_to(root)), p)),
        ),
    )


def composite(photos: list[Image.Image], size: int, side: str = "long") -> Image.Image:
    """Photos side by side, or one above the other where that keeps them larger, a white seam
    between them. The bounded side of the whole is at most ``size`` pixels."""

    def layout(across: bool) -> tuple[list[float], tuple[int, int]]:
        lengths = [p.width / p.height if across else p.height / p.width for p in photos]
        breadth = min(p.height if across else p.width for p in photos)
        whole = round(sum(lengths) * breadth)
        return lengths, fitted(*((whole, breadth) if across else (breadth, whole)), size, side)

    sizes = [layout(across)[1] for across in (True, False)]
    across = sizes[0][0] * sizes[0][1] >= sizes[1][0] * sizes[1][1]
    lengths, (width, height) = layout(across)
    canvas = Image.new("RGB", (width, height), "white")
    seam = max(1, max(width, height) // 128)
    scale = (width if across else height) / sum(lengths)
    start = 0.0
    for i, (photo, length) in enumerate(zip(photos, lengths, strict=True)):
        first, last = round(start), round(start + length * scale)
        last = max(first + 1, last - (seam if i + 1 < len(photos) else 0))
        panel = photo.resize(
            (last - first, height) if across else (width, last - first), Image.Resampling.LANCZOS
        )
        canvas.paste(panel, (first, 0) if across else (0, first))
        start += length * scale
    return canvas


def _class_sentence(kind: str) -> str:
    """``It is a backpack.``, ``It is an owl.``, ``These are glasses.``"""
    if re.search(r"[^siu]s$", kind.lower()):
        return f"These are {kind}."
    return f"It is {'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}."


def _check_settings(counts: dict, size: int, side: str, split: str | None, shares: dict) -> None:
    for task, n in counts.items():
        if task not in (OCT, ICT):
            raise FolderError(
                f"folders of photos give {OCT} and {ICT} rows, no {task}; take it out of counts"
            )
        if not isinstance(n, int) or n < 0:
            raise FolderError(f"counts: {task}: must be a whole number from 0, not {n!r}")
    if not isinstance(size, int) or size < 16:
        raise FolderError(f"size must be a whole number of pixels from 16, not {size!r}")
    if side not in ("long", "short"):
        raise FolderError(f"side must be 'long' or 'short', not {side!r}")
    if split not in (None, "train", "heldout"):
        raise FolderError(f"split must be 'train', 'heldout' or null, not {split!r}")
    for name, share in shares.items():
        if not isinstance(share, (int, float)) or not 0 <= share <= 1:
            raise FolderError(f"{name}_share must be from 0 to 1, not {share!r}")


def _check_subjects(pool: list[Subject], counts: dict, shares: dict, where: str) -> None:
    pairs = sum(len(s.photos) > 1 for s in pool)
    if pairs < 1:
        raise FolderError(
            f"{where}: {len(pool)} subjects, none with two photos; add photos: a row "
            f"needs a reference and another photo of the same subject"
        )
    if len(pool) < 2 and counts.get(OCT):
        raise FolderError(f"{where}: one subject; {OCT} rows need another to say no to: add one")
    for share, needs, have in (
        ("multi", "two subjects with two photos each", pairs),
        ("distractor", "two subjects", len(pool)),
        ("absent", "two subjects", len(pool)),
    ):
        if counts.get(ICT) and shares[share] and have < 2:
            raise FolderError(f"{where}: {share}_share needs {needs}; add photos or set it to 0")


@dataclass
class Shot:
    """One photo of a subject."""

    subject: Subject
    path: Path


class Source:
    """Draws subjects and photos for rows. Arguments as in :func:`folder_rows`."""

    def __init__(self, root, pool, seed, prefix, size, side, shares, templates):
        self.root, self.pool, self.seed, self.prefix = root, pool, seed, prefix
        self.size, self.side, self.shares, self.templates = size, side, shares, templates
        self.pairs = [s for s in pool if len(s.photos) > 1]
        kinds = Counter(folded(s.kind) for s in pool if s.kind)
        self.words = {word for kind in kinds for word in kind.split()}
        # Subjects without a classmate cannot have hard negatives: the others have more of them.
        able = sum(kinds[folded(s.kind or "")] > 1 for s in self.pairs) / len(self.pairs)
        self.hard = min(1.0, shares["hard"] / able) if able else 0.0
        self.open = lru_cache(CACHED_PHOTOS)(self._open)
        self.shuffled = lru_cache(4)(self._shuffled)

    def object_row(self, i: int) -> dict:
        """Row ``i``: rows 2k and 2k + 1 are about one subject, one of them a yes, one a no."""
        row_id, rng = self._start(OCT, i)
        subject = self._turn(OCT, i // 2)
        yes_first = random.Random(f"{self.seed}/{self.prefix}/yes first/{i // 2}").random() < 0.5
        same = yes_first == (i % 2 == 0)
        if same:
            shown, query = (Shot(subject, p) for p in rng.sample(subject.photos, 2))
            how = "same"
        else:
            shown = Shot(subject, rng.choice(subject.photos))
            other = self._another(rng, subject, [subject])
            query = Shot(other, rng.choice(other.photos))
            how = "hard" if _classmates(subject, other) else "other"
        (reference,) = self._references(rng, [shown])
        return tasks.object_consistency_row(
            rng,
            row_id,
            reference,
            self.open(query.path),
            same=same,
            templates=self.templates,
            source=f"folders: {self._where(shown)} | {self._where(query)} ({how})",
        )

    def identity_row(self, i: int) -> dict:
        """Row ``i``: references of subjects in the query, of distractors, or of none in it."""
        row_id, rng = self._start(ICT, i)
        multi, absent, crowded = (
            rng.random() < self.shares[share] for share in ("multi", "absent", "distractor")
        )
        owned = [self._turn(ICT, i)]
        if multi:
            others = [s for s in self.pairs if s is not owned[0]]
            # With nobody in the query, somebody else must be left to be in it.
            most = min(MAX_MULTI, 1 + len(others), len(self.pool) - absent)
            owned += rng.sample(others, rng.randint(min(2, most), most) - 1)
        shots = [[Shot(s, p) for p in rng.sample(s.photos, 2)] for s in owned]
        shown = [(reference, not absent) for reference, _ in shots]
        seen = [query for _, query in shots]
        taken = list(owned)

        def strangers(n: int) -> list[Shot]:
            found = []
            for _ in range(min(n, len(self.pool) - len(taken))):
                subject = self._another(rng, rng.choice(owned), taken)
                taken.append(subject)
                found.append(Shot(subject, rng.choice(subject.photos)))
            return found

        if absent:
            seen = strangers(len(owned))
        if crowded:
            shown += [(shot, False) for shot in strangers(rng.randint(1, MAX_DISTRACTORS))]
        rng.shuffle(shown)
        rng.shuffle(seen)
        photos = [self.open(shot.path) for shot in seen]
        return tasks.identity_consistency_row(
            rng,
            row_id,
            self._references(rng, [shot for shot, _ in shown]),
            [here for _, here in shown],
            photos[0] if len(photos) == 1 else composite(photos, self.size, self.side),
            manner=tasks.draw_manner(rng),
            templates=self.templates,
            source=f"folders: {' + '.join(self._where(s) for s, _ in shown)} | "
            + ("composite " if len(seen) > 1 else "")
            + " + ".join(map(self._where, seen)),
        )

    def _start(self, task: str, i: int) -> tuple[str, random.Random]:
        row_id = f"{self.prefix}-{self.seed}-{task}-{i}"
        return row_id, random.Random(row_id)

    def _turn(self, label: str, k: int) -> Subject:
        """Subject ``k`` of an endless row of shuffles of all who can have a reference and a query:
        everyone comes equally often."""
        return self.shuffled(label, k // len(self.pairs))[k % len(self.pairs)]

    def _shuffled(self, label: str, turn: int) -> list[Subject]:
        rng = random.Random(f"{self.seed}/{self.prefix}/{label}/turn {turn}")
        return rng.sample(self.pairs, len(self.pairs))

    def _another(self, rng: random.Random, subject: Subject, taken: list[Subject]) -> Subject:
        """A subject that is not ``taken``: a classmate of ``subject``, or one of another class."""
        free = [s for s in self.pool if s not in taken]
        near = [s for s in free if _classmates(s, subject)]
        far = [s for s in free if not _classmates(s, subject)]
        hard = rng.random() < self.hard
        return rng.choice((near or far) if hard else (far or near))

    def _references(self, rng: random.Random, shots: list[Shot]) -> list[tasks.Reference]:
        # A thing called by the word for another's class could not be told from a description.
        names: list[str] = []
        while len(names) < len(shots):
            (name,) = draw_names(rng, 1)
            if name.casefold() not in self.words and name not in names:
                names.append(name)
        return [
            tasks.Reference(
                self.open(shot.path),
                name,
                _class_sentence(shot.subject.kind)
                if rng.random() < self.shares["info"] and shot.subject.kind
                else None,
            )
            for shot, name in zip(shots, names, strict=True)
        ]

    def _open(self, path: Path) -> Image.Image:
        try:
            return open_photo(path, self.size, self.side)
        except PhotoError as reason:
            raise FolderError(
                f"{path}: {reason}, though it was fine at the start; was it changed meanwhile?"
            ) from None

    def _where(self, shot: Shot) -> str:
        return printable(shot.path.relative_to(self.root))


def _classmates(a: Subject, b: Subject) -> bool:
    return bool(a.kind and b.kind) and folded(a.kind) == folded(b.kind)
