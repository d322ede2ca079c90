"""A zip file of photos as the root: unpacked once, into the cache, and only what is safe.

A zip comes from elsewhere. Only pictures and texts that may be a classes file are unpacked; links
and members that lead out of the folder are not. A zip with encrypted pictures, or with some that
unfold to more than photos do, is refused.
"""

import hashlib
import lzma
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from filelock import FileLock
from tqdm.auto import tqdm

from data_gen.files.errors import SourceError
from data_gen.files.system_files import is_system_path
from data_gen.images.photos import MAX_PHOTO_BYTES, PICTURE_ENDINGS

CACHE = Path("runs/cache/zip")

MAX_MEMBERS = 500_000
MAX_BYTES = 200 * 2**30
"""Most members and bytes of a zip, by what its directory says."""

MAX_RATIO = 100
"""How many times its size a member over a megabyte may unfold to: photos are compressed already."""

CHUNK = 1 << 20

TOLD = 1 << 30
"""Bytes from which the progress is shown."""

UNREADABLE = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, UnicodeDecodeError, OSError),
    NotImplementedError,
)
"""What zipfile raises on damaged files, and on a version or compression that it does not know
(NotImplementedError)."""


def folder_of_root(root: str | Path, cache: Path = CACHE) -> Path:
    """``root`` itself, or the folder that a zip file is unpacked to: the first in it that holds
    more than one folder (``Takeout/Google Photos``).

    Raises:
        SourceError: it is no folder and no zip file, or one that cannot be unpacked safely.
    """
    root = Path(root)
    if root.is_dir():
        return root
    if not root.is_file():
        raise SourceError(f"{root} is no directory and no zip; give one that holds <subject>/*.jpg")
    if not zipfile.is_zipfile(root):
        raise SourceError(f"{root} is no folder and no whole zip file; give one that holds photos")
    try:
        folder = _unpacked(root, cache)
    except UNREADABLE as error:
        raise SourceError(
            f"{root} cannot be unpacked ({error}); unpack it yourself and give the folder"
        ) from None
    while True:
        inside = list(folder.iterdir())
        below = [path for path in inside if path.is_dir()]
        if len(inside) != 1 or len(below) != 1 or not any(p.is_dir() for p in below[0].iterdir()):
            return folder
        folder = below[0]


def _unpacked(path: Path, cache: Path) -> Path:
    with zipfile.ZipFile(path) as archive:
        places = {m: place for m in archive.infolist() if (place := _place(m))}
        _check(path, places)
        digest = hashlib.sha256(
            repr([(m.filename, m.CRC, m.file_size) for m in places]).encode("utf-8", "replace")
        ).hexdigest()[:16]
        folder = cache / digest
        if folder.is_dir():
            return folder
        room = shutil.disk_usage(cache if cache.exists() else Path()).free
        needed = sum(m.file_size for m in places)
        if needed > 0.9 * room:
            raise SourceError(
                f"{path} unfolds to {needed / 1e9:,.1f} GB, and {room / 1e9:,.1f} GB are free; "
                "make room, or unpack it elsewhere and give that folder"
            )
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(cache / f"{digest}.lock"):  # processes that share the work wait for the first
            if folder.is_dir():
                return folder
            partial = cache / f"{digest}.partial"
            shutil.rmtree(partial, ignore_errors=True)  # of an earlier run that was stopped
            partial.mkdir(parents=True)
            bar = tqdm(places.items(), f"unpacking {path.name}", disable=needed < TOLD, unit="file")
            for member, place in bar:
                _unpack(archive, member, partial.joinpath(*place.parts), path)
            partial.rename(folder)
    return folder


def _check(path: Path, members: Collection[zipfile.ZipInfo]) -> None:
    size = sum(m.file_size for m in members)
    if len(members) > MAX_MEMBERS or size > MAX_BYTES:
        raise SourceError(
            f"{path} holds {len(members):,} files of {size / 1e9:,.1f} GB, more than is unpacked; "
            "unpack it yourself and give the folder"
        )
    for member in members:
        if member.flag_bits & 1:
            raise SourceError(f"{path} is encrypted; unpack it and give the folder")
        if member.file_size > max(CHUNK, MAX_RATIO * member.compress_size):
            raise SourceError(
                f"{path}: {member.filename[:80]!r} unfolds from {member.compress_size:,} to "
                f"{member.file_size:,} bytes, as no photo does; take it out"
            )


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, path: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(member) as source, open(target, "xb") as file:
            left = member.file_size
            while chunk := source.read(min(CHUNK, left + 1)):
                left -= len(chunk)
                if left < 0:
                    raise SourceError(f"{path}: {member.filename[:80]!r} is larger than it says")
                file.write(chunk)
    except FileExistsError:
        return  # two members of one name: the first counts
    except UNREADABLE as error:
        raise SourceError(
            f"{path}: {member.filename[:80]!r} cannot be unpacked ({error}); unpack it yourself "
            "and give the folder"
        ) from None


def _place(member: zipfile.ZipInfo) -> PurePosixPath | None:
    """Where in the folder a member belongs, if it is a picture, or a text that may be a classes
    file; ``None`` where it is not unpacked."""
    name = member.filename
    if not member.flag_bits & 0x800:  # no UTF-8 mark: macOS writes UTF-8 all the same
        try:
            name = name.encode("cp437").decode("utf-8")
        except UnicodeError:
            name = member.filename
    place = PurePosixPath(name.replace("\\", "/"))
    linked = stat.S_ISLNK(member.external_attr >> 16)
    odd = place.is_absolute() or ".." in place.parts or re.search(r"^[A-Za-z]:|\0", name)
    if linked or odd or member.is_dir() or is_system_path(str(place)):
        return None
    if member.file_size > MAX_PHOTO_BYTES:
        return None
    classes = place.suffix.lower() in (".txt", ".csv") or place.name == "classes"
    return place if classes or place.suffix.lower() in PICTURE_ENDINGS else None
