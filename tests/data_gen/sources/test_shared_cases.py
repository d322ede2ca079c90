"""The cases of public bug reports in ../shared/cases, each by itself: used right, or refused.

The samples of kinds that the tests beside this one make for themselves; these are as they were
handed over, and are passed over where they are not at hand.
"""

import importlib.util
import json
import re
import subprocess
from pathlib import Path

import pytest

from data_gen.files.errors import SourceError
from data_gen.rows import ICT, OCT, VLT, read_rows
from data_gen.rows.contract import RowError
from data_gen.sources.detection import detection_rows
from data_gen.sources.folders import folder_rows
from data_gen.sources.photo_folders import scan
from data_gen.sources.released import released_rows
from data_gen.sources.subjects200k import subjects200k_rows
from tests.places import SHARED

CASES = SHARED.parent / "cases"

pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not CASES.is_dir(), reason="no ../shared/cases here"),
]

USED = {
    **dict.fromkeys(
        [
            "b00_control",
            "b01_backslash",
            "b01b_updir_backslash",
            "b02b_percent",
            "b04_float_ids",
            "b04b_float_annotations_only",
            "b05b_iscrowd_text",
            "b06_polygons_only",
            "b10_nfd_on_disk",
            "b10b_case",
        ],
        (24, 8),
    ),
}
"""Case -> boxes and images used of it, where it is not refused."""

REFUSED = {
    "b03_merged_ids": "image id of two images",
    "b03b_categories_twice": "category id of two categories",
    "b04d_ids_missing": "no box in it.*without an",
    "b06e_xyxy_as_xywh": "18 of 24 boxes .* set box_format: xyxy",
    "b09_rotation": "24 rotated",
    "b11_pickle": "is a pickle",
    "b12_same_names_in_folders": "one file for several listed images .camA/000.jpg",
    "b14_coco2014_names": "COCO_train2014_000000000000.jpg",
}


def case(name: str, tmp_path: Path) -> Path:
    """A case's folder; one that is a tar, as its names do not survive every tool, is unpacked."""
    if not (CASES / name / "case.tar").is_file():
        return CASES / name
    subprocess.run(["tar", "xf", CASES / name / "case.tar", "-C", tmp_path], check=True)
    return tmp_path / name


def boxes_of(folder: Path, counts: dict | None = None, report=lambda _: None):
    references = folder / "refs(unc).p"
    return detection_rows(
        folder / "coco.json",
        folder / "images",
        seed=0,
        counts=counts or {VLT: 12},
        references=references if references.exists() else None,
        named_share=0,
        mirrored_share=0,
        size=320,
        report=report,
    )


def checks():
    spec = importlib.util.spec_from_file_location("check_rows", CASES / "check_rows.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", [name for name in USED if name not in REFUSED])
def test_boxes_are_used_and_right(tmp_path, name):
    lines = []
    rows = boxes_of(case(name, tmp_path), report=lines.append)
    boxes, images = USED[name]
    assert lines == [f"detection: {boxes} boxes in {images} images used"]
    look = checks()
    for row in rows:
        text = " ".join(part["text"] or "" for part in row["prompt"][0]["content"])
        asked = next(c for c in look.NAMES if f"{c} block" in text)
        assert look.colour_in(row["images"][-1], row["box"]) == asked


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_right_is_refused_or_counted(tmp_path, name):
    lines = []
    try:
        rows = boxes_of(case(name, tmp_path), report=lines.append)
    except SourceError as error:
        assert re.search(REFUSED[name], str(error)), error
        return
    assert re.search(REFUSED[name], lines[0]), lines
    look = checks()
    for row in rows:
        text = " ".join(part["text"] or "" for part in row["prompt"][0]["content"])
        asked = next(c for c in look.NAMES if f"{c} block" in text)
        assert look.colour_in(row["images"][-1], row["box"]) == asked


@pytest.mark.parametrize(
    "name",
    ["b07_cvat_attributes", "b07b_top_level_control", "b08_track_ids_per_video"],
)
def test_what_is_the_same_thing(tmp_path, name):
    found = json.loads((CASES / name / "coco.json").read_text())
    look, wrong = checks(), 0
    for row in boxes_of(CASES / name, {OCT: 24}):
        seen = [look.dominant(image) for image in row["images"]]
        wrong += (seen[0] == seen[1]) != (row["answer"] == "yes")
    assert found["annotations"] and wrong == 0


@pytest.mark.parametrize(
    ("name", "photos", "subjects"),
    [
        ("p01_eadir", 9, 3),
        ("p02_raw_thumbnails", 6, 2),
        ("p03_takeout", 6, 2),
        ("p04_iphone", 4, 2),
        ("p06_names", 18, 6),
        ("p07_not_utf8", 15, 5),
        ("p08_two_spellings", 9, 2),
        ("p11_near_copies", 4, 2),
    ],
)
def test_photos_and_subjects(tmp_path, name, photos, subjects):
    folders, skipped = scan(case(name, tmp_path))
    assert (sum(len(f.photos) for f in folders), len(folders)) == (photos, subjects), skipped
    if name == "p06_names":
        assert not any("\ufffd" in folder.name for folder in folders)


@pytest.mark.parametrize("name", ["p01_eadir", "p06_names", "p08_two_spellings", "p10_panoramas"])
def test_rows_of_photos_are_right(tmp_path, name):
    lines, look = [], checks()
    rows = folder_rows(
        case(name, tmp_path), seed=0, counts={OCT: 16, ICT: 4}, size=256, report=lines.append
    )
    assert "without a class" not in lines[0]
    for row in rows:
        assert all(max(image.size) <= 200 * min(image.size) for image in row["images"])
        if row["task"] == OCT and name in ("p01_eadir", "p08_two_spellings"):
            seen = [look.dominant(image) for image in row["images"]]
            assert (seen[0] == seen[1]) == (row["answer"] == "yes")


def test_released_rows_and_pairs(tmp_path):
    for name in ("l00_control", "l01_backslash"):
        lines = []
        rows = released_rows(
            CASES / name / "train.json",
            CASES / name / "images",
            seed=0,
            counts={OCT: 4},
            report=lines.append,
        )
        assert lines == ["released: 12 rows used"] and len(list(rows)) == 4
    lines = []
    zero = dict.fromkeys(("compositeStructure", "objectConsistency", "imageQuality"), 0)
    subjects200k_rows(
        CASES / "s02_jupyter", seed=0, counts={OCT: 4}, quality=zero, report=lines.append
    )
    assert lines[0].startswith("subjects200k: 3 pairs used")


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("r01c_tar_macos", 8),
        ("r01h_tar_left_right", 8),
        ("r02_relative_paths", 8),
        ("r08_appledouble_parquet", 16),
        ("r10b_extra_in_second", 16),
    ],
)
def test_row_sets_are_read_whole(name, rows):
    found = read_rows(CASES / name)
    assert len(found) == rows and all(image.size for image in found[rows - 1]["images"])


def test_row_sets_that_are_refused_say_what_to_do():
    with pytest.raises(FileNotFoundError, match=r"rows.tar.gz is packed.*gunzip"):
        read_rows(CASES / "r01d_tar_gz")
    with pytest.raises(
        RowError, match="row '.*': column 'images': an image is more than 200 times"
    ):
        read_rows(CASES / "r04b_long_picture")
