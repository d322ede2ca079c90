"""What a set may replace: a set that byname wrote, when asked to; nothing else is ever lost."""

import json
import os

import pytest

from data_gen.rows import RowError, read_rows, write_rows
from data_gen.rows.build_plan import PlanError
from tests.data_gen.stub_rows import contents, make, stub_row

FOREIGN = [
    {"name": "my web page", "icons": []},
    ["train-00000.parquet"],
    {"shards": [{"file": "train-00000.parquet", "rows": 1, "bytes": 1}]},
    None,
]


@pytest.mark.parametrize("manifest", FOREIGN, ids=["page", "list", "half", "null"])
def test_a_foreign_manifest_makes_no_row_set(tmp_path, manifest):
    out = tmp_path / "set"
    (out / "data").mkdir(parents=True)
    (out / "manifest.json").write_text(json.dumps(manifest))
    (out / "data" / "thesis.tex").write_text("precious")
    before = contents(out)
    for replace in (False, True):
        with pytest.raises(FileExistsError, match="is no row set"):
            make(out, replace=replace)
        with pytest.raises(FileExistsError, match="is no row set"):
            write_rows([stub_row()], out, seed=1, generator="stub", replace=replace)
    assert contents(out) == before


@pytest.mark.parametrize("name", ["notes.txt", "data/extra.parquet", "photos/cat.jpg", "empty/"])
def test_what_lies_in_a_set_and_is_not_ours_stays(tmp_path, name):
    make(tmp_path / "set")
    added = tmp_path / "set" / name
    added.mkdir() if name.endswith("/") else (
        added.parent.mkdir(exist_ok=True),
        added.write_text("precious"),
    )
    before = contents(tmp_path / "set")
    for replace in (False, True):
        with pytest.raises(FileExistsError, match="which byname did not write there"):
            make(tmp_path / "set", seed=2, replace=replace)
    assert contents(tmp_path / "set") == before and added.exists()


def test_a_set_of_another_plan_is_replaced_only_when_asked_to(tmp_path):
    make(tmp_path / "set")
    before = contents(tmp_path / "set")
    with pytest.raises(PlanError, match="seed was 1 and is 2.*--replace true"):
        make(tmp_path / "set", seed=2)
    with pytest.raises(PlanError, match="seed was 1 and is 2"):
        write_rows([stub_row()], tmp_path / "set", seed=2, generator="stub")
    assert contents(tmp_path / "set") == before
    assert make(tmp_path / "set", seed=2, replace=True)["seed"] == 2
    assert [f.name for f in tmp_path.iterdir()] == ["set"]


def test_a_shard_that_was_changed_is_refused_by_readers_and_not_overwritten(tmp_path):
    make(tmp_path / "set")
    shard = tmp_path / "set" / "data" / "train-00001.parquet"
    changed = shard.read_bytes()[:-1] + b"?"  # of the same size
    shard.write_bytes(changed)
    with pytest.raises(RowError, match=r"train-00001\.parquet is not as its manifest says"):
        read_rows(tmp_path / "set")
    with pytest.raises(PlanError, match=r"train-00001\.parquet is not as it was written"):
        make(tmp_path / "set")
    assert shard.read_bytes() == changed
    make(tmp_path / "set", replace=True)
    assert len(read_rows(tmp_path / "set")) == 20


def test_a_damaged_shard_or_mark_of_a_half_made_set_is_made_again(tmp_path):
    make(tmp_path / "undisturbed")
    make(tmp_path / "set", rank=0, world=2)
    partial = tmp_path / "set.partial"
    shard = partial / "data" / "train-00002.parquet"
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    for name, text in (("00004", "{"), ("00000", "[1]"), ("strange", "{}")):
        (partial / "done" / f"{name}.json").write_text(text)
    make(tmp_path / "set")
    (tmp_path / "set" / "done" / "strange.json").unlink()  # not ours: it stayed
    (tmp_path / "set" / "done").rmdir()
    assert contents(tmp_path / "set") == contents(tmp_path / "undisturbed")


def test_folders_beside_the_set_that_are_no_half_made_sets_are_left_alone(tmp_path):
    for ending in ("partial", "whole", "writing"):
        (tmp_path / f"set.{ending}").mkdir()
        (tmp_path / f"set.{ending}" / "thesis.tex").write_text("precious")
    before = contents(tmp_path)
    with pytest.raises(PlanError, match="is no half-made set"):
        make(tmp_path / "set")
    (tmp_path / "set.whole").rename(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError, match="is no half-made set"):
        make(tmp_path / "set")
    (tmp_path / "elsewhere").rename(tmp_path / "set.whole")
    write_rows([stub_row()], tmp_path / "set", seed=1, generator="stub")
    assert before.items() <= contents(tmp_path).items()


def test_a_link_is_followed_from_the_start(tmp_path):
    (tmp_path / "disk").mkdir()
    os.symlink(tmp_path / "disk" / "rows", tmp_path / "set")  # leads to nothing yet
    make(tmp_path / "set")
    make(tmp_path / "set", seed=2, replace=True)
    assert (tmp_path / "set").is_symlink() and len(read_rows(tmp_path / "set")) == 20
    assert [f.name for f in (tmp_path / "disk").iterdir()] == ["rows"]
    os.symlink(tmp_path / "loop", tmp_path / "loop")
    with pytest.raises(FileExistsError, match="leads to itself"):
        make(tmp_path / "loop")
