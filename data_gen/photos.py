"""Photos as people keep them: found in folders, opened robustly, refused with a reason.

Handled: EXIF rotation, grey, 16-bit and float pixels, CMYK, palettes, transparency (put on white),
links, damaged files and things that are no photo. Left out: colour profiles (pixels are read as
sRGB), HEIC (pillow has no decoder for it), and all frames of an animation but the first.
"""

import errno
import hashlib
import os
import stat
import warnings
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

MAX_PHOTO_PIXELS = 120_000_000
"""Largest photo that is opened, in pixels (a 108-megapixel phone passes): 360 MB once decoded."""

MIN_SIDE = 8
"""Shortest side of a usable photo after resizing, in pixels."""

PHOTO_HEADS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"II*\0", b"MM\0*", b"BM")
"""How photo files begin: JPEG, PNG, GIF, WebP, TIFF (two byte orders), BMP."""

SYSTEM_FILES = ("thumbs.db", "desktop.ini")

UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what brings the picture upright."""


class PhotoError(ValueError):
    """A file that cannot be used as a photo. The message is the reason, in a few words."""


@dataclass(eq=False)
class Subject:
    """One thing and its photos. ``name`` is its folder's, ``kind`` its class (``dog``) if known."""

    name: str
    photos: list[Path] = field(default_factory=list)
    kind: str | None = None


LeftOut = dict[str, list[str]]
"""Reason -> what was left out for it, as paths below the root."""


def fitted(width: int, height: int, size: int, side: str = "long") -> tuple[int, int]:
    """Width and height after resizing so that the ``long`` or ``short`` side is at most ``size``
    pixels. Nothing is enlarged and no side becomes 0."""
    scale = min(1.0, size / (max(width, height) if side == "long" else min(width, height)))
    return max(1, round(width * scale)), max(1, round(height * scale))


def open_photo(path: str | Path, size: int, side: str = "long") -> Image.Image:
    """Open a photo upright, as RGB, resized.

    Args:
        path: a file; a link is followed.
        size: largest length of the bounded side, in pixels. Nothing is enlarged.
        side: which side ``size`` bounds: ``long`` or ``short``.

    Raises:
        PhotoError: the reason, whatever is wrong with the file.
    """
    try:
        info = os.stat(path)  # before opening: reading a named pipe would wait for ever
        if not stat.S_ISREG(info.st_mode):
            raise PhotoError("not a file")
        if info.st_size == 0:
            raise PhotoError("empty file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pillow warns of odd EXIF; the pixels are what counts
            with Image.open(path) as image:
                return _decoded(image, size, side)
    except PhotoError:
        raise
    except Exception as error:
        # Not only OSError: on damaged files pillow's decoders also raise SyntaxError, ValueError,
        # EOFError, IndexError, struct.error, zlib.error and more.
        raise PhotoError(_reason(error, path)) from None


def _decoded(image: Image.Image, size: int, side: str) -> Image.Image:
    if image.width * image.height > MAX_PHOTO_PIXELS:
        raise PhotoError("too large")
    target = fitted(*image.size, size, side)
    if min(target) < MIN_SIDE:
        raise PhotoError("too small")
    # A large JPEG is decoded at 1/2, 1/4 or 1/8: faster, and as good where twice the size is left.
    drafted = image.draft(None, (2 * target[0], 2 * target[1]))
    image.load()
    if not drafted:
        target = fitted(*image.size, size, side)  # a TIFF has turned itself upright by now
    try:
        turn = UPRIGHT.get(image.getexif().get(0x0112))
    except Exception:  # unreadable EXIF is no reason to lose the photo
        turn = None
    image = to_rgb(image).resize(target, Image.Resampling.LANCZOS)
    return image if turn is None else image.transpose(turn)


def to_rgb(image: Image.Image) -> Image.Image:
    """Any pillow mode as 8-bit RGB: transparency on white, deep pixels scaled and not clipped."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
    elif image.mode in ("I", "F"):
        values = np.nan_to_num(np.asarray(image, dtype=np.float64), posinf=0, neginf=0).clip(0)
        # These modes do not say what is white: the smallest usual range that holds the values is.
        white = next((w for w in (1, 255, 65535) if values.max() <= w), values.max())
        image = Image.fromarray((values * (255 / white)).round().astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _reason(error: Exception, path: str | Path) -> str:
    """What is wrong with the file, in two or three words."""
    if isinstance(error, UnidentifiedImageError):
        with open(path, "rb") as file:
            head = file.read(12)
        if head[4:8] == b"ftyp" and head[8:] in (b"heic", b"heix", b"hevc", b"mif1", b"msf1"):
            return "HEIC (convert it to JPEG)"
        return "damaged" if head.startswith(PHOTO_HEADS) else "not an image"
    if isinstance(error, Image.DecompressionBombError):
        return "too large"
    if isinstance(error, PermissionError):
        return "no permission to read"
    if isinstance(error, FileNotFoundError):
        return "broken link"
    if isinstance(error, OSError) and error.errno == errno.ELOOP:
        return "symlink loop"
    return "truncated" if "truncated" in str(error).lower() else "damaged"


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
                leave(entry, _reason(error, entry))

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
        leave(folder, _reason(error, folder))
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


def printable(path: Path | str) -> str:
    """A path as text on one line, with ``/``; what cannot be printed becomes U+FFFD."""
    text = os.fsencode(Path(path).as_posix()).decode("utf-8", "replace")
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


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
