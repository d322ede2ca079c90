"""Scan folders of photos: which photos are usable, which class a folder is of, which are held out.

Every file that is not used is skipped for a reason, and :func:`summary` reports that in one line.

A folder is a subject by its place on disk, not by how its name is printed. Two names that differ in
their Unicode form only, as a Mac and others write é, are one subject.

Up to :data:`MOST_OPENED` photos are opened once, and near copies among those of a subject are used
once. Of more, only the first bytes are read: then a photo that turns out to be damaged, or a query
that is a near copy of a reference, costs its row.
"""

import hashlib
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import overload

import numpy as np
from tqdm import tqdm

from data_gen.files.errors import SourceError
from data_gen.files.files import refuse_pipe
from data_gen.files.skipped import SkippedItems
from data_gen.files.system_files import is_system_name
from data_gen.images.near_copies import Look, copies_of_earlier, look_of
from data_gen.images.photos import PhotoError, glance, open_photo, reason_of

CLASSES_FILES = ("classes", "classes.txt", "classes.csv", "prompts_and_classes.txt")
"""Looked for in the root, in this order."""

HEADERS = ("subject", "subject_name", "name", "folder")
"""First cells of a classes file's header line."""

MOST_OPENED = 5_000
"""Photos up to which each is opened while they are scanned; opening more would take hours."""

EDIT_OF = (
    (re.compile(r"(?i)^(.+)-(?:edited|bearbeitet|modifié|editado|modificato|bewerkt)$"), r"\1"),
    (re.compile(r"(?i)^(IMG_)E([0-9]{3,})$"), r"\1\2"),
)
"""How an edited photo is called beside its original: by Google Takeout, by iPhones."""

TAKEOUT_YEAR = re.compile(
    r"(?i)^(?:photos from|photos de|photos del|fotos von|fotos aus|fotos de|fotos del|foto dal"
    r"|foto del|foto's van|foto's uit) (?:19|20)[0-9]{2}$"
)
"""Folders in which Google Takeout repeats the photos of all albums, by year."""


FOLD = re.compile(r"([0-9]{1,4})/([0-9]{1,4})")
"""``1/3``: the first of three parts."""


class PhotoPaths(Sequence[Path]):
    """Paths of photos, of which memory holds the text only: 100,000 of them take some 15 MB."""

    def __init__(self, paths: Iterable[str | Path] = ()):
        self._texts = [os.fspath(path) for path in paths]

    def __len__(self) -> int:
        return len(self._texts)

    @overload
    def __getitem__(self, i: int) -> Path: ...

    @overload
    def __getitem__(self, i: slice) -> list[Path]: ...

    def __getitem__(self, i: int | slice) -> Path | list[Path]:
        return [*map(Path, self._texts[i])] if isinstance(i, slice) else Path(self._texts[i])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)


@dataclass(eq=False)
class PhotoFolder:
    """The photos of one subject.

    Attributes:
        name: of its folder, as text; bytes of it that are no text stand as ``\\xe9``.
        photos: their paths.
        kind: its class (``dog``), or none.
        alike: what other folders of nearly the same name (``Bo``, ``bo``) have too: they may be
            the same subject.
        sub_folders: that hold its photos; empty where it holds one itself.
        opened: whether all photos were opened once.
    """

    name: str
    photos: PhotoPaths = field(default_factory=PhotoPaths)
    kind: str | None = None
    alike: str | None = None
    sub_folders: frozenset[str] = frozenset()
    opened: bool = True


def scan(
    root: str | Path, size: int = 512, side: str = "long", *, keep: Path | None = None
) -> tuple[list[PhotoFolder], SkippedItems]:
    """Find the folders below ``root``, one per subject, and open every photo once to check it.

    Photos in sub-folders belong to the folder of ``root`` above them. The same image twice in a
    folder, or a near copy of it, is used once. An image in two folders is not used at all:
    whichever of the subjects it shows, half of the rows made from it would be wrong.

    Args:
        root: directory of subjects' folders.
        size: what the photos will be opened with, as ``side``.
        keep: a file in ``root`` itself that is expected there.

    Returns:
        The folders with at least one usable photo, by name, and what was skipped, as paths below
        ``root``.

    Raises:
        OSError: ``root`` itself cannot be listed.
    """
    root = Path(root)
    skipped: list[tuple[str, str]] = []

    def skip(path: str | Path, reason: str, other: str | None = None) -> None:
        where = printable(Path(path).relative_to(root))
        skipped.append((reason, f"{where} of {printable(Path(other).name)}" if other else where))

    files: dict[str, PhotoFolder] = {}
    known: dict[str, PhotoFolder] = {}
    seen = {os.path.realpath(root)}
    for entry in sorted(root.iterdir(), key=_links_last):
        if is_system_name(entry.name):
            skip(entry, "hidden")
        elif os.path.isdir(entry):
            if TAKEOUT_YEAR.match(entry.name):
                skip(entry, "a year of Google Takeout, which repeats the albums")
                continue
            name = text_of(entry.name)
            folder = known.setdefault(unicodedata.normalize("NFC", name), PhotoFolder(name))
            files.update((path, folder) for path in _walk(entry, seen, skip))
        elif entry != keep:
            try:
                entry.stat()
                skip(entry, "beside the subjects' folders")
            except OSError as error:
                skip(entry, reason_of(error))

    for edit in _edits(files):
        skip(edit, "an edited copy of another")
        del files[edit]
    every = len(files) <= MOST_OPENED
    looks: dict[str, Look] = {}
    for path in tqdm(list(files), desc="photos", unit="photo", disable=None):
        try:
            if every:
                looks[path] = look_of(open_photo(path, size, side))
            else:
                glance(path)
        except PhotoError as reason:
            skip(path, str(reason))
            del files[path]
    shared_shots = _shared_shots(files, looks)  # of photos, too, that are left out below
    for same in _copies(list(files)):
        shared = len({id(files[path]) for path in same}) > 1
        for path in same if shared else same[1:]:
            skip(path, "in two subjects' folders" if shared else "a copy of another")
            del files[path]

    for path, other in shared_shots:
        if path in files:
            skip(path, "near copies in two subjects' folders", other)
            del files[path]

    top = os.path.join(root, "")
    members: dict[int, list[str]] = defaultdict(list)
    for path, folder in files.items():
        members[id(folder)].append(path)
    folders = [folder for folder in known.values() if members[id(folder)]]
    for folder in folders:
        paths = members[id(folder)]
        near = copies_of_earlier([looks[path] for path in paths]) if every else {}
        for copy, original in near.items():
            skip(paths[copy], "a near copy of another", paths[original])
        folder.photos = PhotoPaths(path for i, path in enumerate(paths) if i not in near)
        parts = [path.removeprefix(top).split(os.sep, 2) for path in paths]
        if all(len(names) > 2 for names in parts):
            folder.sub_folders = frozenset(text_of(names[1]) for names in parts)
        folder.opened = every
    _mark_alike(folders)
    found = SkippedItems()
    for reason, where in sorted(skipped):
        found.add(reason, where)
    return sorted(folders, key=lambda folder: folder.name), found


def read_classes(path: str | Path) -> dict[str, str]:
    """Read each subject's class, a line each: ``cat2,cat`` (or ``:``, ``;``, ``=``, tab, space).

    ``#`` starts a comment; a header is ignored. Where there is a line ``subject_name,class``,
    as in DreamBooth's ``prompts_and_classes.txt``, only the block below it counts.

    Returns:
        Folder's name, normalised and lower-cased -> class.

    Raises:
        SourceError: the file cannot be read, or a line is not understood.
    """
    try:
        refuse_pipe(path)
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"classes file {path} cannot be read ({error})") from None
    lines = list(enumerate(text.splitlines(), start=1))
    for number, line in lines:
        if line.replace(" ", "").lower() == "subject_name,class":
            below = lines[number:]
            end = next((i for i, (_, text) in enumerate(below) if not text.strip()), len(below))
            lines = below[:end]
            break
    kinds: dict[str, str] = {}
    for number, line in lines:
        line = line.partition("#")[0].strip()
        cells = line.split(next((mark for mark in ",\t;:=" if mark in line), None), 1)
        cells = [cell.strip().strip("\"'").strip() for cell in cells]
        if line and (len(cells) != 2 or not all(cells)):
            raise SourceError(f"{path}, line {number}: expected 'subject,class', found {line!r}")
        if line and cells[0].lower() not in HEADERS:
            kinds[folded(cells[0])] = cells[1]
    return kinds


def is_heldout(name: str, share: float) -> bool:
    """Whether a subject is held out: by a hash of its name alone, so that it stays on its side
    whatever the seed and the other subjects."""
    return _place_of(name) < share


def names_of_fold(names: Sequence[str], fold: str) -> set[str]:
    """The subjects that part ``fold`` holds out, for cross-validation: in the order of that hash
    they are cut into parts of equal size, or nearly so. Each subject is in one part.

    Args:
        names: of all subjects.
        fold: ``"1/3"`` is the first of three parts.

    Raises:
        SourceError: no such part, or more parts than subjects.
    """
    found = FOLD.fullmatch(fold) if isinstance(fold, str) else None
    k, n = map(int, found.groups()) if found else (0, 0)
    if not 1 <= k <= n or n < 2:
        raise SourceError(
            f"heldout_fold must be a part of two or more, such as 1/3, the first of three; not "
            f"{fold!r}"
        )
    if n > len(names):
        raise SourceError(f"heldout_fold {fold}: there are {len(names)} subjects only")
    order = sorted(names, key=_place_of)
    return set(order[len(order) * (k - 1) // n : len(order) * k // n])


def _place_of(name: str) -> float:
    """A hash of a subject's name, in 0-1."""
    digest = hashlib.sha256(f"byname:{folded(name)}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def summary(
    folders: list[PhotoFolder], skipped: SkippedItems, *, classes: Path | None = None
) -> str:
    """One line: what is used, what is skipped and why, and what can only be used in part."""

    def some(items: list[str]) -> str:
        return f"({', '.join(map(printable, items[:3]))}{', …' if len(items) > 3 else ''})"

    photos = sum(len(f.photos) for f in folders)
    line = f"folders: {photos} photos of {len(folders)} subjects used"
    line += skipped.clause()
    line += _level(folders)
    single = [f.name for f in folders if len(f.photos) == 1]
    if single:
        line += f"; {len(single)} with one photo, not used {some(single)}"
    unknown = [f.name for f in folders if f.kind is None]
    if classes is None and folders:
        line += "; no classes file, so no hard negatives and no info"
    elif classes and unknown:
        line += f"; {len(unknown)} without a class in {classes.name} {some(unknown)}"
    return line


def printable(path: Path | str) -> str:
    """A path as text on one line, with ``/``, for people to read; what cannot be printed stands as
    an escape such as ``\\u200d``, so that two paths never look the same."""
    text = text_of(Path(path).as_posix())
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def text_of(name: str) -> str:
    """A name of the file system as text: bytes that are no UTF-8 become ``\\xe9``."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _walk(folder: Path, seen: set[str], skip: Callable[[str | Path, str], None]) -> list[str]:
    """Files below ``folder``, by name; folders already ``seen`` (loops, links) are not entered."""
    real = os.path.realpath(folder)
    if real in seen:
        loop = Path(os.path.realpath(folder.parent)).is_relative_to(real)
        skip(folder, "symlink loop" if loop else "the same folder as another")
        return []
    seen.add(real)
    try:
        with os.scandir(folder) as listed:
            entries = sorted(listed, key=_links_last)
    except OSError as error:
        skip(folder, reason_of(error))
        return []
    if not entries:
        skip(folder, "empty folder")
    files: list[str] = []
    for entry in entries:
        if is_system_name(entry.name):
            skip(entry.path, "hidden")
        elif entry.is_dir():
            files += _walk(Path(entry.path), seen, skip)
        else:
            files.append(entry.path)
    return files


def _links_last(path: Path | os.DirEntry) -> tuple[bool, str]:
    """Order by name, but a folder comes before links to it, so that it keeps its own name."""
    return path.is_symlink(), path.name


def _edits(files: Iterable[str]) -> list[str]:
    """Photos that are called as edits of another one that lies beside them."""
    beside: dict[str, set[str]] = defaultdict(set)
    edited: list[tuple[str, str, str]] = []
    for path in files:
        folder, name = os.path.split(path)
        stem = os.path.splitext(name)[0]
        beside[folder].add(stem.casefold())
        for form, original in EDIT_OF:
            if form.match(stem):
                edited.append((path, folder, form.sub(original, stem)))
    return [path for path, folder, original in edited if original.casefold() in beside[folder]]


def _shared_shots(files: dict[str, PhotoFolder], looks: dict[str, Look]) -> list[tuple[str, str]]:
    """Photos of which another subject's folder holds a near copy, with that one: they show one of
    the two, and who is not told. Plain pictures are not compared, as any two may be alike."""
    paths = [path for path in files if path in looks and not looks[path].plain]
    shots: dict[int, list[str]] = defaultdict(list)
    for copy, original in copies_of_earlier([looks[path] for path in paths]).items():
        shots[original] = [*(shots[original] or [paths[original]]), paths[copy]]
    return [
        (path, next(other for other in same if files[other] is not files[path]))
        for same in shots.values()
        if len({id(files[path]) for path in same}) > 1
        for path in same
    ]


def _mark_alike(folders: list[PhotoFolder]) -> None:
    """Mark folders whose names differ in case or width of letters only."""
    by_name = defaultdict(list)
    for folder in folders:
        by_name[unicodedata.normalize("NFKC", folder.name).casefold().strip()].append(folder)
    for name, same in by_name.items():
        for folder in same if len(same) > 1 else []:
            folder.alike = name


def _level(folders: list[PhotoFolder]) -> str:
    """A clause that warns where the subjects may be the sub-folders: photos of several folders lie
    in sub-folders of the same names."""
    below: dict[str, set[str]] = defaultdict(set)
    for folder in folders:
        for name in folder.sub_folders:
            below[folded(name)].add(folder.name)
    same = {name: owners for name, owners in below.items() if len(owners) > 1}
    if not same:
        return ""
    name, owners = next(iter(same.items()))
    two = " and ".join(printable(owner) for owner in sorted(owners)[:2])
    return (
        f"; a warning: photos of {two} lie in sub-folders of the same name ({printable(name)}): "
        "where the sub-folders are the subjects, give a folder that holds these"
    )


def _copies(paths: list[str]) -> list[list[str]]:
    """Groups of byte-identical files. Files whose length is unique are not read, and links to one
    file are known without reading."""
    sizes = np.fromiter(map(os.path.getsize, paths), dtype=np.int64, count=len(paths))
    order = np.argsort(sizes, kind="stable")
    ends = np.flatnonzero(np.diff(sizes[order])) + 1
    found: list[list[str]] = []
    for same_length in np.split(order, ends) if len(ends) + 1 < len(paths) else ():
        if len(same_length) < 2:
            continue
        digests: dict[tuple[int, int], bytes] = {}
        by_content: dict[bytes, list[str]] = defaultdict(list)
        for i in same_length:
            info = os.stat(paths[i])
            link = info.st_dev, info.st_ino
            if link not in digests:
                with open(paths[i], "rb") as file:
                    digests[link] = hashlib.file_digest(file, "sha256").digest()
            by_content[digests[link]].append(paths[i])
        found += [same for same in by_content.values() if len(same) > 1]
    return found


@lru_cache(4096)
def folded(name: str) -> str:
    """A name as it is compared: some file systems store é as two characters, others as one."""
    return unicodedata.normalize("NFC", name).casefold()
