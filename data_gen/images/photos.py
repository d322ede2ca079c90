"""Open photos as people keep them: robustly, upright, as RGB; refuse others with a reason.

:func:`open_picture` is the one opener of pictures that come from outside: it knows the formats of
:data:`FORMATS` only, whatever a file is called. pillow would open some forty, one of them (EPS) by
running another program.

Handled: EXIF rotation, grey, 16-bit and float pixels, CMYK, palettes, transparency (put on white),
HEIF of all brands, links, damaged files and files that are no photo. A camera's raw file is
refused: what it holds first is a thumbnail. What comes out holds pixels and nothing else: no EXIF,
place, comment or colour profile. Not handled: colour profiles (pixels are read as sRGB), and
all frames of an animation but the first.
"""

import errno
import io
import os
import stat
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from data_gen.files.errors import InputError

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "AVIF", "HEIF")
"""The formats that are opened, by pillow's names; HEIF (what iPhones write) by pillow-heif."""

MAX_PHOTO_PIXELS = 120_000_000
"""Largest photo that is opened, in pixels: a 108-megapixel phone passes."""

MAX_PHOTO_BYTES = 600_000_000
"""Most memory that a photo may take while it becomes 8-bit RGB. A JPEG of any allowed size passes,
as it is decoded smaller; a PNG of 120 megapixels only without transparency."""

MIN_SIDE = 8
"""Shortest side of a usable photo after resizing, in pixels."""

MAX_RATIO = 200
"""How many times as long as wide a photo may be; Qwen's processors take none that is longer."""

PHOTO_HEADS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"II*\0", b"MM\0*", b"BM")
"""How photo files begin: JPEG, PNG, GIF, WebP, TIFF (two byte orders), BMP."""

HEIF_BRANDS = (
    *(b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"),
    *(b"mif2", b"miaf", b"heif", b"MiHE", b"MiHA", b"MiHB", b"heio", b"avci", b"avcs"),
)
"""What stands after ``ftyp`` in HEIF files."""

HEIF_BRANDS_READ = HEIF_BRANDS[:10]
"""Those that pillow-heif takes; the others have the same content under another name."""

AVIF_BRANDS = (b"avif", b"avis", b"avio", b"MA1A", b"MA1B")


def _endings(words: str) -> frozenset[str]:
    return frozenset(f".{word}" for word in words.split())


RAW = "raw (export it as JPEG)"
RAW_ENDINGS = _endings(
    "3fr ari arw bay cr2 cr3 crw dcr dng erf fff gpr iiq k25 kdc mef mos mrw nef nrw orf "
    "pef ptx raf raw rw2 rwl sr2 srf srw x3f"
)
RAW_HEADS = (b"FUJIFILMCCD", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FOVb", b"\0MRM")
_REDUCED, _DNG_VERSION, _PHOTOMETRIC = 254, 50706, 262  # tags of TIFF
_OF_A_SENSOR = (32803, 34892)  # photometric: a filter array, linear raw

VIDEO = "video"
VIDEO_ENDINGS = _endings("3gp avi flv m2ts m4v mkv mov mp mp4 mpg mts mv webm wmv")
SIDECAR = "sidecar of a photo"
SIDECAR_ENDINGS = _endings("aae json thm xmp")

PICTURE_ENDINGS = _endings("jpg jpeg jpe jfif png gif webp tif tiff bmp avif heic heif img")

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


def at_side(image: Image.Image, side: int | None) -> Image.Image:
    """A picture whose long side is ``side`` pixels; ``None``: as it is."""
    if side is None or max(image.size) == side:
        return image
    width, height = (max(1, round(x * side / max(image.size))) for x in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def open_picture(source: str | Path | bytes, formats: Sequence[str] = FORMATS) -> Image.Image:
    """Open a picture as far as its header; its pixels are decoded when they are asked for.

    Args:
        source: a file (a link is followed), or its content.
        formats: those of :data:`FORMATS` that are allowed.

    Raises:
        PhotoError: it is no regular file, of another format, damaged, or larger than
            :data:`MAX_PHOTO_PIXELS`.
    """
    if isinstance(source, bytes):
        file, head = io.BytesIO(source), source[:12]
    else:
        file, head = source, photo_bytes(source, 12)
    path = "" if isinstance(source, bytes) else source
    with _refusals(head, path):
        if head[4:8] == b"ftyp" and "HEIF" in formats:
            _register_heif()
            if head[8:] in HEIF_BRANDS and head[8:] not in HEIF_BRANDS_READ:
                data = source if isinstance(source, bytes) else photo_bytes(source)
                file = io.BytesIO(data[:8] + b"mif1" + data[12:])
        else:
            formats = [form for form in formats if form != "HEIF"]
        image = Image.open(file, formats=list(formats))
        if image.width * image.height > MAX_PHOTO_PIXELS:
            image.close()
            raise PhotoError("too large")
        if image.format == "TIFF" and _is_raw(image, path):
            image.close()
            raise PhotoError(RAW)
        return image


def glance(path: str | Path) -> None:
    """Refuse a file that is no photo by its first bytes; what begins as one may yet be damaged.

    Raises:
        PhotoError: whatever shows.
    """
    try:
        known = stat.S_ISREG(os.stat(path).st_mode)  # a named pipe would be waited for for ever
        if known:
            with open(path, "rb", buffering=0) as file:
                known = file.read(12).startswith((b"\xff\xd8\xff", b"\x89PNG"))
    except (OSError, ValueError) as error:
        raise PhotoError(reason_of(error)) from None
    if not known:
        open_picture(path).close()


def is_known(name: str, data: bytes) -> bool:
    """Whether a file of an archive is a picture, by the end of its name or how it begins."""
    known = data.startswith(PHOTO_HEADS) or data[8:12] in (*HEIF_BRANDS, *AVIF_BRANDS)
    return known or Path(f"_.{name}").suffix.lower() in PICTURE_ENDINGS


def open_photo(path: str | Path, size: int, side: str = "long") -> Image.Image:
    """Open a photo upright, as RGB, resized.

    Args:
        path: a file; a link is followed.
        size: largest length of the bounded side, in pixels. Nothing is enlarged.
        side: which side ``size`` bounds: ``long`` or ``short``.

    Raises:
        PhotoError: whatever is wrong with the file.
    """
    with open_picture(path) as image, _refusals():
        return _decoded(image, size, side)


def open_image_bytes(data: bytes) -> Image.Image:
    """Open an image given as bytes (of a parquet column): RGB, in its own size, not turned.

    Raises:
        PhotoError: whatever is wrong with the bytes.
    """
    with open_picture(data) as image, _refusals():
        _check_memory(image)
        return to_rgb(image)


def photo_bytes(path: str | Path, most: int = -1) -> bytes:
    """The content of a file, or its first ``most`` bytes.

    Raises:
        PhotoError: it is no regular file, empty, or cannot be read.
    """
    with _refusals():
        info = os.stat(path)  # before opening: reading a named pipe would wait for ever
        if not stat.S_ISREG(info.st_mode):
            raise PhotoError("not a file")
        if info.st_size == 0:
            raise PhotoError("empty file")
        with open(path, "rb") as file:
            return file.read(most)


def orientation(image: Image.Image) -> int:
    """What EXIF says of how an opened picture is to be turned: 1 (not at all) to 8."""
    try:
        return image.getexif().get(0x0112, 1)
    except Exception:  # unreadable EXIF is no reason to lose the photo
        return 1


def _decoded(image: Image.Image, size: int, side: str) -> Image.Image:
    target = fitted(*image.size, size, side)
    if max(image.size) > MAX_RATIO * min(image.size):
        raise PhotoError("too long for its width")
    if min(target) < MIN_SIDE:
        raise PhotoError("too small")
    # A large JPEG is decoded at 1/2, 1/4 or 1/8: faster, and as good while twice the size is left.
    drafted = image.draft(None, (2 * target[0], 2 * target[1]))
    _check_memory(image)
    image.load()
    if not drafted:
        target = fitted(*image.size, size, side)  # loading turns a TIFF upright
    turn = UPRIGHT.get(orientation(image))
    plain = image.mode == "RGB" and not image.has_transparency_data  # saves a copy
    image = (image if plain else to_rgb(image)).resize(target, Image.Resampling.LANCZOS)
    image.info = {}
    return image if turn is None else image.transpose(turn)


def to_rgb(image: Image.Image) -> Image.Image:
    """Any pillow mode as 8-bit RGB, and nothing but pixels: transparency on white, deep pixels
    scaled and not clipped."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
    elif image.mode in ("I", "F"):
        values = np.array(image, dtype=np.float32)
        np.nan_to_num(values, copy=False, posinf=0, neginf=0).clip(0, out=values)
        # These modes do not say which value is white: take the smallest usual range that fits.
        white = next((w for w in (1, 255, 65535) if values.max() <= w), values.max())
        values *= 255 / white
        image = Image.fromarray(values.round(out=values).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        ground = Image.new("RGB", image.size, "white")
        ground.paste(image, mask=image.getchannel("A"))
        return ground
    image = image.convert("RGB")
    image.info = {}
    return image


def reason_of(error: Exception, head: bytes = b"", path: str | Path = "") -> str:
    """What is wrong with a file that begins with ``head``, in a few words."""
    if isinstance(error, UnidentifiedImageError):
        return _what_it_is(head, Path(path).suffix.lower())
    if isinstance(error, Image.DecompressionBombError | MemoryError):
        return "too large"
    if isinstance(error, PermissionError):
        return "no permission to read"
    if isinstance(error, FileNotFoundError):
        return "broken link"
    if isinstance(error, OSError) and error.errno == errno.ELOOP:
        return "symlink loop"
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return "name too long"
    if isinstance(error, UnicodeEncodeError) or "null byte" in str(error):
        return "name that is none"
    return "truncated" if "truncated" in str(error).lower() else "damaged"


def _what_it_is(head: bytes, ending: str) -> str:
    """What a file is that pillow does not know."""
    brand = head[8:12] if head[4:8] == b"ftyp" else b""
    if brand in HEIF_BRANDS:
        return "damaged HEIF"
    if brand == b"crx " or head.startswith(RAW_HEADS) or ending in RAW_ENDINGS:
        return RAW
    if head.startswith(PHOTO_HEADS) or brand in AVIF_BRANDS:
        return "damaged"
    if brand or ending in VIDEO_ENDINGS:
        return VIDEO
    return SIDECAR if ending in SIDECAR_ENDINGS else "not an image"


def _is_raw(image: Image.Image, path: str | Path) -> bool:
    """Whether a TIFF is a camera's raw file, whose first picture is a thumbnail."""
    tags = getattr(image, "tag_v2", {})
    return (
        Path(path).suffix.lower() in RAW_ENDINGS
        or bool(tags.get(_REDUCED, 0) & 1)
        or _DNG_VERSION in tags
        or tags.get(_PHOTOMETRIC) in _OF_A_SENSOR
    )


def _check_memory(image: Image.Image) -> None:
    """Refuse a picture that would take more than :data:`MAX_PHOTO_BYTES` to become RGB."""
    if image.has_transparency_data:
        each = 13  # as stored, as RGBA, as RGB, and the mask
    elif image.mode in ("I", "F"):
        each = 18  # as stored, twice as numbers, as bytes and as RGB
    elif image.mode.startswith("I;16"):
        each = 10
    else:
        each = {"RGB": 4, "L": 5, "P": 5, "1": 5}.get(image.mode, 8)
    if image.width * image.height * each > MAX_PHOTO_BYTES:
        raise PhotoError("too large")


def _register_heif() -> None:
    import pillow_heif  # only for such files: loading its libraries takes time

    pillow_heif.register_heif_opener()


@contextmanager
def _refusals(head: bytes = b"", path: str | Path = "") -> Iterator[None]:
    """Make a :class:`PhotoError` of whatever is raised inside, and silence pillow's warnings of odd
    EXIF: only the pixels matter."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except PhotoError:
        raise
    except Exception as error:
        # Not only OSError: on damaged files pillow's decoders also raise SyntaxError, ValueError,
        # EOFError, IndexError, struct.error, zlib.error and more.
        raise PhotoError(reason_of(error, head, path)) from None
