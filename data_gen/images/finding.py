"""Find the pictures that an annotation file lists, in a folder of this machine.

Files are listed as their writer saw them: with folders that are not here, with ``\\``, with ``%20``
for a space, as an address, in another Unicode form (a name copied from a Mac) or other case. A
picture is found by any of these, under two rules that keep boxes away from other pictures: as many
leading folders are dropped for every name of a file, and two listed pictures never end at one file.
"""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote

from data_gen.files.files import is_file

LISTINGS = 256
"""Folders whose listings are held in memory; a folder is only listed where a name is not there as
it is written."""

MISSING = "image missing on disk"
SHARED = "one file for several listed images"


def find_pictures(folder: Path, names: Iterable[str]) -> tuple[dict[str, Path], dict[str, str]]:
    """Where each of the listed pictures is.

    Args:
        folder: that holds them; names never lead out of it.
        names: as listed, each a different picture.

    Returns:
        Name -> file, and name -> :data:`MISSING` or :data:`SHARED` for the others.
    """
    names = list(dict.fromkeys(names))
    found = pictures_below(folder, names)
    ends = defaultdict(list)
    for name, file in found.items():
        ends[os.path.realpath(file)].append(name)
    lost = {name: MISSING for name in names if name not in found}
    lost |= {name: SHARED for same in ends.values() if len(same) > 1 for name in same}
    return {name: file for name, file in found.items() if name not in lost}, lost


def pictures_below(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    """Name -> file of those that are found, as many leading folders dropped from all names: with
    which the most of them are found, and the fewest of these numbers. Objects365 writes
    ``images/v1/patch16/`` in front of files that lie in ``patch16/``."""
    best: dict[str, Path] = {}
    for dropped in range(max((len(parts_of(name)) for name in names), default=0)):
        found = {name: file for name in names if (file := picture_at(folder, name, dropped))}
        if len(found) > len(best):
            best = found
        if len(best) == len(names):
            break
    return best


def find_picture(folder: Path, name: str) -> Path | None:
    """The file of one name by itself, less as few leading folders as possible; ``None`` where
    there is none."""
    for dropped in range(len(parts_of(name))):
        file = picture_at(folder, name, dropped)
        if file is not None:
            return file
    return None


def picture_at(folder: Path, name: str, dropped: int = 0) -> Path | None:
    """The file of a listed name less its ``dropped`` leading folders, or all that it has, by any of
    its spellings; ``None`` where there is none, or where several are as near."""
    for parts in _spellings(name):
        rest = parts[min(dropped, len(parts) - 1) :]
        file = folder.joinpath(*rest)
        if is_file(file) or (file := _spelled_otherwise(folder, rest)):
            return file
    return None


def parts_of(name: str) -> list[str]:
    """A listed name in its parts: without ``..``, a drive or what follows ``?`` in an address."""
    if re.match(r"[a-z][a-z0-9+]+://", name):
        name = name.partition("://")[2].partition("#")[0]
        place, _, query = name.partition("?")
        local = re.search(r"(?:^|&)d=([^&]+)", query)  # Label Studio: /data/local-files/?d=a/b.jpg
        name = unquote(local[1]) if local else place
    elif "/local-files/?d=" in name:
        name = unquote(name.partition("?d=")[2])
    name = re.sub(r"^[A-Za-z]:(?=[\\/])", "", name)
    return [part for part in re.split(r"[\\/]+", name) if part not in ("", ".", "..")]


def _spellings(name: str) -> list[list[str]]:
    """A name's parts as it is written, and read otherwise: ``\\`` as a letter, ``%20`` as a
    space."""
    plain = [part for part in Path(name).parts if part not in ("/", "..", ".")]
    found = [plain, parts_of(name)]
    if re.search(r"%[0-9a-fA-F]{2}", name):
        found.append([part for p in parts_of(name) for part in parts_of(unquote(p))])
    return [parts for i, parts in enumerate(found) if parts and parts not in found[:i]]


def _spelled_otherwise(folder: Path, parts: list[str]) -> Path | None:
    """The one file whose path differs in Unicode form or case only."""
    for part in parts:
        names = _listing(str(folder), _state(folder))
        same = names.get(_form(part)) or names.get(_form(part).casefold(), [])
        exact = [name for name in same if name == part]
        if len(exact or same) != 1:
            return None
        folder = folder / (exact or same)[0]
    return folder if is_file(folder) else None


def _form(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _state(folder: Path) -> int:
    try:
        return os.stat(folder).st_mtime_ns
    except (OSError, ValueError):
        return 0


@lru_cache(LISTINGS)
def _listing(folder: str, state: int) -> dict[str, list[str]]:
    """Form, and casefolded form, of each name in a folder -> names of that form."""
    found: dict[str, list[str]] = defaultdict(list)
    try:
        names = sorted(os.listdir(folder))
    except (OSError, ValueError):
        return {}
    for name in names:
        form = _form(name)
        for key in {form, form.casefold()}:
            found[key].append(name)
    return found
