"""Sets built by index: the same files from any number of processes and runs."""

import os

import pyarrow.parquet as pq
import pytest
from datasets import Value
from PIL import Image

from data_gen.rows import ICT, OCT, RowError, building, read_rows, shards, write_rows
from data_gen.rows.build_plan import PlanError
from data_gen.rows.indexed import (
    IndexedRows,
    Skipped,
    interleaved,
    one_after_the_other,
)
from tests.data_gen.stub_rows import contents, make, stub_row, stub_source


@pytest.fixture
def undisturbed(tmp_path):
    make(tmp_path / "undisturbed")
    return contents(tmp_path / "undisturbed")


class Stopped(Exception):
    """Stands for whatever ends a process: nothing of ours catches it."""


def counting(stop_after: int | None = None, **more) -> tuple[IndexedRows, list]:
    """A source that writes down what it was asked for, and stops the process at some row."""
    asked: list[tuple[str, int]] = []

    def row(task: str, index: int) -> dict:
        if len(asked) == stop_after:
            raise Stopped
        asked.append((task, index))
        return stub_row(task, index)

    source = stub_source(**more)
    source.make = row
    return source, asked


@pytest.fixture
def no_sample(monkeypatch):
    """No rows made to see how large they are, so that the rows asked for can be counted."""
    monkeypatch.setattr(building, "check_room", lambda *_: None)


# ---- processes and runs ----


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1]])
def test_jobs_in_any_order_make_the_same_files_and_the_last_closes(tmp_path, undisturbed, order):
    *early, last = [make(tmp_path / "set", rank=rank, world=3) for rank in order]
    assert early == [None, None] and last["rows"] == 20
    assert contents(tmp_path / "set") == undisturbed


def test_the_set_is_read_in_the_order_of_the_maker(tmp_path):
    make(tmp_path / "a")
    assert read_rows(tmp_path / "a")["id"] == [f"{t}-{i}" for t in (ICT, OCT) for i in range(10)]
    make(tmp_path / "b", stub_source(4, order=interleaved))
    assert read_rows(tmp_path / "b")["task"] == [ICT, OCT, ICT, OCT]


def test_orders_hold_every_place_once_and_interleaving_keeps_proportions():
    counts = {"b": 30, "a": 60, "none": 0}
    places = [("a", i) for i in range(60)] + [("b", i) for i in range(30)]
    assert sorted(one_after_the_other(counts)) == sorted(interleaved(counts)) == places
    assert [task for task, _ in interleaved(counts)][:30].count("a") == 20


def test_what_is_finished_is_not_made_again(tmp_path, undisturbed, no_sample):
    source, asked = counting(stop_after=8)
    with pytest.raises(Stopped):
        make(tmp_path / "set", source)
    assert len(asked) == 8 and not (tmp_path / "set").exists()
    assert len(read_rows(tmp_path / "set.partial")) == 6  # two whole shards, none by halves
    source, asked = counting()
    make(tmp_path / "set", source, rank=0)
    assert len(asked) == 14 and asked[0] == (ICT, 6)
    assert contents(tmp_path / "set") == undisturbed


def test_another_number_of_processes_may_go_on(tmp_path, undisturbed):
    with pytest.raises(Stopped):
        make(tmp_path / "set", counting(stop_after=15)[0], rank=1, world=2)
    make(tmp_path / "set")
    assert contents(tmp_path / "set") == undisturbed


def test_a_shard_that_is_damaged_or_lost_is_made_again(tmp_path, undisturbed):
    make(tmp_path / "set", rank=0, world=2)
    partial = tmp_path / "set.partial/data"
    (partial / "train-00002.parquet").unlink()
    os.truncate(partial / "train-00004.parquet", 100)
    make(tmp_path / "set")
    assert contents(tmp_path / "set") == undisturbed


@pytest.mark.parametrize("step", ["contact_sheet", "check_whole", "put_in_place"])
def test_a_set_that_was_stopped_while_it_was_closed_is_closed(
    tmp_path, undisturbed, monkeypatch, step, no_sample
):
    def stop(*_, **__):
        raise Stopped

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(building, step, stop)
        make(tmp_path / "set")
    source, asked = counting()
    assert make(tmp_path / "set", source)["rows"] == 20 and asked == []
    assert contents(tmp_path / "set") == undisturbed
    assert sorted(f.name for f in tmp_path.iterdir()) == ["set", "undisturbed"]


def test_a_process_that_comes_late_begins_nothing(tmp_path, monkeypatch):
    # It has looked, found no set, and begins one; meanwhile another process closed the set.
    begin = building._begin

    def late(partial, settled):
        make(tmp_path / "set")
        monkeypatch.setattr(building, "_begin", begin)
        begin(partial, settled)

    monkeypatch.setattr(building, "_begin", lambda *args: (monkeypatch.undo(), late(*args)))
    assert make(tmp_path / "set") is None
    assert [f.name for f in tmp_path.iterdir()] == ["set"]


def test_two_processes_that_make_the_same_shards_do_no_harm(tmp_path, undisturbed):
    # A launcher was killed and its workers were not; the command is given again meanwhile.
    def twice(task, index):
        if (task, index) == (OCT, 5):
            make(tmp_path / "set")
        return stub_row(task, index)

    source = stub_source()
    source.make = twice
    assert make(tmp_path / "set", source) is None
    assert contents(tmp_path / "set") == undisturbed


# ---- plans ----


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"seed": 2}, "seed was 1 and is 2"),
        ({"settings": {"share": 0.5}}, "settings.share was None and is 0.5"),
        ({"rows_per_shard": 4}, "rows_per_shard was 3 and is 4"),
        (
            {"source": stub_source(fingerprint="other photos")},
            "fingerprint was '' and is 'other photos'",
        ),
    ],
)
def test_a_half_made_set_of_another_plan_is_refused(tmp_path, change, sentence):
    make(tmp_path / "set", rank=0, world=2)
    with pytest.raises(PlanError, match=sentence) as error:
        make(tmp_path / "set", **change)
    assert "set.partial" in str(error.value) and "remove it" in str(error.value)


def test_a_whole_set_is_kept_if_it_is_up_to_date_and_lost_shards_are_made_again(tmp_path):
    make(tmp_path / "set")
    source, asked = counting()
    assert make(tmp_path / "set", source)["seed"] == 1 and asked == []
    (tmp_path / "set/data/train-00000.parquet").unlink()
    assert len(make(tmp_path / "set")["shards"]) == 7
    assert [f.name for f in tmp_path.iterdir()] == ["set"]
    assert len(read_rows(tmp_path / "set")) == 20


def test_a_directory_that_is_no_row_set_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(FileExistsError, match="is no row set"):
        make(tmp_path)


# ---- rows ----


def test_rows_that_cannot_be_had_are_counted_by_reason(tmp_path):
    source = stub_source(skipped={"blurred": 2})
    source.make = lambda task, i: Skipped("too dark") if i < 6 else stub_row(task, i)
    manifest = make(tmp_path / "set", source)
    assert manifest["skipped"] == {"blurred": 2, "too dark": 12} and manifest["rows"] == 8
    assert "train-00000.parquet" not in [shard["file"] for shard in manifest["shards"]]
    assert len(read_rows(tmp_path / "set")) == 8


def test_columns_of_the_maker_are_written(tmp_path):
    source = stub_source(columns={"mood": Value("string")})
    source.make = lambda task, i: stub_row(task, i, mood="glad")
    make(tmp_path / "set", source)
    assert set(read_rows(tmp_path / "set")["mood"]) == {"glad"}


@pytest.mark.parametrize(
    ("make_row", "sentence"),
    [
        (lambda task, i: stub_row(task, i, names=["<bo>"]), "stub: row .* column 'names'"),
        (lambda task, i: stub_row(task, i, id=f"{i % 9}"), "column 'id': is used twice"),
        (lambda task, i: stub_row(task, i, images=[Image.new("RGB", (0, 8))]), "column 'images'"),
        (lambda task, i: stub_row(task, i, images=["a.png"]), "must be pixels, or bytes and path"),
        (lambda task, i: Skipped("too dark"), "made no row; skipped 20: 20 too dark"),
    ],
)
def test_no_set_is_made_of_what_breaks_the_contract(tmp_path, make_row, sentence):
    source = stub_source()
    source.make = make_row
    with pytest.raises(RowError, match=sentence):
        make(tmp_path / "set", source, rows_per_shard=20)
    assert not (tmp_path / "set").exists()


def test_a_stream_of_rows_is_written_in_shards_too(tmp_path, monkeypatch):
    monkeypatch.setattr("data_gen.rows.writing.ROWS_PER_SHARD", 8)
    rows = [stub_row(ICT, i) for i in range(20)]
    manifest = write_rows(iter(rows), tmp_path / "set", seed=0, generator="stub")
    assert [shard["rows"] for shard in manifest["shards"]] == [8, 8, 4]
    assert read_rows(tmp_path / "set")["id"] == [row["id"] for row in rows]


def test_a_shard_of_several_row_groups_is_read_back(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "BYTES_PER_GROUP", 200)
    make(tmp_path / "set", rows_per_shard=20)
    groups = pq.ParquetFile(tmp_path / "set/data/train-00000.parquet").num_row_groups
    rows = read_rows(tmp_path / "set")
    assert groups > 3 and len(rows) == 20
    assert rows[7]["images"][0].getpixel((0, 0)) == (7, 0, 7)
