"""A zip of photos is a root like any; what is unsafe in it never reaches the disk."""

import stat
import zipfile
from pathlib import Path

import pytest

from data_gen.files.errors import SourceError
from data_gen.rows import OCT
from data_gen.sources import zip_root
from data_gen.sources.folders import folder_rows
from data_gen.sources.zip_root import folder_of_root
from tests.data_gen.sources.test_photo_folders import album


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(zip_root, "CACHE", tmp_path / "cache")
    return tmp_path / "cache"


def zipped(tmp_path: Path, top: str = "", **more: bytes) -> Path:
    root = album(tmp_path / "album", "bo", "mina")
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for path in sorted(root.rglob("*.jpg")):
            archive.write(path, f"{top}{path.relative_to(root)}")
        for name, content in more.items():
            archive.writestr(name, content, zipfile.ZIP_DEFLATED)
    return tmp_path / "photos.zip"


def files_in(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("top", ["", "album/", "Takeout/Google Photos/", "a\\b\\"])
def test_rows_of_a_zip_are_those_of_its_folder(tmp_path, cache, top):
    path = zipped(tmp_path, top)
    settings = {"seed": 0, "counts": {OCT: 6}, "size": 32, "report": lambda _: None}
    told = [
        (row["id"], row["source"], [image.tobytes() for image in row["images"]])
        for root in (path, tmp_path / "album")
        for row in folder_rows(folder_of_root(root, cache), **settings)
    ]
    assert told[:6] == told[6:]
    before = files_in(cache)
    folder_of_root(path, cache)
    assert files_in(cache) == before  # unpacked once


def test_what_is_unsafe_or_no_photo_stays_in_the_zip(tmp_path, cache):
    path = zipped(tmp_path)
    link = zipfile.ZipInfo("bo/link.jpg")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        for name in ("../out.jpg", "/abs.jpg", "bo/../../out.jpg", "..\\out.jpg", "C:\\out.jpg"):
            archive.writestr(name, b"x")
        archive.writestr(link, "/etc/passwd")
        archive.writestr("bo/run.sh", b"x")
        archive.writestr("__MACOSX/bo/._00.jpg", b"x")
        archive.writestr("classes.csv", b"bo,dog")
    folder = folder_of_root(path, cache)
    kept = [f"{name}/{p:02d}.jpg" for name in ("bo", "mina") for p in range(3)]
    assert files_in(folder) == sorted([*kept, "classes.csv"])
    assert not any("out.jpg" in name for name in files_in(tmp_path))
    assert not any(p.is_symlink() for p in folder.rglob("*"))


def test_a_name_that_macos_writes_is_read_as_utf_8(tmp_path, cache):
    """Its zips hold UTF-8 without saying so."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("Zoe_/00.jpg", b"x")
        archive.writestr("mina/00.jpg", b"x")
    data = (tmp_path / "a.zip").read_bytes().replace(b"Zoe_", "Zoé".encode())
    (tmp_path / "a.zip").write_bytes(data)
    assert files_in(folder_of_root(tmp_path / "a.zip", cache)) == ["Zoé/00.jpg", "mina/00.jpg"]


def test_bombs_and_broken_zips_are_refused_in_one_sentence(tmp_path, cache, monkeypatch):
    bomb = zipped(tmp_path, **{"bo/9.jpg": bytes(50 << 20)})
    with pytest.raises(SourceError, match=r"'bo/9.jpg' unfolds from .* as no photo does"):
        folder_of_root(bomb, cache)
    monkeypatch.setattr(zip_root, "MAX_BYTES", 1000)
    with pytest.raises(SourceError, match="more than is unpacked"):
        folder_of_root(bomb, cache)
    monkeypatch.undo()
    (tmp_path / "half.zip").write_bytes(bomb.read_bytes()[:-100])
    (tmp_path / "notes.txt").write_text("x")
    for name in ("half.zip", "notes.txt"):
        with pytest.raises(SourceError, match="is no folder and no whole zip file"):
            folder_of_root(tmp_path / name, cache)
    with pytest.raises(SourceError, match="is no directory"):
        folder_of_root(tmp_path / "gone", cache)
    assert not [p for p in cache.glob("*") if p.is_dir()]


@pytest.mark.parametrize(
    ("compression", "after", "at"),
    [
        (zipfile.ZIP_DEFLATED, b"PK\3\4", 45),  # in the content, which then is no such stream
        (zipfile.ZIP_LZMA, b"PK\3\4", 50),
        (zipfile.ZIP_BZIP2, b"PK\3\4", 45),
        (zipfile.ZIP_DEFLATED, b"PK\1\2", 10),  # in the directory: an unknown compression,
        (zipfile.ZIP_DEFLATED, b"PK\1\2", 6),  # an unknown version,
        (zipfile.ZIP_DEFLATED, b"PK\1\2", 0),  # no entry
    ],
)
def test_damage_of_each_kind_is_one_sentence(tmp_path, cache, compression, after, at):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("bo/0.jpg", b"abc" * 5000)
    data = bytearray(path.read_bytes())
    data[data.find(after) + at] ^= 255
    path.write_bytes(data)
    with pytest.raises(SourceError, match="cannot be unpacked .*; unpack it yourself"):
        folder_of_root(path, cache)


def test_what_is_not_unpacked_does_not_count(tmp_path, cache, monkeypatch):
    path = zipped(tmp_path, **{"bo/film.mov": bytes(5 << 20)})
    monkeypatch.setattr(zip_root, "MAX_BYTES", 1 << 20)
    assert len(files_in(folder_of_root(path, cache))) == 6


def test_a_damaged_member_leaves_nothing_half_done(tmp_path, cache):
    path = zipped(tmp_path)
    data = bytearray(path.read_bytes())
    data[200] ^= 255  # inside of the first photo, whose checksum then differs
    path.write_bytes(data)
    with pytest.raises(SourceError, match="cannot be unpacked"):
        folder_of_root(path, cache)
    assert not [
        p for p in cache.iterdir() if p.is_dir() and "partial" not in p.name and p.suffix != ".lock"
    ]
