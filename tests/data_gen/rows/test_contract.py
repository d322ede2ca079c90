"""The row contract: what is refused, where the message points, what survives a round trip."""

import json

import pyarrow.parquet as pq
import pytest
from datasets import Value, load_dataset
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data_gen.rows import ICT, OCT, VLT, RowError, check_row, read_rows, write_rows


def row(**changes):
    good = {
        "id": "a-0",
        "task": ICT,
        "prompt": [
            {
                "role": "user",
                "content": [
                    {"type": "image", "text": None},
                    {"type": "text", "text": "This is <bo>."},
                ],
            }
        ],
        "images": [Image.new("RGB", (8, 8), "red")],
        "answer": None,
        "box": None,
        "names": ["bo"],
        "absent_names": [],
        "source": "test",
    }
    return {**good, **changes}


def test_a_good_row_passes():
    check_row(row())
    check_row(row(task="counting", names=[]))  # a plug-in's task
    check_row(row(task="counting", answer="three"))


@pytest.mark.parametrize(
    ("changes", "column", "reason"),
    [
        ({"id": " "}, "id", "non-empty"),
        ({"task": None}, "task", "non-empty"),
        ({"prompt": []}, "prompt", "non-empty"),
        ({"prompt": [{"role": "robot", "content": []}]}, "prompt", "unknown role"),
        ({"prompt": [{"role": "user", "content": [{"type": "video"}]}]}, "prompt", "image or a"),
        ({"images": []}, "images", "0 images for 1 placeholders"),
        ({"task": OCT, "answer": "maybe"}, "answer", "must be 'yes' or 'no'"),
        ({"task": "counting", "answer": 3}, "answer", "must be a string or null"),
        ({"task": OCT}, "answer", "is null"),
        ({"task": VLT}, "box", "is null"),
        ({"box": [0.1, 0.1, 0.5]}, "box", "4 finite"),
        ({"box": [0.1, 0.1, float("nan"), 0.5]}, "box", "4 finite"),
        ({"box": [0.5, 0.1, 0.1, 0.5]}, "box", "x1 < x2"),
        ({"box": [0, 0, 64, 64]}, "box", "in 0-1"),
        ({"names": "bo"}, "names", "list of strings"),
        ({"names": ["<bo>"]}, "names", "a name is not bare"),
        ({"names": ["bo", "Bo"]}, "names", "listed twice"),
        ({"absent_names": ["BO"]}, "absent_names", "listed twice"),
    ],
)
def test_a_broken_row_is_refused_with_place_id_column_and_reason(changes, column, reason):
    with pytest.raises(RowError) as error:
        check_row(row(**changes), "here.parquet")
    message = str(error.value)
    assert message.startswith("here.parquet: row ") and f"column '{column}'" in message
    assert reason in message


def test_a_missing_column_is_named():
    broken = row()
    del broken["names"]
    with pytest.raises(RowError, match="column 'names': is missing"):
        check_row(broken)


@given(st.lists(st.floats(), min_size=4, max_size=4))
def test_only_boxes_within_the_picture_pass(box):
    good = 0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1
    try:
        check_row(row(box=box))
    except RowError:
        assert not good
    else:
        assert good


def test_a_set_survives_the_round_trip_with_custom_columns(tmp_path):
    rows = [row(id=f"a-{i}", mood="glad", box=[0, 0, 0.5, 1]) for i in range(3)]
    manifest = write_rows(
        rows,
        tmp_path / "set",
        seed=7,
        generator="test",
        extra_features={"mood": Value("string")},
        skipped={"blurred": 2},
    )
    assert manifest["rows"] == 3 and manifest["skipped"] == {"blurred": 2}
    assert json.loads((tmp_path / "set/manifest.json").read_text()) == manifest
    back = read_rows(tmp_path / "set")
    assert back["mood"] == ["glad"] * 3 and back[0]["box"] == [0, 0, 0.5, 1]
    assert back[1]["images"][0].getpixel((3, 3)) == (255, 0, 0)
    hub_way = load_dataset(str(tmp_path / "set"), split="train")
    assert hub_way["id"] == back["id"]


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="byname generate"):
        read_rows(tmp_path)
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(RowError, match="bad.parquet: is not a readable parquet file"):
        read_rows(tmp_path)


def test_an_untrusted_file_is_checked_row_by_row(tmp_path):
    write_rows([row()], tmp_path / "set", seed=0, generator="test")
    file = tmp_path / "set/data/train-00000.parquet"
    (tmp_path / "set/manifest.json").unlink()  # which would say that the file is another
    table = pq.read_table(file)
    pq.write_table(table.drop_columns(["absent_names"]), file)
    with pytest.raises(RowError, match="column 'absent_names' is missing"):
        read_rows(tmp_path / "set")
    wrong = table.set_column(table.column_names.index("task"), "task", [[VLT]])
    pq.write_table(wrong, file)
    with pytest.raises(RowError, match=r"train-00000.parquet: row 'a-0': column 'box'"):
        read_rows(tmp_path / "set")


def test_nothing_is_written_over_and_nothing_half_written_stays(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").write_text("precious")
    with pytest.raises(FileExistsError, match="is no row set"):
        write_rows([row()], tmp_path / "mine", seed=0, generator="test")
    with pytest.raises(RowError, match="is used twice"):
        write_rows([row(), row()], tmp_path / "set", seed=0, generator="test")
    assert not (tmp_path / "set").exists()
    with pytest.raises(RowError, match="made no row"):
        write_rows([], tmp_path / "set", seed=0, generator="test")
