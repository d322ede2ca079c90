"""What trackers show of completions, and under which name."""

import os
from types import SimpleNamespace

import pytest
from trl import GRPOConfig

from rl.callbacks.trackers import markdown, name_trackers, place_tensorboard, table_row


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
