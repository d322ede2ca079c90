"""Folders of photos as subjects: what is in them, which class each is of, which are held out.

Nothing is passed over in silence: every file that is not used is left out for a reason, and
:func:`summary` says so in one line.
"""

import hashlib
import os
import unicodedata
from collections import defaultdict
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from tqdm import tqdm

from data_gen.files.errors import SourceError
from data_gen.images.photos import PhotoError, open_photo, reason_of

CLASSES_FILES = ("classes", "classes.txt", "classes.csv", "prompts_and_classes.txt")
"""Looked for in the root, in this order."""

HEADERS = ("subject", "subject_name", "name", "folder")
"""First cells of a classes file's header line."""

SYSTEM_FILES = ("thumbs.db", "desktop.ini")


@dataclass(eq=False)
class Subject:
    """One thing and its photos. ``name`` is its folder's, ``kind`` its class (``dog``) if known."""

    name: str
    photos: list[Path] = field(default_factory=list)
    kind: str | None = None


LeftOut = dict[str, list[str]]
"""Reason -> what was left out for it, as paths below the root."""


def scan(
    root: str | Path, size: int = 512, side: str = "long", *, keep: Path | None = None
) -> tuple[list[Subject], LeftOut]:
    """Find the subjects below ``root`` and open every photo once to see that it can be used.

    A subject is a folder of ``root``; photos in its sub-folders are its own. The same picture
    twice in a subject is used once. The same picture in two subjects is not used at all: whichever
    of them it shows, half of the rows made from it would be wrong.

    Args:
        root: directory of subjects' folders.
        size: what the photos will be opened with, as ``side``.
        keep: a file in ``root`` itself that is expected there.

    Returns:
        The subjects with at least one usable photo, by name, and what was left out, by reason.

    Raises:
        OSError: ``root`` itself cannot be listed.
    """
    root = Path(root)
    left_out: LeftOut = defaultdict(list)

    def leave(path: Path, reason: str):
        left_out[reason].append(printable(path.relative_to(root)))

    files: list[tuple[Subject, Path]] = []
    seen = {os.path.realpath(root)}
    for entry in sorted(root.iterdir(), key=_links_last):
        if _is_hidden(entry):
            leave(entry, "hidden")
        elif os.path.isdir(entry):
            subject = Subject(printable(entry.name))
            files += [(subject, path) for path in _walk(entry, seen, leave)]
        elif entry != keep:
            try:
                entry.stat()
                leave(entry, "beside the subjects' folders")
            except OSError as error:
                leave(entry, reason_of(error, entry))

    usable: dict[Path, Subject] = {}
    for subject, path in tqdm(files, desc="photos", unit="photo", disable=None):
        try:
            open_photo(path, size, side)
            usable[path] = subject
        except PhotoError as reason:
            leave(path, str(reason))
    for same in _copies(list(usable)):
        owners = {usable[path].name for path in same}
        for path in same if len(owners) > 1 else same[1:]:
            leave(path, "in two subjects' folders" if len(owners) > 1 else "a copy of another")
            del usable[path]

    subjects: dict[str, Subject] = {}
    for path, subject in usable.items():
        subjects.setdefault(subject.name, subject).photos.append(path)
    found = sorted(subjects.values(), key=lambda subject: subject.name)
    return found, {reason: sorted(paths) for reason, paths in left_out.items()}


def read_classes(path: str | Path) -> dict[str, str]:
    """Read each subject's class, a line each: ``cat2,cat`` (or ``:``, ``;``, ``=``, tab, space).

    ``#`` starts a comment; a header is passed over. Where there is a line ``subject_name,class``,
    as in DreamBooth's ``prompts_and_classes.txt``, only the block below it counts.

    Returns:
        Subject, normalised and lower-cased -> class.

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
    when other subjects come and go, whatever the seed."""
    digest = hashlib.sha256(f"byname:{folded(name)}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < share


def summary(subjects: list[Subject], left_out: LeftOut, *, classes: Path | None = None) -> str:
    """One line: what is used, what is left out and why, and what cannot serve fully."""

    def some(items: list[str]) -> str:
        return f"({', '.join(items[:3])}{', …' if len(items) > 3 else ''})"

    photos = sum(len(s.photos) for s in subjects)
    line = f"folders: {photos} photos of {len(subjects)} subjects used"
    if left_out:
        reasons = sorted(left_out.items(), key=lambda item: (-len(item[1]), item[0]))
        line += f"; left out {sum(map(len, left_out.values()))}: "
        line += ", ".join(f"{len(paths)} {reason} {some(paths)}" for reason, paths in reasons)
    single = [s.name for s in subjects if len(s.photos) == 1]
    if single:
        line += f"; {len(single)} with one photo, shown only as another subject {some(single)}"
    unknown = [s.name for s in subjects if s.kind is None]
    if classes is None and subjects:
        line += "; no classes file, so no hard negatives and no info"
    elif unknown:
        line += f"; {len(unknown)} without a class in {classes.name} {some(unknown)}"
    return line


def printable(path: Path | str) -> str:
    """A path as text on one line, with ``/``; what cannot be printed becomes U+FFFD."""
    text = os.fsencode(Path(path).as_posix()).decode("utf-8", "replace")
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def _walk(folder: Path, seen: set[str], leave) -> list[Path]:
    """Files below ``folder``, by name; folders already ``seen`` (loops, links) are not entered."""
    real = os.path.realpath(folder)
    if real in seen:
        loop = Path(os.path.realpath(folder.parent)).is_relative_to(real)
        leave(folder, "symlink loop" if loop else "the same folder as another")
        return []
    seen.add(real)
    try:
        entries = sorted(folder.iterdir(), key=_links_last)
    except OSError as error:
        leave(folder, reason_of(error, folder))
        return []
    if not entries:
        leave(folder, "empty folder")
    files: list[Path] = []
    for entry in entries:
        if _is_hidden(entry):
            leave(entry, "hidden")
        elif os.path.isdir(entry):
            files += _walk(entry, seen, leave)
        else:
            files.append(entry)
    return files


def _links_last(path: Path) -> tuple[bool, str]:
    """Order by name, but a folder comes before links to it, so that it keeps its own name."""
    return path.is_symlink(), path.name


def _is_hidden(path: Path) -> bool:
    """What systems put beside photos: ``.DS_Store``, ``._03.jpg``, ``__MACOSX``, ``Thumbs.db``."""
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
    """A name as compared: some file systems store é as two characters, others as one."""
    return unicodedata.normalize("NFC", name).casefold()
