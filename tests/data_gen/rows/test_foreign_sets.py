"""Row sets of others: further columns, pictures as files, tars and folders with more in them."""

import io
import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from data_gen.rows import read_rows
from data_gen.rows.contract import RowError
from data_gen.rows.inspection import inspect_rows
from data_gen.rows.reading import stored_rows


def png(i: int, size: tuple[int, int] = (20, 16)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (10 * i, 90, 200)).save(buffer, "PNG")
    return buffer.getvalue()


def row(i: int, **more) -> dict:
    content = [{"type": "image", "text": None}, {"type": "text", "text": "Is it there?"}]
    return {
        "id": f"r{i}",
        "task": "object_consistency",
        "prompt": [{"role": "user", "content": content}],
        "images": [{"bytes": png(i), "path": None}],
        "answer": "yes",
        "box": None,
        "names": [],
        "absent_names": [],
        "source": "x",
    } | more


def parquet(path: Path, *rows: dict) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), path)
    return path


def tar(path: Path, **members: bytes | str) -> Path:
    with tarfile.open(path, "w") as file:
        for name, content in members.items():
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path


def as_json(i: int, **more) -> str:
    return json.dumps({k: v for k, v in row(i, **more).items() if k != "images"})


def report(path: Path, out: Path) -> dict:
    inspect_rows(path, out)
    return json.loads((out / "report.json").read_text())


# ---- further columns ----


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        ({}, {"extra": 1}, set()),
        ({"extra": 1}, {}, set()),
        ({"extra": 1}, {"extra": "one"}, set()),
        ({"extra": 1, "more": 2}, {"extra": 1}, {"extra"}),
        ({"extra": {"a": 1}}, {"extra": {"a": 1, "b": 2}}, set()),
    ],
)
@pytest.mark.parametrize("form", ["parquet", "tar"])
def test_further_columns_that_differ_do_no_harm(tmp_path, form, first, second, kept):
    for i, more in enumerate((first, second)):
        if form == "parquet":
            parquet(tmp_path / "set" / f"{i}.parquet", row(i, **more))
        else:
            (tmp_path / "set").mkdir(exist_ok=True)
            tar(
                tmp_path / "set" / f"{i}.tar",
                **{f"r{i}.json": as_json(i, **more), f"r{i}.png": png(i)},
            )
    rows = read_rows(tmp_path / "set")
    assert set(rows.column_names) == set(row(0)) | kept
    assert [r["id"] for r in rows] == ["r0", "r1"] and rows[1]["images"][0].size == (20, 16)


# ---- pictures as files of their own ----


@pytest.mark.parametrize("place", ["images/0.png", "./images/0.png", "images\\0.png"])
@pytest.mark.parametrize("where", ["rows.parquet", "data/rows.parquet"])
def test_paths_are_told_from_the_file(tmp_path, monkeypatch, place, where):
    """…whatever folder the program runs in."""
    (tmp_path / "set" / "images").mkdir(parents=True)
    (tmp_path / "set" / "images" / "0.png").write_bytes(png(0))
    parquet(tmp_path / "set" / where, row(0, images=[{"bytes": None, "path": place}]))
    monkeypatch.chdir(tmp_path)
    assert read_rows("set")[0]["images"][0].getpixel((0, 0)) == (0, 90, 200)
    assert report(tmp_path / "set", tmp_path / "out")["rows"] == 1


@pytest.mark.parametrize("place", ["gone.png", "../secret.png"])
def test_a_path_that_is_not_there_or_outside_is_named(tmp_path, place):
    (tmp_path / "secret.png").write_bytes(png(0))
    parquet(tmp_path / "set" / "rows.parquet", row(0, images=[{"bytes": None, "path": place}]))
    with pytest.raises(
        RowError, match=f"row 'r0': column 'images': an image has no bytes.*{place}"
    ):
        read_rows(tmp_path / "set")


# ---- what lies beside rows, and names that a shell would mind ----


def test_what_systems_leave_is_no_part_of_a_set(tmp_path):
    parquet(tmp_path / "rows.parquet", row(0))
    for name in (
        "._rows.parquet",
        "@eaDir/rows.parquet",
        ".ipynb_checkpoints/rows-checkpoint.parquet",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\0\5\x16\7" + bytes(20))
    assert len(read_rows(tmp_path)) == 1 and report(tmp_path, tmp_path / "out")["bad_rows"] == 0


def test_a_tar_may_hold_what_macos_and_others_add(tmp_path):
    members = {
        "./._r0.json": b"\0",
        "./r0.json": as_json(0),
        "./r0.png": png(0),
        "./r0.txt": "a red dog",
    }
    members |= {
        "./r0.cls": "3",
        "./.DS_Store": b"x",
        "__MACOSX/r0.json": b"x",
        "./r0.meta.xml": "<x/>",
    }
    tar(tmp_path / "rows.tar", **members)
    assert report(tmp_path, tmp_path / "out") | {"rows": 1, "bad_rows": 0} == report(
        tmp_path, tmp_path / "out"
    )
    (found,) = stored_rows(tmp_path / "rows.tar")
    assert isinstance(found, dict) and len(found["images"]) == 1


@pytest.mark.parametrize("ending", ["tar.gz", "tgz", "tar.zst", "zip"])
def test_packed_rows_must_be_unpacked(tmp_path, ending):
    (tmp_path / f"rows.{ending}").write_bytes(b"\x1f\x8b")
    for path in (tmp_path, tmp_path / f"rows.{ending}"):
        with pytest.raises(FileNotFoundError, match="is packed.*unpack it"):
            read_rows(path)


@pytest.mark.parametrize("name", ["12:30", "photos #1", "[album]", "50%20", "a b"])
def test_a_relative_path_of_any_name(tmp_path, monkeypatch, name):
    parquet(tmp_path / name / "rows.parquet", row(0))
    monkeypatch.chdir(tmp_path)
    assert len(read_rows(name)) == 1
    monkeypatch.chdir(tmp_path / name)
    assert len(read_rows(".")) == 1 and report(Path("."), tmp_path / "out")["rows"] == 1


@pytest.mark.parametrize("size", [(2200, 9), (5, 1100)])
def test_a_picture_that_no_processor_takes_is_named_with_its_row(tmp_path, size):
    long = row(1, images=[{"bytes": png(1, size), "path": None}])
    parquet(tmp_path / "set" / "rows.parquet", row(0), long)
    with pytest.raises(
        RowError, match="row 'r1': column 'images': an image is more than 200 times"
    ):
        read_rows(tmp_path / "set")
    found = report(tmp_path / "set", tmp_path / "out")
    assert found["rows"] == 1 and found["bad_rows"] == 1
