"""Photos as people keep them: each kind that a camera, a scanner or an accident makes."""

import errno
import io
import os
import random
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from data_gen.images.photos import PhotoError, at_side, fitted, open_photo
from data_gen.sources.photo_folders import scan

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def halves(left=RED, right=BLUE, mode="RGB", size=(60, 40)) -> Image.Image:
    image = Image.new(mode, size, left)
    image.paste(Image.new(mode, (size[0] // 2, size[1]), right), (size[0] // 2, 0))
    return image


def near(pixel, colour, tolerance=12) -> bool:
    return all(abs(a - b) <= tolerance for a, b in zip(pixel, colour, strict=True))


def refusal(path) -> str:
    with pytest.raises(PhotoError) as error:
        open_photo(path, 32)
    return str(error.value)


# ---- what is usable ----


@pytest.mark.parametrize(
    ("size", "side", "expected"),
    [
        (30, "long", (30, 20)),
        (20, "short", (30, 20)),
        (500, "long", (60, 40)),
    ],
)
def test_size_bounds_one_side_and_never_enlarges(tmp_path, size, side, expected):
    halves().save(tmp_path / "a.png")
    assert open_photo(tmp_path / "a.png", size, side).size == expected
    assert fitted(60, 40, size, side) == expected


def test_a_picture_is_brought_to_a_side_also_by_enlarging_it():
    wide = at_side(Image.new("RGB", (80, 30)), 40)
    assert wide.size == (40, 15) and at_side(wide, None) is wide and at_side(wide, 40) is wide
    assert at_side(wide, 80).size == (80, 30)


def test_no_side_becomes_nothing():
    assert fitted(10_000, 1, 64) == (64, 1)


@pytest.mark.parametrize("suffix", ["jpg", "tif", "png", "webp"])
@pytest.mark.parametrize(
    ("orientation", "where_red_is"),
    [
        (1, "left"),
        (2, "right"),
        (3, "right"),
        (4, "left"),
        (5, "top"),
        (6, "top"),
        (7, "bottom"),
        (8, "bottom"),
    ],
)
def test_exif_rotation_is_applied(tmp_path, suffix, orientation, where_red_is):
    exif = Image.Exif()
    exif[0x0112] = orientation
    halves().save(tmp_path / f"a.{suffix}", exif=exif)
    photo = open_photo(tmp_path / f"a.{suffix}", 100)
    w, h = photo.size
    assert (w, h) == ((60, 40) if where_red_is in ("left", "right") else (40, 60))
    at = {
        "left": (5, h // 2),
        "right": (w - 6, h // 2),
        "top": (w // 2, 5),
        "bottom": (w // 2, h - 6),
    }
    assert near(photo.getpixel(at[where_red_is]), RED)


def test_a_rotated_photo_larger_than_asked_for_is_bounded_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    halves(size=(1600, 800)).save(tmp_path / "a.jpg", exif=exif)
    photo = open_photo(tmp_path / "a.jpg", 100)
    assert photo.size == (50, 100) and near(photo.getpixel((25, 10)), RED)


def test_unreadable_exif_does_not_lose_the_photo(tmp_path):
    halves().save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff junk")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_photo(tmp_path / "a.jpg", 100).size == (60, 40)


@pytest.mark.parametrize("mode", ["L", "1"])
def test_grey(tmp_path, mode):
    halves(0, 255, "L").convert(mode).save(tmp_path / "a.png")
    photo = open_photo(tmp_path / "a.png", 100)
    assert photo.mode == "RGB"
    assert photo.getpixel((2, 2)) == (0, 0, 0) and photo.getpixel((58, 2)) == (255, 255, 255)


def test_transparency_is_put_on_white(tmp_path):
    halves((255, 0, 0, 255), (0, 0, 255, 0), "RGBA").save(tmp_path / "rgba.png")
    halves((0, 255), (0, 0), "LA").save(tmp_path / "la.png")
    palette = halves().convert("P", palette=Image.Palette.ADAPTIVE)
    blue = palette.getpixel((58, 2))
    palette.save(tmp_path / "palette.gif", transparency=blue)
    palette.save(tmp_path / "palette.png", transparency=blue)
    halves().save(tmp_path / "rgb.png", transparency=BLUE)
    for name, left in {
        "rgba.png": RED,
        "la.png": (0, 0, 0),
        "palette.gif": RED,
        "palette.png": RED,
        "rgb.png": RED,
    }.items():
        photo = open_photo(tmp_path / name, 100)
        assert photo.getpixel((58, 2)) == (255, 255, 255), name
        assert near(photo.getpixel((2, 2)), left), name


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk(tmp_path, suffix):
    halves().convert("CMYK").save(tmp_path / f"a.{suffix}")
    photo = open_photo(tmp_path / f"a.{suffix}", 100)
    assert near(photo.getpixel((5, 20)), RED, 40) and near(photo.getpixel((55, 20)), BLUE, 40)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_pixels_are_scaled_not_clipped(tmp_path, suffix):
    deep = np.zeros((20, 20), np.uint16)
    deep[:, 10:] = 32768
    deep[10:, 10:] = 65535
    Image.fromarray(deep).save(tmp_path / f"a.{suffix}")
    photo = open_photo(tmp_path / f"a.{suffix}", 100)
    assert [photo.getpixel(at)[0] for at in ((2, 2), (17, 2), (17, 17))] == [0, 127, 255]


@pytest.mark.parametrize(
    ("dtype", "white"),
    [(np.int32, 65535), (np.float32, 1.0), (np.float32, 255.0), (np.int32, 10**6)],
)
def test_32_bit_and_float_pixels_are_scaled(tmp_path, dtype, white):
    deep = np.zeros((20, 20), dtype)
    deep[:, 10:] = white
    if dtype is np.float32:
        deep[0, 0] = np.nan
    Image.fromarray(deep).save(tmp_path / "a.tif")
    photo = open_photo(tmp_path / "a.tif", 100)
    assert photo.getpixel((2, 17)) == (0, 0, 0) and photo.getpixel((17, 17)) == (255, 255, 255)


# ---- what is not ----


def test_empty_and_other_files_are_refused(tmp_path):
    (tmp_path / "a.jpg").touch()
    (tmp_path / "b.jpg").write_text("dear diary")
    (tmp_path / "c.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(50))
    (tmp_path / "d.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(30))
    (tmp_path / "e").mkdir()
    os.mkfifo(tmp_path / "f.jpg")
    assert refusal(tmp_path / "a.jpg") == "empty file"
    assert refusal(tmp_path / "b.jpg") == "not an image"
    assert refusal(tmp_path / "c.heic") == "damaged HEIF"
    assert refusal(tmp_path / "d.png") == "damaged"
    assert refusal(tmp_path / "e") == refusal(tmp_path / "f.jpg") == "not a file"


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "tif", "webp", "bmp"])
def test_half_a_file_is_refused(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 255, (90, 90, 3), np.uint8)
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert refusal(path) in ("truncated", "damaged")
    assert suffix not in ("jpg", "png") or refusal(path) == "truncated"


def test_links_that_lead_nowhere_are_refused(tmp_path):
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    assert refusal(tmp_path / "loop.jpg") == "symlink loop"
    assert refusal(tmp_path / "gone.jpg") == "broken link"


def test_a_file_one_may_not_read_is_refused(tmp_path, monkeypatch):
    halves().save(tmp_path / "a.png")

    def forbidden(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Image, "open", forbidden)  # chmod would not stop root
    assert refusal(tmp_path / "a.png") == "no permission to read"


def png_claiming(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return len(data).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    pixels = zlib.compress(bytes(10**6))
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize("side", [11_000, 60_000])
def test_a_decompression_bomb_is_not_decoded(tmp_path, side):
    (tmp_path / "bomb.png").write_bytes(png_claiming(side, side))
    assert refusal(tmp_path / "bomb.png") == "too large"


@pytest.mark.parametrize("size", [(1, 1), (2000, 30)])
def test_specks_and_slivers_are_refused(tmp_path, size):
    Image.new("RGB", size).save(tmp_path / "a.png")
    assert refusal(tmp_path / "a.png") == "too small"


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "tif", "webp", "bmp"])
def test_whatever_a_damaged_file_holds_only_a_photo_error_comes_out(tmp_path, suffix):
    rng = random.Random(suffix)
    buffer = io.BytesIO()
    halves().save(buffer, {"jpg": "jpeg", "tif": "tiff"}.get(suffix, suffix))
    for _ in range(150):
        data = bytearray(buffer.getvalue())
        for _ in range(rng.randint(1, 12)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        (tmp_path / "a").write_bytes(data[: rng.randint(1, 2 * len(data))])
        try:
            assert open_photo(tmp_path / "a", 32).mode == "RGB"
        except PhotoError as reason:
            assert str(reason)


# ---- finding them ----


def test_scan_names_everything_it_leaves_out(tmp_path):
    for number, name in enumerate(("cat/00.jpg", "cat/01.JPG", "cat/more/02.png", "dog/00.jpeg")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        halves(right=(0, 60 * number, 255)).save(tmp_path / name)
    (tmp_path / "cat/.DS_Store").write_text("x")
    (tmp_path / "cat/._00.jpg").write_text("x")
    (tmp_path / "cat/Thumbs.db").write_text("x")
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "cat/loop").symlink_to(tmp_path / "cat", target_is_directory=True)
    (tmp_path / "again").symlink_to(tmp_path / "cat", target_is_directory=True)
    (tmp_path / "dog/notes.txt").write_text("good dog")
    (tmp_path / "dog/zero.jpg").touch()
    (tmp_path / "dog/copy.jpg").write_bytes((tmp_path / "dog/00.jpeg").read_bytes())
    (tmp_path / "bird").mkdir()
    halves().save(tmp_path / "stray.png")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")

    folders, skipped = scan(tmp_path)
    found = {f.name: [p.relative_to(tmp_path).as_posix() for p in f.photos] for f in folders}
    assert found == {"cat": ["cat/00.jpg", "cat/01.JPG", "cat/more/02.png"], "dog": ["dog/00.jpeg"]}
    assert {reason: skipped.places(reason) for reason in skipped.counts} == {
        "hidden": ["__MACOSX", "cat/.DS_Store", "cat/._00.jpg", "cat/Thumbs.db"],
        "symlink loop": ["cat/loop", "loop"],
        "the same folder as another": ["again"],
        "empty folder": ["bird"],
        "beside the subjects' folders": ["stray.png"],
        "not an image": ["dog/notes.txt"],
        "empty file": ["dog/zero.jpg"],
        "a copy of another": ["dog/copy.jpg"],
    }


def test_a_picture_in_two_subjects_folders_is_used_for_neither(tmp_path):
    for name in ("cat/0.png", "dog/0.png"):
        (tmp_path / name).parent.mkdir()
        halves().save(tmp_path / name)
    halves(left=GREEN).save(tmp_path / "dog/1.png")
    folders, skipped = scan(tmp_path)
    assert [(f.name, len(f.photos)) for f in folders] == [("dog", 1)]
    assert skipped.to_json() == {
        "in two subjects' folders": {"count": 2, "where": ["cat/0.png", "dog/0.png"]}
    }


def test_file_names_that_are_not_text_are_named_all_the_same(tmp_path):
    (tmp_path / "cat").mkdir()
    with open(os.fsencode(tmp_path / "cat") + b"/\xff\n.jpg", "wb"):
        pass
    assert scan(tmp_path)[1].places("empty file") == ["cat/\\xff\\n.jpg"]
