"""What systems leave about is told from what people call their things."""

from pathlib import Path

import pytest

from data_gen.files.system_files import is_system_name, is_system_path


@pytest.mark.parametrize(
    "path",
    [
        "bo/._01.jpg",
        "bo/.DS_Store",
        "@eaDir/bo/SYNOPHOTO_THUMB_SM.jpg",
        "bo/@eadir/01.jpg/x.jpg",
        "#recycle/bo/01.jpg",
        "@Recycle/01.jpg",
        "$RECYCLE.BIN/01.jpg",
        "System Volume Information/x.jpg",
        "lost+found/01.jpg",
        "bo/.thumbnails/01.jpg",
        "bo/Thumbs/01.jpg",
        "bo/Thumbs.db",
        "__MACOSX/bo/._01.jpg",
        "./.ipynb_checkpoints/rows-checkpoint.parquet",
        ".Trash-1000/files/01.jpg",
        "Recently Deleted/01.jpg",
        "database.json.learned/yollava/bo.json",
    ],
)
def test_what_systems_leave(path):
    assert is_system_path(path)


@pytest.mark.parametrize(
    "path",
    [
        "bo/01.jpg",
        "@home/01.jpg",
        "#1 dog/01.jpg",
        "$5 mug/a.jpg",
        "thumb/01.jpg",
        "./a.jpg",
        "lost/1.jpg",
        "learned/1.jpg",
    ],
)
def test_what_people_call_their_things(path):
    assert not is_system_path(path)


def test_where_the_user_keeps_them_does_not_matter():
    root = Path("/home/me/.cache/thumbnails")
    assert not is_system_path(root / "bo/01.jpg", root)
    assert is_system_path(root / ".x/01.jpg", root)
    assert is_system_name("THUMBS.DB")
