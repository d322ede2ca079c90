"""Open photos as people keep them: robustly, upright, as RGB; refuse others with a reason.

Handled: EXIF rotation, grey, 16-bit and float pixels, CMYK, palettes, transparency (put on white),
links, damaged files and files that are no photo. Not handled: colour profiles (pixels are read as
sRGB), HEIC (pillow has no decoder for it), and all frames of an animation but the first.
"""

import errno
import io
import os
import stat
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from data_gen.files.errors import InputError

MAX_PHOTO_PIXELS = 120_000_000
"""Largest photo that is opened, in pixels (a 108-megapixel phone passes): 360 MB once decoded."""

MIN_SIDE = 8
"""Shortest side of a usable photo after resizing, in pixels."""

PHOTO_HEADS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"II*\0", b"MM\0*", b"BM")
"""How photo files begin: JPEG, PNG, GIF, WebP, TIFF (two byte orders), BMP."""


UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what turns the image upright."""


class PhotoError(InputError):
    """A file that cannot be used as a photo. The message is the reason, in a few words."""


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
        PhotoError: whatever is wrong with the file.
    """
    try:
        info = os.stat(path)  # before opening: reading a named pipe would wait for ever
        if not stat.S_ISREG(info.st_mode):
            raise PhotoError("not a file")
        if info.st_size == 0:
            raise PhotoError("empty file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pillow warns of odd EXIF; only the pixels matter
            with Image.open(path) as image:
                return _decoded(image, size, side)
    except PhotoError:
        raise
    except Exception as error:
        # Not only OSError: on damaged files pillow's decoders also raise SyntaxError, ValueError,
        # EOFError, IndexError, struct.error, zlib.error and more.
        raise PhotoError(reason_of(error, path)) from None


def open_image_bytes(data: bytes) -> Image.Image:
    """Open an image given as bytes (of a parquet column): RGB, in its own size, not turned.

    Raises:
        PhotoError: whatever is wrong with the bytes.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                if image.width * image.height > MAX_PHOTO_PIXELS:
                    raise PhotoError("too large")
                return to_rgb(image)
    except PhotoError:
        raise
    except Exception as error:  # see open_photo
        raise PhotoError(reason_of(error, head=data[:12])) from None


def _decoded(image: Image.Image, size: int, side: str) -> Image.Image:
    if image.width * image.height > MAX_PHOTO_PIXELS:
        raise PhotoError("too large")
    target = fitted(*image.size, size, side)
    if min(target) < MIN_SIDE:
        raise PhotoError("too small")
    # A large JPEG is decoded at 1/2, 1/4 or 1/8: faster, and as good while twice the size is left.
    drafted = image.draft(None, (2 * target[0], 2 * target[1]))
    image.load()
    if not drafted:
        target = fitted(*image.size, size, side)  # loading turns a TIFF upright
    try:
        turn = UPRIGHT.get(image.getexif().get(0x0112, 1))
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
        # These modes do not say which value is white: take the smallest usual range that fits.
        white = next((w for w in (1, 255, 65535) if values.max() <= w), values.max())
        image = Image.fromarray((values * (255 / white)).round().astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def reason_of(error: Exception, path: str | Path | None = None, *, head: bytes = b"") -> str:
    """What is wrong with the file at ``path``, or with bytes that begin with ``head``, in two or
    three words."""
    if isinstance(error, UnidentifiedImageError):
        if path is not None:
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
