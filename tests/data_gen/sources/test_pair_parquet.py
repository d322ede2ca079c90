"""Pairs from the hub: kept part by part, and what is said when the hub is not there."""

import errno

import pyarrow.parquet as pq
import pytest
from datasets import load_dataset

from data_gen.files.errors import SourceError
from data_gen.sources import pair_parquet
from data_gen.sources.pair_parquet import fetch_pairs, is_hub_id, keep_pairs
from tests.data_gen.pair_rows import pair, row, write


def test_hub_ids_are_told_from_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own" / "pairs").mkdir(parents=True)
    assert is_hub_id("Yuanshi/Subjects200K")
    assert not any(map(is_hub_id, ["own/pairs", "/a/b", "../a/b", "a", "./a", str(tmp_path)]))


def test_a_stream_is_kept_part_by_part_and_taken_up_where_it_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(pair_parquet, "PART_ROWS", 3)
    file = write(tmp_path / "hub" / "a.parquet", [row(i) for i in range(10)])

    def stream():
        return load_dataset(
            "parquet",
            data_files=str(file),
            split="train",
            streaming=True,
            cache_dir=str(tmp_path / "hf"),
        )

    keep_pairs(stream(), tmp_path / "kept", 4)
    parts = sorted(p.name for p in (tmp_path / "kept").iterdir())
    assert parts == ["part-00000.parquet", "part-00001.parquet"]
    keep_pairs(stream().skip(4), tmp_path / "kept", None)
    tables = [pq.read_table(p) for p in sorted((tmp_path / "kept").glob("*.parquet"))]
    assert [t.num_rows for t in tables] == [3, 1, 3, 3]
    kept = [value for t in tables for value in t.column("image").to_pylist()]
    assert [value["bytes"] for value in kept] == [pair(i) for i in range(10)]
    assert (tmp_path / "kept/complete").exists()


def test_a_hub_that_cannot_be_reached_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(SourceError, match="hub data set nobody/nothing cannot be read .*network"):
        fetch_pairs("nobody/nothing", tmp_path, 5)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            OSError(errno.ENOSPC, "No space left"),
            "the disk of .* is full; whole files .* make room",
        ),
        (RuntimeError(), "cannot be read .RuntimeError"),
    ],
)
def test_what_goes_wrong_while_streaming_is_one_sentence(tmp_path, monkeypatch, error, sentence):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(pair_parquet, "load_dataset", fail)
    with pytest.raises(SourceError, match=sentence):
        fetch_pairs("nobody/nothing", tmp_path, 5)


def test_what_was_fetched_is_not_fetched_again(tmp_path):
    write(tmp_path / "nobody--nothing" / "part-00000.parquet", [row(i) for i in range(6)])
    assert fetch_pairs("nobody/nothing", tmp_path, 6) == tmp_path / "nobody--nothing"
