"""The contact sheet: what it draws where, for tiny drawings and for photos."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_gen.rows import ICT, OCT, VLT, read_rows, write_rows
from data_gen.rows.contact_sheet import (
    BOX,
    GREEN,
    RED,
    contact_sheet,
    writable,
)
from data_gen.sources.folders import folder_rows
from tests.places import SHARED

DREAMBOOTH = SHARED / "dreambooth"


def row(task: str, i: int = 0, *, references=("Bo",), size=(64, 64), **truth) -> dict:
    parts = []
    for name in references:
        parts += [{"type": "image", "text": None}, {"type": "text", "text": f"This is <{name}>.\n"}]
    parts += [{"type": "image", "text": None}, {"type": "text", "text": "Well?"}]
    images = [Image.new("RGB", size, (200, 200, 255)) for _ in range(len(references) + 1)]
    return {
        "id": f"{task}-{i}",
        "task": task,
        "prompt": [{"role": "user", "content": parts}],
        "images": images,
        "answer": None,
        "box": None,
        "names": [],
        "absent_names": [],
        "source": "test",
    } | truth


def pixels_of(path: Path, colour: str) -> int:
    """How many pixels of exactly this colour; drawn text has some at full strength."""
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return int((np.asarray(Image.open(path)) == rgb).all(-1).sum())


@pytest.mark.parametrize(
    ("truth", "green", "red"),
    [
        ({"task": OCT, "answer": "yes"}, True, False),
        ({"task": OCT, "answer": "no"}, False, True),
        ({"task": ICT, "names": ["Bo"]}, True, False),
        ({"task": ICT, "absent_names": ["Bo"]}, False, True),
        ({"task": ICT, "names": ["Bo"], "absent_names": ["Lu"], "references": ("Lu", "Bo")}, 1, 1),
    ],
)
def test_what_belongs_is_green_and_what_does_not_is_red(tmp_path, truth, green, red):
    path = contact_sheet([row(**truth)], tmp_path / "sheet.png")
    assert (pixels_of(path, GREEN) > 0, pixels_of(path, RED) > 0) == (green, red)


@pytest.mark.parametrize("size", [(64, 64), (1024, 768)])
def test_the_box_lies_where_it_should_on_the_query(tmp_path, size):
    half = row(VLT, box=[0.5, 0.0, 1.0, 1.0], size=size)
    half["images"][1].paste((10, 20, 30), (size[0] // 2, 0, size[0], size[1]))
    sheet = np.asarray(Image.open(contact_sheet([half], tmp_path / "sheet.png"))).astype(int)
    truth = np.argwhere((abs(sheet - (10, 20, 30)) < 3).all(-1))
    rgb = [int(BOX[i : i + 2], 16) for i in (1, 3, 5)]
    drawn = np.argwhere((sheet == rgb).all(-1))
    drawn = drawn[drawn[:, 0] <= truth[:, 0].max() + 4]  # without the numbers below the picture
    assert abs(drawn.min(0) - truth.min(0)).max() <= 4
    assert abs(drawn.max(0) - truth.max(0)).max() <= 4


def test_small_pictures_are_enlarged_and_large_ones_reduced(tmp_path):
    sizes = {
        Image.open(contact_sheet([row(OCT, answer="yes", size=size)], tmp_path / "sheet.png")).size
        for size in [(64, 64), (1024, 1024), (8, 8)]
    }
    assert len(sizes) == 1


def test_every_task_is_shown_and_no_more_than_the_limit(tmp_path):
    rows = [row(OCT, i, answer="yes") for i in range(50)] + [row(ICT, 0, names=["Bo"])]
    few = Image.open(contact_sheet(rows, tmp_path / "a.png", limit=2))
    assert few.size == Image.open(contact_sheet([rows[0], rows[-1]], tmp_path / "b.png")).size
    # An iterator is only read as far as needed.
    rest = iter(rows)
    contact_sheet(rest, tmp_path / "c.png", limit=3)
    assert next(rest)["id"] == rows[3]["id"]


def test_names_can_be_left_away_and_no_row_is_an_error(tmp_path):
    rows = [row(ICT, names=["Bo"])]
    more = pixels_of(contact_sheet(rows, tmp_path / "a.png"), GREEN)
    assert more > pixels_of(contact_sheet(rows, tmp_path / "b.png", names=False), GREEN)
    with pytest.raises(ValueError, match="no row"):
        contact_sheet([], tmp_path / "none.png")


def test_odd_rows_are_drawn(tmp_path):
    odd = [
        row(
            "text_only",
            references=(),
            images=[],
            prompt=[
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "\ud800\x00 " + "long " * 99}],
                }
            ],
        ),
        row("many", references=tuple(f"n{i}" for i in range(9)), size=(300, 20)),
        row("no_name", references=("",)),
    ]
    assert contact_sheet(odd, tmp_path / "sheet.png").stat().st_size > 0


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("<Bo>", "<Bo>"),
        (
            "Это <Анисим>, <Κασσάνδρα>, <بهية>, <נועה>.",
            "Это <Анисим>, <Κασσάνδρα>, <بهية>, <נועה>.",
        ),
        ("<김서연>", "<[gimseoyeon]>"),
        ("<さくら>", "<[sakura]>"),
        ("<太一> is here", "<U+592A U+4E00> is here"),
        ("<สมชาย>", "<U+0E2A U+0E21 …>"),
        ("two\nlines \x00", "two lines U+0000"),
    ],
)
def test_scripts_that_the_font_lacks_are_spelt_out(text, drawn):
    assert writable(text) == drawn


@pytest.mark.shared
@pytest.mark.skipif(not DREAMBOOTH.is_dir(), reason="no ../shared/data/dreambooth here")
def test_a_row_set_gives_the_same_sheet_each_time_and_as_its_rows_do(tmp_path):
    made = list(folder_rows(DREAMBOOTH, seed=0, counts={OCT: 6, ICT: 6}, size=64, report=str))
    write_rows(made, tmp_path / "rows", seed=0, generator="folders")
    stored = read_rows(tmp_path / "rows")
    sheets = [
        contact_sheet(rows, tmp_path / "sheet.png").read_bytes() for rows in (stored, stored, made)
    ]
    assert sheets[0] == sheets[1] == sheets[2]
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 1000 and sheet.mode == "RGB"
