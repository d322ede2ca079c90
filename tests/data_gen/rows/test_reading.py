"""Reading sets in both formats, and what is said of those that cannot be read."""

import io
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Features, Image, Value, load_dataset
from PIL import Image as PILImage

from data_gen.rows import ICT, OCT, RowError, encode_image, read_rows, write_rows
from data_gen.rows.reading import sample_rows, stored_rows
from tests.data_gen.stub_rows import make, stub_row, stub_source


def png(colour="red", size=(8, 8)) -> bytes:
    return encode_image(PILImage.new("RGB", size, colour))["bytes"]


def plain_parquet(path, rows, **columns):
    """An untrusted file: no ``datasets`` metadata, types as pyarrow guesses them."""
    rows = [
        {**row, "images": [i if isinstance(i, dict) else encode_image(i) for i in row["images"]]}
        for row in rows
    ]
    table = pa.Table.from_pylist(rows)
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), name, [values])
    pq.write_table(table, path)


def tar_of(path, **members: bytes):
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name.replace("_", "."))
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


# ---- both formats ----


def test_tar_and_parquet_hold_the_same_rows(tmp_path):
    source = stub_source(columns={"mood": Value("string"), "weight": Value("float64")})
    source.make = lambda task, i: stub_row(task, i, mood="glad", weight=i / 2, names=["éва太"])
    make(tmp_path / "parquet", source)
    make(tmp_path / "tar", source, form="webdataset")
    rows, same = read_rows(tmp_path / "parquet"), read_rows(tmp_path / "tar")
    assert rows.features == same.features
    assert [{**row, "images": row["images"][0].tobytes()} for row in rows] == [
        {**row, "images": row["images"][0].tobytes()} for row in same
    ]


def test_a_tar_is_read_as_a_webdataset_by_others(tmp_path):
    row = stub_row(
        images=[PILImage.new("RGB", (8, 8), c) for c in ("red", "blue")],
        prompt=[{"role": "user", "content": [{"type": "image", "text": None}] * 2}],
    )
    write_rows(
        [row, stub_row(index=1)], tmp_path / "set", seed=0, generator="stub", form="webdataset"
    )
    with tarfile.open(tmp_path / "set/data/train-00000.tar") as tar:
        assert tar.getnames() == [
            "train-00000-00000.json",
            "train-00000-00000.0.png",
            "train-00000-00000.1.png",
            "train-00000-00001.json",
            "train-00000-00001.0.png",
        ]
    features = Features(
        {
            "json": {"id": Value("string"), "task": Value("string")},
            "0.png": Image(),
            "1.png": Image(),
            "__key__": Value("string"),
            "__url__": Value("string"),
        }
    )
    theirs = load_dataset(
        "webdataset",
        data_files=str(tmp_path / "set/data/*.tar"),
        features=features,
        split="train",
        cache_dir=str(tmp_path / "cache"),
    )
    assert theirs[0]["json"]["id"] == row["id"]
    assert theirs[0]["1.png"].getpixel((0, 0)) == (0, 0, 255) and theirs[1]["1.png"] is None


def test_more_than_ten_pictures_stay_in_order(tmp_path):
    colours = [(i, 0, 0) for i in range(12)]
    row = stub_row(
        images=[PILImage.new("RGB", (8, 8), c) for c in colours],
        prompt=[{"role": "user", "content": [{"type": "image", "text": None}] * 12}],
    )
    write_rows([row], tmp_path / "set", seed=0, generator="stub", form="webdataset")
    (back,) = read_rows(tmp_path / "set")
    assert [image.getpixel((0, 0)) for image in back["images"]] == colours


def test_a_tar_that_changed_is_not_read_from_the_cache(tmp_path):
    for name in ("bo", "mi"):
        write_rows(
            [stub_row(names=[name])], tmp_path / "set", seed=0, generator="stub", form="webdataset"
        )
        assert read_rows(tmp_path / "set")["names"][0] == [name]


def test_an_untrusted_plain_file_is_read_with_pictures(tmp_path):
    plain_parquet(tmp_path / "a.parquet", [stub_row(index=i, box=[0, 0, 1, 1]) for i in (0, 1)])
    rows = read_rows(tmp_path / "a.parquet")
    assert rows[1]["images"][0].getpixel((0, 0)) == (1, 0, 7) and rows[0]["box"] == [0, 0, 1, 1]


def test_a_sample_takes_tasks_in_turn(tmp_path):
    make(tmp_path / "set", stub_source(40))
    picked = sample_rows(tmp_path / "set", 5)
    assert [row["id"] for row in picked] == [f"{ICT}-{i}" for i in (0, 1, 2)] + [
        f"{OCT}-{i}" for i in (0, 1)
    ]
    picked = sample_rows(tmp_path / "set", 2, good=lambda row: not row["id"].endswith("-0"))
    assert [row["id"] for row in picked] == [f"{ICT}-1", f"{OCT}-1"]


# ---- what cannot be read ----


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (
            {"images": [{"bytes": png()[:20], "path": None}]},
            "an image is damaged or no image (number 0); replace it or leave the row out",
        ),
        ({"images": [{"bytes": b"", "path": None}]}, "an image is damaged or no image"),
        (
            {"images": [{"bytes": None, "path": "gone.png"}]},
            "has no bytes, and its file is not there",
        ),
        (
            {"images": [{"bytes": png(size=(5000, 5000)), "path": None}]},
            "has no pixel, or more than",
        ),
        ({"prompt": [{"role": "user", "content": "Who is it?"}]}, "must be a list of parts"),
        ({"prompt": "Who is it?"}, "column 'prompt': must be a non-empty list of messages"),
        ({"prompt": ["Who is it?"]}, "column 'prompt': unknown role"),
        ({"id": 7}, "column 'id': must be a non-empty string, not 7"),
        ({"names": "bo"}, "column 'names': must be a list of strings, not 'bo'"),
        ({"box": "0 0 1 1"}, "column 'box': must be 4 finite numbers"),
    ],
)
def test_an_untrusted_broken_row_is_named_with_file_row_and_reason(tmp_path, row, sentence):
    plain_parquet(tmp_path / "theirs.parquet", [stub_row(**row)])
    with pytest.raises(RowError) as error:
        read_rows(tmp_path)
    assert "theirs.parquet: row " in str(error.value) and sentence in str(error.value)


def test_text_that_is_not_utf8_is_named_and_the_other_rows_are_read(tmp_path):
    rows = [stub_row(index=i) for i in range(3)]
    text = pa.array([b"fine", b"caf\xe9", b"fine"]).view(pa.string())
    plain_parquet(tmp_path / "latin.parquet", rows, source=text)
    first, broken, last = stored_rows(tmp_path / "latin.parquet")
    assert first["id"] == rows[0]["id"] and last["id"] == rows[2]["id"]
    assert str(broken).endswith(
        "latin.parquet: row 1: column 'source': is not UTF-8 text (at "
        "byte 3); write it as UTF-8, or leave the row out"
    )
    with pytest.raises(RowError, match="is not UTF-8"):
        read_rows(tmp_path)


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        ({"a_0_png": png()}, "row 'a': has no .json with the row's columns; it holds 0.png"),
        ({"a_json": b"{'id'"}, "row 'a': its .json is damaged"),
        ({"a_json": b'{"id": "caf\xe9"}'}, "row 'a': its .json is not UTF-8 text (at byte 11)"),
        ({"a_json": b'{"id": "a"}'}, "row 'a': column 'task': is missing"),
        (
            {"a_json": json.dumps({k: v for k, v in stub_row().items() if k != "images"}).encode()},
            "not 0 images for 1 placeholders",
        ),
    ],
)
def test_an_untrusted_tar_is_checked_too(tmp_path, members, sentence):
    tar_of(tmp_path / "theirs.tar", **members)
    with pytest.raises(RowError) as error:
        read_rows(tmp_path)
    assert "theirs.tar" in str(error.value) and sentence in str(error.value)


def test_a_set_that_lost_a_shard_is_not_taken_for_whole(tmp_path):
    make(tmp_path / "set")
    (tmp_path / "set/data/train-00003.parquet").unlink()
    with pytest.raises(RowError, match="lacks train-00003.parquet, .* make or fetch it again"):
        read_rows(tmp_path / "set")


def test_a_half_made_set_is_pointed_to(tmp_path):
    make(tmp_path / "set", rank=0, world=2)
    with pytest.raises(FileNotFoundError, match="a half-made set is at .*set.partial: run the"):
        read_rows(tmp_path / "set")


@pytest.mark.parametrize("share", [0.01, 0.3, 0.5])
@pytest.mark.parametrize("name", ["cut.parquet", "cut.tar"])
def test_a_file_that_was_cut_off_is_named(tmp_path, name, share):
    make(tmp_path / "set", form="parquet" if name == "cut.parquet" else "webdataset")
    whole = next((tmp_path / "set/data").iterdir()).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(RowError, match=f"{name}: is not a readable .*; fetch or make it again"):
        read_rows(tmp_path / name)
