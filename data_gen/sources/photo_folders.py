"""Scan folders of photos: which photos are usable, which class a folder is of, which are held out.

Every file that is not used is skipped for a reason, and :func:`summary` reports that in one line.
"""

import hashlib
import os
import unicodedata
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from tqdm import tqdm

from data_gen.files.errors import SourceError
from data_gen.files.skipped import SkippedItems
from data_gen.images.photos import PhotoError, open_photo, reason_of

CLASSES_FILES = ("classes", "classes.txt", "classes.csv", "prompts_and_classes.txt")
"""Looked for in the root, in this order."""

HEADERS = ("subject", "subject_name", "name", "folder")
"""First cells of a classes file's header line."""

SYSTEM_FILES = ("thumbs.db", "desktop.ini")


@dataclass(eq=False)
class PhotoFolder:
    """The photos of one subject: ``name`` is the folder's, ``kind`` its class (``dog``) or none."""

    name: str
    photos: list[Path] = field(default_factory=list)
    kind: str | None = None


def scan(
    root: str | Path, size: int = 512, side: str = "long", *, keep: Path | None = None
) -> tuple[list[PhotoFolder], SkippedItems]:
    """Find the folders below ``root``, one per subject, and open every photo once to check it.

    Photos in sub-folders belong to the folder of ``root`` above them. The same image twice in a
    folder is used once. The same image in two folders is not used at all: whichever of the subjects
    it shows, half of the rows made from it would be wrong.

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

    def skip(path: Path, reason: str) -> None:
        skipped.append((reason, printable(path.relative_to(root))))

    files: list[tuple[PhotoFolder, Path]] = []
    seen = {os.path.realpath(root)}
    for entry in sorted(root.iterdir(), key=_links_last):
        if _is_hidden(entry):
            skip(entry, "hidden")
        elif os.path.isdir(entry):
            folder = PhotoFolder(printable(entry.name))
            files += [(folder, path) for path in _walk(entry, seen, skip)]
        elif entry != keep:
            try:
                entry.stat()
                skip(entry, "beside the subjects' folders")
            except OSError as error:
                skip(entry, reason_of(error))

    usable: dict[Path, PhotoFolder] = {}
    for folder, path in tqdm(files, desc="photos", unit="photo", disable=None):
        try:
            open_photo(path, size, side)
            usable[path] = folder
        except PhotoError as reason:
            skip(path, str(reason))
    for same in _copies(list(usable)):
        owners = {usable[path].name for path in same}
        for path in same if len(owners) > 1 else same[1:]:
            skip(path, "in two subjects' folders" if len(owners) > 1 else "a copy of another")
            del usable[path]

    folders: dict[str, PhotoFolder] = {}
    for path, folder in usable.items():
        folders.setdefault(folder.name, folder).photos.append(path)
    found = SkippedItems()
    for reason, where in sorted(skipped):
        found.add(reason, where)
    return sorted(folders.values(), key=lambda folder: folder.name), found


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
    digest = hashlib.sha256(f"byname:{folded(name)}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < share


def summary(
    folders: list[PhotoFolder], skipped: SkippedItems, *, classes: Path | None = None
) -> str:
    """One line: what is used, what is skipped and why, and what can only be used in part."""

    def some(items: list[str]) -> str:
        return f"({', '.join(items[:3])}{', …' if len(items) > 3 else ''})"

    photos = sum(len(f.photos) for f in folders)
    line = f"folders: {photos} photos of {len(folders)} subjects used"
    line += skipped.clause()
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
    """A path as text on one line, with ``/``; what cannot be printed becomes U+FFFD."""
    text = os.fsencode(Path(path).as_posix()).decode("utf-8", "replace")
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def _walk(folder: Path, seen: set[str], skip: Callable[[Path, str], None]) -> list[Path]:
    """Files below ``folder``, by name; folders already ``seen`` (loops, links) are not entered."""
    real = os.path.realpath(folder)
    if real in seen:
        loop = Path(os.path.realpath(folder.parent)).is_relative_to(real)
        skip(folder, "symlink loop" if loop else "the same folder as another")
        return []
    seen.add(real)
    try:
        entries = sorted(folder.iterdir(), key=_links_last)
    except OSError as error:
        skip(folder, reason_of(error))
        return []
    if not entries:
        skip(folder, "empty folder")
    files: list[Path] = []
    for entry in entries:
        if _is_hidden(entry):
            skip(entry, "hidden")
        elif os.path.isdir(entry):
            files += _walk(entry, seen, skip)
        else:
            files.append(entry)
    return files


def _links_last(path: Path) -> tuple[bool, str]:
    """Order by name, but a folder comes before links to it, so that it keeps its own name."""
    return path.is_symlink(), path.name


def _is_hidden(path: Path) -> bool:
    """Whether a system put it there: ``.DS_Store``, ``._03.jpg``, ``__MACOSX``, ``Thumbs.db``."""
    return path.name.startswith((".", "__MACOSX")) or path.name.lower() in SYSTEM_FILES


def _copies(paths: list[Path]) -> list[list[Path]]:
    """Groups of byte-identical files. Files whose length is unique are not read."""
    by_length, by_content = defaultdict(list), defaultdict(list)
    for path in paths:
        by_length[os.path.getsize(path)].append(path)
    for same_length in by_length.values():
        for path in same_length if len(same_length) > 1 else []:
            by_content[hashlib.sha256(path.read_bytes()).digest()].append(path)
    return [same for same in by_content.values() if len(same) > 1]


@lru_cache(4096)
def folded(name: str) -> str:
    """A name as it is compared: some file systems store é as two characters, others as one."""
    return unicodedata.normalize("NFC", name).casefold()
