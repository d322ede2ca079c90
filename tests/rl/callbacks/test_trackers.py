"""What trackers show of completions, and under which name."""

import os
from types import SimpleNamespace

import numpy
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from transformers import TrainerControl, TrainerState
from trl import GRPOConfig

from data_gen.images.montage import composite
from data_gen.rows import read_rows, write_rows
from rl.callbacks.trackers import (
    THUMBNAIL,
    CompletionTables,
    markdown,
    name_trackers,
    place_tensorboard,
    table_row,
)
from tests.tiny import tiny_rows


@pytest.mark.parametrize(
    ("name", "given", "run", "project"),
    [
        ("demo", {}, "demo", "demo"),
        ("study/seed_1", {}, "study/seed_1", "study"),
        ("demo", {"run_name": "mine", "project": "ours"}, "mine", "ours"),
    ],
)
def test_trackers_bear_the_runs_name(monkeypatch, tmp_path, name, given, run, project):
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    args = GRPOConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, **given)
    name_trackers(SimpleNamespace(name=name), args)
    assert (args.run_name, args.project, os.environ["WANDB_PROJECT"]) == (run, project, project)


class TensorBoardCallback:
    def __init__(self, logging_dir):
        self.logging_dir = logging_dir


def test_tensorboard_writes_beside_the_checkpoints_unless_told_where(tmp_path):
    callbacks = [TensorBoardCallback(None), TensorBoardCallback("there"), object()]
    place_tensorboard(SimpleNamespace(output=tmp_path), callbacks)
    assert [c.logging_dir for c in callbacks[:2]] == [str(tmp_path / "tensorboard"), "there"]


def test_what_a_model_wrote_opens_no_cell_line_link_or_element():
    row = {"step": 1, "task": "t", "id": "a", "prompt": "p", "reward": 0.5, "reward/x": None}
    row |= {"completion": "| a\n# b <img src=x> [c](http://d) `e` &lt;", "advantage": 1 / 3}
    row |= {"length": 3, "cut_off": False, "completion_ids": [1]}
    shown = table_row(row)
    assert list(shown)[:5] == ["step", "task", "id", "prompt", "completion"]
    assert "completion_ids" not in shown and shown["reward/x"] is None
    lines = markdown([shown]).splitlines()
    assert len(lines) == 3 and len({line.count("|") for line in lines}) == 1
    assert not set("<`[#\\") & set(lines[2].replace("&#", ""))
    assert "0.333" in lines[2]
    assert markdown([]) == ""


class Writer:
    """Of TensorBoard: it remembers what it is given."""

    def __init__(self):
        self.images, self.tb_writer = {}, self

    def add_image(self, title, pixels, step):
        self.images[title] = pixels.numpy().transpose(1, 2, 0)

    def add_text(self, *_):
        pass

    flush = add_text


def test_images_are_those_of_the_row_in_its_own_set(tmp_path):
    """Rows of both sets may be named alike; a run may have been begun with other held-out rows."""
    sets = {}
    for seed, mode in enumerate(("train", "eval")):
        rows = [row | {"id": f"row-{i}"} for i, row in enumerate(tiny_rows(3, seed, 0))]
        write_rows(rows, tmp_path / mode, seed=seed, generator="tests")
        sets[mode] = read_rows(tmp_path / mode)
    writer = Writer()
    tables = CompletionTables(tmp_path, sets, every=1, most=3, callbacks=[writer])
    told = {"step": 1, "task": "t", "prompt": "p", "completion": "c", "reward": 0.0}
    told |= {"advantage": 0.0, "length": 1, "cut_off": False}
    for mode, loss in (("train", "loss"), ("eval", "eval_loss")):
        ids = ["row-0", "of an earlier set"]
        found = pa.Table.from_pylist([told | {"id": row_id} for row_id in ids])
        pq.write_table(found, tmp_path / f"{mode}_000001.parquet")
        state, args = TrainerState(global_step=1), SimpleNamespace(report_to=["tensorboard"])
        tables.on_log(args, state, TrainerControl(), {loss: 0.0})
        shown = writer.images[f"completions/{mode}/0"]
        image = composite(sets[mode][0]["images"], THUMBNAIL)
        assert numpy.array_equal(shown, numpy.asarray(image))
    assert set(writer.images) == {"completions/train/0", "completions/eval/0"}
