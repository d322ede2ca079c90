"""Photos as people have them: whose folder it is, what is no photo of theirs, what is one twice."""

import io
import json
import os
import time
import tracemalloc
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, TiffImagePlugin

from concepts.importers import folder_database
from data_gen.files.errors import SourceError
from data_gen.images.near_copies import are_near, copies_of_earlier, look_of
from data_gen.images.photos import RAW, PhotoError, open_photo
from data_gen.rows import ICT, OCT, write_rows
from data_gen.sources import photo_folders
from data_gen.sources.folders import folder_rows
from data_gen.sources.photo_folders import PhotoPaths, printable, scan, summary


def photo(seed: int, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """A scene of its own: smooth blobs of many shades, as unlike others as photos are."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC)


def album(root: Path, *folders: str, n: int = 3, first: int = 0) -> Path:
    for f, name in enumerate(folders):
        (root / name).mkdir(parents=True)
        for p in range(n):
            photo(first + 100 * f + p).save(root / name / f"{p:02d}.jpg", quality=92)
    return root


def heif(brand: bytes, seed: int = 7) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    buffer = io.BytesIO()
    photo(seed).save(buffer, "HEIF")
    data = buffer.getvalue()
    return data[:8] + brand + data[12:]


def tiff(path: Path, **tags) -> None:
    """A TIFF whose first picture is small, with further tags."""
    info = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in tags.items():
        info[int(tag.removeprefix("t"))] = value
    photo(5).save(path, "TIFF", tiffinfo=info)


def rows_of(root: Path, n: int = 20, report=lambda _: None, **more) -> list[dict]:
    counts = {OCT: n, ICT: n // 2}
    return list(folder_rows(root, seed=0, counts=counts, size=48, report=report, **more))


def photos_of(row: dict) -> list[str]:
    return row["source"].removeprefix("folders: ").rpartition(" (")[0].split(" | ")


# ---- whose folder it is ----


NAMES = ["👩‍🚀 Ana", "می‌خواهم", "うちの　犬", "Chez Léa", "\u202bגברת\u202c", "bo\tx"]


def test_names_are_the_folders_own_and_find_their_classes(tmp_path):
    root = album(tmp_path / "album", *NAMES)
    (root / "classes.csv").write_text(
        "".join(f"{name};dog\n" for name in NAMES if "\t" not in name)
    )
    folders, _ = scan(root)
    assert {folder.name for folder in folders} == set(NAMES)
    lines = []
    rows_of(root, 2, lines.append)
    assert "1 without a class in classes.csv (bo\\tx)" in lines[0] and "\ufffd" not in lines[0]


def test_a_database_has_the_names_as_they_are(tmp_path):
    """…without the marks of direction that a system put around one."""
    root = album(tmp_path / "album", *NAMES[:5])
    database, skipped = folder_database(root, tmp_path / "database.json")
    assert not skipped and set(database.concepts()) == {*NAMES[:4], "גברת"}


def test_folders_that_print_alike_stay_apart(tmp_path):
    names = [b"Zo\xe9", b"Zo\xeb", b"\x8c\xa2"]
    for i, name in enumerate(names):
        album(tmp_path / "album", os.fsdecode(name), first=1000 * i)
    folders, _ = scan(tmp_path / "album")
    assert len(folders) == 3 and len({folder.name for folder in folders}) == 3
    assert all(folder.name.encode() and len(folder.photos) == 3 for folder in folders)
    wheres = {printable(path) for folder in folders for path in folder.photos}
    assert len(wheres) == 9 and any(r"Zo\xe9" in where for where in wheres)


@pytest.mark.parametrize("name", ["Zoé", "Müller", "がろ", "한국"])
def test_two_unicode_forms_are_one_subject(tmp_path, name):
    root = tmp_path / "album"
    for i, form in enumerate(("NFC", "NFD")):
        album(root, unicodedata.normalize(form, name), first=1000 * i)
    album(root, "mug", first=5000)
    folders, _ = scan(root)
    assert [len(folder.photos) for folder in folders] in ([6, 3], [3, 6])
    for row in rows_of(root):
        subjects = {unicodedata.normalize("NFC", where.split("/")[0]) for where in photos_of(row)}
        if row["task"] == OCT:
            assert (len(subjects) == 1) == (row["answer"] == "yes")


@pytest.mark.parametrize("names", [("Bo", "bo"), ("Ｂｏ", "Bo"), ("Straße", "STRASSE")])
def test_nearly_one_name_is_neither_yes_nor_no(tmp_path, names):
    root = album(tmp_path / "album", *names, "mug", "cup")
    for row in rows_of(root, 40):
        subjects = {where.split("/")[0] for where in photos_of(row)}
        assert row["task"] != OCT or subjects != set(names)


# ---- what is no photo of theirs ----


@pytest.mark.parametrize(
    "place",
    [
        "@eaDir/00.jpg/SYNOPHOTO_THUMB_SM.jpg",
        "bo/@eaDir/00.jpg/SYNOPHOTO_THUMB_XL.jpg",
        "#recycle/00.jpg",
        "bo/.thumbnails/00.jpg",
        "lost+found/00.jpg",
        "bo/._00.jpg",
        "Photos from 2023/00.jpg",
    ],
)
def test_what_systems_leave_is_no_photo(tmp_path, place):
    root = album(tmp_path / "album", "bo", "mina")
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    photo(999).save(root / place, "JPEG")
    folders, skipped = scan(root)
    assert [len(folder.photos) for folder in folders] == [3, 3] and skipped.total == 1


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("9.dng", lambda p: tiff(p, t254=1, t50706=b"\1\4\0\0")),
        ("9.NEF", lambda p: tiff(p, t254=1)),
        ("9.tif", lambda p: tiff(p, t254=1)),  # renamed
        ("9.arw", lambda p: tiff(p)),
        ("9.tiff", lambda p: tiff(p, t50706=b"\1\4\0\0")),
        ("9.cr3", lambda p: p.write_bytes(b"\0\0\0\x18ftypcrx " + bytes(40))),
        ("9.raf", lambda p: p.write_bytes(b"FUJIFILMCCD-RAW " + bytes(40))),
        ("9.orf", lambda p: p.write_bytes(b"IIRO\x08\0\0\0" + bytes(40))),
    ],
)
def test_a_raw_file_is_not_its_thumbnail(tmp_path, name, make):
    root = album(tmp_path / "album", "bo")
    make(root / "bo" / name)
    (folder,), skipped = scan(root)
    assert len(folder.photos) == 3 and skipped.places(RAW) == [f"bo/{name}"]


def test_an_ordinary_tiff_is_a_photo(tmp_path):
    tiff(tmp_path / "a.tif")
    assert open_photo(tmp_path / "a.tif", 64).size == (64, 48)


@pytest.mark.parametrize(
    "brand",
    [
        *("heic", "heix", "heim", "heis", "hevc", "hevx", "hevm", "hevs", "mif1", "msf1"),
        *("mif2", "heif", "MiHE", "avci"),
    ],
)
def test_heif_of_all_brands_is_read_or_named(tmp_path, brand):
    path = tmp_path / "a.heic"
    path.write_bytes(heif(brand.encode()))
    seen = np.asarray(open_photo(path, 64), dtype=int)
    assert np.abs(seen - np.asarray(photo(7), dtype=int)).mean() < 12
    path.write_bytes(b"\0\0\0\x18ftyp" + brand.encode() + bytes(40))
    with pytest.raises(PhotoError, match="damaged HEIF"):
        open_photo(path, 64)


def test_avif_is_read(tmp_path):
    photo(7).save(tmp_path / "a.avif")
    seen = np.asarray(open_photo(tmp_path / "a.avif", 64), dtype=int)
    assert np.abs(seen - np.asarray(photo(7), dtype=int)).mean() < 12


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.MOV", b"\0\0\0\x14ftypqt  " + bytes(40), "video"),
        ("a.MP", b"\0\0\0\x14ftypmp42" + bytes(40), "video"),
        ("a.mp4", bytes(40), "video"),
        ("00.jpg.supplemental-metadata.json", b"{}", "sidecar of a photo"),
        ("IMG_1.AAE", b"<?xml", "sidecar of a photo"),
        ("a.txt", b"hello", "not an image"),
    ],
)
def test_what_lies_beside_photos_is_named(tmp_path, name, content, reason):
    root = album(tmp_path / "album", "bo")
    (root / "bo" / name).write_bytes(content)
    assert scan(root)[1].counts == {reason: 1}


@pytest.mark.parametrize("size", [(2000, 9), (9, 2000), (4100, 20)])
def test_a_strip_is_left_out(tmp_path, size):
    photo(1, size).save(tmp_path / "a.png")
    with pytest.raises(PhotoError, match="too long for its width"):
        open_photo(tmp_path / "a.png", 4000)
    photo(1, (200, 20)).save(tmp_path / "b.png")
    assert open_photo(tmp_path / "b.png", 4000).size == (200, 20)


# ---- the same shot twice ----


def saved_again(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=40)
    return Image.open(buffer)


COPIES = {
    "saved again": saved_again,
    "half the size": lambda image: image.resize((32, 24)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "more contrast": lambda image: ImageEnhance.Contrast(image).enhance(1.3),
    "grey": lambda image: image.convert("L"),
    "a burst's next": lambda image: image.crop((1, 0, 64, 48)),
}


@pytest.mark.parametrize("kind", COPIES)
def test_a_near_copy_is_used_once(tmp_path, kind):
    root = album(tmp_path / "album", "bo", "mina")
    COPIES[kind](Image.open(root / "bo" / "00.jpg")).convert("RGB").save(
        root / "bo" / "WhatsApp.png"
    )
    folders, skipped = scan(root)
    assert [len(folder.photos) for folder in folders] == [3, 3]
    assert skipped.places("a near copy of another") == ["bo/WhatsApp.png of 00.jpg"]


def test_a_shot_in_two_subjects_folders_is_nobodys(tmp_path):
    root = album(tmp_path / "album", "bo", "mina")
    saved_again(Image.open(root / "bo" / "00.jpg")).save(root / "mina" / "sent.png")
    Image.open(root / "bo" / "00.jpg").save(root / "bo" / "again.png")
    folders, skipped = scan(root)
    assert [len(folder.photos) for folder in folders] == [2, 3]
    assert skipped.places("near copies in two subjects' folders") == [
        "bo/00.jpg of sent.png",
        "bo/again.png of sent.png",
        "mina/sent.png of 00.jpg",
    ]


def test_a_copy_of_what_two_folders_hold_is_nobodys_either(tmp_path):
    root = album(tmp_path / "album", "bo", "mina")
    shot = (root / "bo" / "00.jpg").read_bytes()
    (root / "mina" / "sent.jpg").write_bytes(shot)
    Image.open(root / "bo" / "00.jpg").resize((32, 24)).save(root / "bo" / "small.png")
    folders, skipped = scan(root)
    assert [len(folder.photos) for folder in folders] == [2, 3]
    assert skipped.places("in two subjects' folders") == ["bo/00.jpg", "mina/sent.jpg"]
    assert skipped.places("near copies in two subjects' folders") == ["bo/small.png of sent.jpg"]


def test_the_first_of_many_looks_is_the_original():
    """…that is itself no copy, whatever lies between; as comparing each with each finds it."""
    shots = [photo(seed % 5).resize((64 - seed, 48)) for seed in range(20)]
    found = copies_of_earlier([look_of(shot) for shot in shots])
    assert found == {i: i % 5 for i in range(5, 20)}


def test_other_shots_are_no_copies():
    looks = [look_of(photo(seed)) for seed in range(40)]
    assert not any(are_near(a, b) for i, a in enumerate(looks) for b in looks[:i])
    red, blue = (look_of(Image.new("RGB", (9, 9), colour)) for colour in ("red", "blue"))
    assert are_near(red, red) and not are_near(red, blue)  # of one shade each


@pytest.mark.parametrize(
    ("edit", "original"),
    [
        ("00-edited.jpg", "00.jpg"),  # Google Takeout
        ("00-bearbeitet.jpg", "00.jpg"),
        ("IMG_E0012.JPG", "IMG_0012.HEIC"),  # an iPhone
    ],
)
def test_an_edit_is_known_by_its_name(tmp_path, edit, original):
    root = album(tmp_path / "album", "bo")
    photo(50).save(root / "bo" / edit, "JPEG")  # cropped beyond recognition
    if not (root / "bo" / original).exists():
        photo(60).save(root / "bo" / original, "PNG")
    (folder,), skipped = scan(root)
    assert skipped.places("an edited copy of another") == [f"bo/{edit}"]
    (root / "bo" / original).unlink()
    assert "an edited copy of another" not in scan(root)[1]  # by itself it is a photo like any


def test_takeout_and_live_photos_as_they_come(tmp_path):
    """An album's photos are in a folder of their year, too; a Live Photo is a still and a film."""
    root = album(tmp_path / "Google Photos", "Bo", "Mina")
    (root / "Photos from 2023").mkdir()
    for name in ("Bo", "Mina"):
        for path in sorted((root / name).iterdir()):
            (root / "Photos from 2023" / f"{name}{path.name}").write_bytes(path.read_bytes())
            path.with_name(f"{path.name}.supplemental-metadata.json").write_text(
                json.dumps({"geoData": {"latitude": 47.1}})
            )
        (root / name / "metadata.json").write_text("{}")
        (root / name / "IMG_0001.HEIC").write_bytes(heif(b"heic", 300 + len(name)))
        (root / name / "IMG_0001.MOV").write_bytes(b"\0\0\0\x14ftypqt  " + bytes(9))
        Image.open(root / name / "00.jpg").save(root / name / "00(1).jpg", quality=70)
    folders, skipped = scan(root)
    assert {folder.name: len(folder.photos) for folder in folders} == {"Bo": 4, "Mina": 4}
    assert skipped.counts == {
        "sidecar of a photo": 8,
        "a near copy of another": 2,
        "video": 2,
        "a year of Google Takeout, which repeats the albums": 1,
    }


# ---- the level of the folders ----


def test_same_named_sub_folders_are_warned_of(tmp_path):
    album(tmp_path / "2023", "bo", "mina")
    album(tmp_path / "2024", "bo", "mina", first=3000)
    line = summary(*scan(tmp_path))
    assert "a warning: photos of 2023 and 2024 lie in sub-folders of the same name (" in line
    album(tmp_path / "other", "x", "y", first=6000)
    assert "warning" not in summary(*scan(tmp_path / "other"))


def test_one_level_too_high_is_said(tmp_path):
    album(tmp_path / "Takeout" / "Google Photos", "bo", "mina")
    with pytest.raises(SourceError, match="if these are the subjects, give .*Google Photos"):
        rows_of(tmp_path / "Takeout")


# ---- many photos ----


def test_of_many_photos_only_the_first_bytes_are_read(tmp_path, monkeypatch):
    """What is then found to be damaged, or a copy, costs its row and nothing else."""
    root = album(tmp_path / "album", "bo", "mina", n=4)
    Image.open(root / "bo" / "00.jpg").save(root / "bo" / "0b.jpg", quality=40)
    whole = (root / "mina" / "01.jpg").read_bytes()
    (root / "mina" / "01.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "bo" / "notes.jpg").write_text("no photo")
    monkeypatch.setattr(photo_folders, "MOST_OPENED", 5)
    folders, skipped = scan(root)
    assert skipped.counts == {"not an image": 1}
    assert [len(folder.photos) for folder in folders] == [5, 4]
    rows = folder_rows(root, seed=0, counts={OCT: 200}, size=48, report=lambda _: None)
    made = [rows.make(OCT, i) for i in range(200)]
    reasons = {row.reason for row in made if not isinstance(row, dict)}
    assert reasons == {"truncated", "reference and query are near copies"}
    for row in made:
        if isinstance(row, dict):
            assert not {"bo/00.jpg", "bo/0b.jpg"} <= set(photos_of(row))


def test_of_many_photos_none_is_a_no_of_its_near_copy(tmp_path, monkeypatch):
    """A shot in two subjects' folders shows one of the two, and who is not told."""
    root = album(tmp_path / "album", "bo", "mina", n=2)
    Image.open(root / "bo" / "00.jpg").save(root / "mina" / "01.jpg", quality=40)
    monkeypatch.setattr(photo_folders, "MOST_OPENED", 3)
    rows = folder_rows(root, seed=0, counts={OCT: 30, ICT: 30}, size=48, report=lambda _: None)
    made = [rows.make(task, i) for task in (OCT, ICT) for i in range(30)]
    refused = [row.reason for row in made if not isinstance(row, dict)]
    assert set(refused) == {"reference and query are near copies"}
    for row in made:
        if isinstance(row, dict) and row["task"] == OCT:
            assert set(photos_of(row)) != {"bo/00.jpg", "mina/01.jpg"}


def test_many_photos_are_scanned_fast_and_in_little_memory(tmp_path, monkeypatch):
    """At 20 times the rate at which they decode, in less than a kilobyte each."""
    n = 300
    buffer = io.BytesIO()
    photo(1, (1600, 1200)).save(buffer, "JPEG", quality=85)
    for i in range(n):
        path = tmp_path / "album" / f"s{i % 3}" / f"{i:03d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(buffer.getvalue() + bytes(i))
    start = time.process_time()
    for i in range(5):
        Image.open(tmp_path / "album" / "s0" / f"{3 * i:03d}.jpg").load()
    decoding = (time.process_time() - start) / 5
    monkeypatch.setattr(photo_folders, "MOST_OPENED", 100)
    scan(tmp_path / "album")  # once for the caches
    start = time.process_time()
    folders, skipped = scan(tmp_path / "album")
    scanning = (time.process_time() - start) / n
    assert not skipped and [len(folder.photos) for folder in folders] == [100, 100, 100]
    assert decoding >= 20 * scanning
    tracemalloc.start()
    scan(tmp_path / "album")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 1024 * n + 200_000


def test_paths_of_photos_take_little_memory():
    n = 1000
    tracemalloc.start()
    paths = PhotoPaths(f"/photos/album/{i:06d}.jpg" for i in range(n))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 150 * n
    assert len(paths) == n and paths[:1] == [Path("/photos/album/000000.jpg")]
    assert paths[n - 1] == Path("/photos/album/000999.jpg")
    assert all(isinstance(path, Path) for path in paths)


# ---- where a photo was taken ----


def located(path: Path, seed: int) -> None:
    """A photo with its place in EXIF, as phones write it, and in XMP and a comment."""
    exif = Image.Exif()
    exif[0x010F] = "SECRETMAKER"
    gps = exif.get_ifd(0x8825)
    gps[1], gps[2], gps[3], gps[4] = "N", (47.0, 22.0, 33.3), "E", (8.0, 32.0, 11.1)
    gps[29] = "2026:01:02"
    photo(seed).save(
        path,
        "JPEG",
        exif=exif,
        comment=b"SECRETPLACE",
        xmp=b"<x:SECRETXMP exif:GPSLatitude='47,22N'/>",
    )


def test_no_place_of_a_photo_comes_out(tmp_path):
    """…neither in rows, parquet or tar, nor in a database."""
    root = tmp_path / "album"
    for f, name in enumerate(("bo", "mina")):
        (root / name).mkdir(parents=True)
        for p in range(3):
            located(root / name / f"{p}.jpg", 100 * f + p)
            (root / name / f"{p}.jpg.json").write_text('{"geoData": {"latitude": 47.3759}}')
    secrets = [b"SECRET", b"GPSLatitude", b"2026:01:02", b"Exif\0", b"47.3759"]
    held = (root / "bo" / "0.jpg").read_bytes()
    assert sum(secret in held for secret in secrets) == 4
    for form in ("parquet", "webdataset"):
        write_rows(
            rows_of(root, 8), tmp_path / "out" / form, seed=0, generator="folders", form=form
        )
    folder_database(root, tmp_path / "out" / "database.json")
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(files) >= 5
    for path in files:
        data = path.read_bytes()
        assert not [secret for secret in secrets if secret in data], path
