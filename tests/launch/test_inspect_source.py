"""What a source holds is said before anything is made of it, and after: which rows are missing."""

import json

import pytest
from PIL import Image

from launch import generate
from tests.data_gen.sources.test_exports import scenes, write
from tests.data_gen.sources.test_photo_folders import album


def said(capsys, *argv: object) -> str:
    generate.main([str(word) for word in argv])
    return capsys.readouterr().out


def test_photos_are_told_before_rows_are_made(tmp_path, capsys):
    root = album(tmp_path / "album", "bo", "mina")
    Image.open(root / "bo" / "00.jpg").save(root / "bo" / "sent.jpg", quality=50)
    (root / "mina" / "a.MOV").write_bytes(b"\0\0\0\x14ftypqt  " + bytes(9))
    config = ["--config", "configs/data/folders.yaml", "--root", root, "--out", tmp_path / "out"]
    text = said(capsys, *config, "--inspect_source")
    assert "folders: 6 photos of 2 subjects used" in text
    assert "not used: 1 x a near copy of another\n       e.g. bo/sent.jpg of 00.jpg" in text
    assert "not used: 1 x video\n       e.g. mina/a.MOV" in text
    assert "object_consistency 600" in text and "nothing was written" in text
    assert text.rstrip().splitlines()[-1].startswith("next: byname generate --config")
    assert "inspect_source" not in text and not (tmp_path / "out").exists()


def test_boxes_are_told_before_rows_are_made(tmp_path, capsys):
    data = scenes(tmp_path / "images")
    data["annotations"][0]["attributes"] = {"rotation": 30}
    path = write(tmp_path, {"info": {"description": "from Roboflow"}, **data})
    text = said(
        capsys,
        *("--config", "configs/data/detection.yaml", "--annotations", path),
        *("--images", tmp_path / "images", "--out", tmp_path / "out", "--inspect_source", "true"),
        *("--min_side", 16),
    )
    assert "11 boxes in 4 images of Roboflow's COCO used" in text
    assert "not used: 1 x rotated\n       e.g. 0" in text
    assert not (tmp_path / "out").exists()


def test_the_last_lines_say_how_many_rows_could_not_be_made_and_why(tmp_path, capsys):
    """What was left out of the source before is not counted again."""
    data = scenes(tmp_path / "images", 6)
    data["annotations"][0]["iscrowd"] = 1
    path = write(tmp_path, data)
    file = tmp_path / "images" / "002.png"
    file.write_bytes(file.read_bytes()[:200])
    text = said(
        capsys,
        *("--config", "configs/data/detection.yaml", "--annotations", path),
        *("--images", tmp_path / "images", "--out", tmp_path / "out", "--min_side", 16),
        *("--counts", "{visual_localization: 30}", "--size", 160),
    )
    made = json.loads((tmp_path / "out" / "manifest.json").read_text())
    missing = 30 - made["rows"]
    assert missing > 0 and made["skipped"]["crowd"] == 1
    assert f"; {missing} of 30 rows could not be made: {missing} truncated" in text


@pytest.mark.parametrize("name", ["12:30", "photos #1", "[album]", "2024", "no", "@home"])
def test_a_root_of_any_name(tmp_path, capsys, monkeypatch, name):
    album(tmp_path / name, "bo", "mina")
    monkeypatch.chdir(tmp_path)
    config = ["--config", "configs/data/folders.yaml", "--root", name, "--inspect_source"]
    assert "6 photos of 2 subjects used" in said(capsys, *config)
