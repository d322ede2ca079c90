"""Databases made from folders of photos and from the toybox, and back."""

import io
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from concepts.database import Database, DatabaseError
from concepts.importers import (
    folder_database,
    loose_photos,
    photo_database,
    toybox_database,
)
from tests.places import SHARED

DREAMBOOTH = SHARED / "dreambooth"


def image(path: Path, colour: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (24, 24), colour).save(path)


def test_folders_become_a_database(tmp_path):
    root = tmp_path / "photos"
    for name, colours in {"cat": ("red", "blue"), "my mug": ("green",)}.items():
        for i, colour in enumerate(colours):
            image(root / name / f"{i}.png", colour)
    (root / "classes.csv").write_text("cat,animal\n")
    (root / "my mug" / "notes.txt").write_text("no photo")
    database, skipped = folder_database(root, tmp_path / "database.json")
    assert skipped.counts == {"not an image": 1}
    assert skipped.places("not an image") == ["my mug/notes.txt"]
    cat = database.concepts()["cat"]
    assert cat.images == ("cat/0.png", "cat/1.png") and cat.category == "animal"
    assert list(Database(database.path, root).concepts()) == ["cat", "my mug"]
    with pytest.raises(DatabaseError, match="exists"):
        folder_database(root, tmp_path / "database.json")


def zipped(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for i, name in enumerate(names):
            kept = io.BytesIO()
            Image.new("RGB", (24, 24), ("red", "blue", "green")[i]).save(kept, "PNG")
            archive.writestr(name, kept.getvalue())
    return path


@pytest.mark.parametrize("top", ["", "album/", "Takeout/Google Photos/"])
def test_a_zip_of_photos_becomes_a_database_beside_it(tmp_path, monkeypatch, top):
    monkeypatch.chdir(tmp_path)
    album = zipped(tmp_path / "my.zip", f"{top}cat/0.png", f"{top}cat/1.png", f"{top}mug/0.png")
    database = photo_database(album)
    assert database.path == tmp_path / "my/database.json"
    found = database.concepts()
    assert [len(found[name].images) for name in ("cat", "mug")] == [2, 1]
    places = [database.image_path(image) for one in found.values() for image in one.images]
    assert all(place.is_relative_to(tmp_path / "my") and place.is_file() for place in places)
    database.edit("cat", info="sleeps a lot")  # the owner's words, and other pictures, stay
    again = photo_database(album)
    assert "sleeps a lot" in again.concepts()["cat"].info and len(again.concepts()) == 2
    assert len(list((tmp_path / "my").rglob("*.png"))) == 3
    elsewhere = photo_database(album, tmp_path / "other/database.json")
    assert set(elsewhere.concepts()) == {"cat", "mug"}
    assert set(folder_database(album, tmp_path / "new.json")[0].concepts()) == {"cat", "mug"}
    assert len(loose_photos(album)) == 3


def test_a_zip_of_no_photos_makes_no_database(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text, flat = tmp_path / "a.zip", zipped(tmp_path / "b.zip", "0.png")
    text.write_text("no zip")
    outside = zipped(tmp_path / "c.zip", "../cat/0.png", "/cat/0.png")
    for path, says in (
        (text, "no folder and no whole zip file"),
        (flat, "no usable photo"),
        (outside, "no usable photo"),
        (tmp_path / "none.zip", "is no directory and no zip"),
    ):
        with pytest.raises(DatabaseError, match=says):
            photo_database(path)
        assert not path.with_suffix("").exists()


@pytest.mark.skipif(not DREAMBOOTH.is_dir(), reason="no ../shared/data/dreambooth here")
def test_dreambooth_as_a_database(tmp_path):
    database, skipped = folder_database(DREAMBOOTH, tmp_path / "database.json", size=64)
    concepts = database.concepts()
    assert len(concepts) == 30 and sum(len(c.images) for c in concepts.values()) == 158
    assert concepts["backpack_dog"].category == "backpack"
    assert set(skipped.counts) == {"beside the subjects' folders"}


def test_a_database_of_toys_holds_the_truth_and_is_made_alike_twice(tmp_path):
    one, two = (toybox_database(tmp_path / place, 12, 3, views=2) for place in "ab")
    assert one.path.read_bytes() == two.path.read_bytes()
    concepts = one.concepts()
    assert len(concepts) == 12 and len({c.attributes for c in concepts.values()}) == 12
    for concept in concepts.values():
        assert concept.category in concept.info and len(concept.images) == 2
        one_view, other = (one.image_path(i).read_bytes() for i in concept.images)
        assert one_view != other
    with pytest.raises(DatabaseError, match="not 0"):
        toybox_database(tmp_path / "c", 0)
