"""A run as its trackers see it, evaluated on held-out rows, stopped when nothing becomes better."""

import json
import os
import sqlite3
from contextlib import suppress
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import launch.grpo
from rl.checkpoints import checkpoints
from tests.launch.launching import REWARDS
from tests.places import ROOT
from tests.tiny import save_tiny_rows

tensorboard = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def arguments(tiny, name, *extra):
    return [
        *("--config", str(ROOT / "configs" / "grpo" / "toybox_smoke.yaml")),
        *("--policy", str(tiny["policy"]), "--rows", str(tiny["rows"])),
        *("--output_root", str(tiny["runs"]), "--name", name, "--use_cpu", "true"),
        *("--reward_settings", "{}", "--max_completion_length", "8", "--disable_tqdm", "true"),
        *("--gradient_accumulation_steps", "1", "--save_steps", "1", "--logging_steps", "1"),
        *extra,
    ]


@pytest.fixture
def watched(tiny, tmp_path):
    """Three steps, each evaluated; everybody earns the same, so nothing becomes better."""
    held_out = save_tiny_rows(tmp_path / "held_out", n=3)
    args = arguments(
        *(tiny, "study/watched", "--max_steps", "6"),
        *("--eval_rows", str(held_out), "--eval_strategy", "steps", "--eval_steps", "1"),
        *("--load_best_model_at_end", "true", "--metric_for_best_model", "tasks/cut"),
        *("--rewards", f"{REWARDS}:never", "--reward_weights", "1"),
        *("--stop_after", "2", "--report_to", "tensorboard", "--tracker_rows", "3"),
    )
    return args, tiny["runs"] / "study" / "watched"


@pytest.mark.usefixtures("one_thread")
def test_it_is_watched_evaluated_and_stopped(watched, capsys):
    args, run = watched
    # No evaluation has such a metric: that is told before weights load.
    assert launch.grpo.main(args) == 2
    said = capsys.readouterr().err
    assert "metric_for_best_model is 'tasks/cut', and no evaluation has it" in said
    assert not run.exists()

    args[args.index("tasks/cut")] = "tasks/identity_consistency/reward"
    assert launch.grpo.main(args) == 0
    assert "the policy is that of step 1, the best by tasks/identity_consistency/reward" in (
        capsys.readouterr().out
    )
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    evaluated = [line for line in lines if "eval_reward" in line]
    assert [line["step"] for line in evaluated] == [1, 2, 3]  # the best, and two no better
    assert [path.name for path in checkpoints(run / "checkpoints")] == [
        "checkpoint-1",
        "checkpoint-3",
    ]

    events = tensorboard.EventAccumulator(str(run / "tensorboard")).Reload()
    scalars = events.Tags()["scalars"]
    for task in ("object_consistency", "visual_localization", "identity_consistency"):
        assert f"eval/tasks/{task}/reward" in scalars
    assert {"train/groups/zero_variance", "train/completions/mean_length"} <= {*scalars}
    logged = [line["reward"] for line in lines if "loss" in line]
    assert [e.value for e in events.Scalars("train/reward")] == pytest.approx(logged)

    (text,) = [
        e.tensor_proto.string_val[0] for e in events.Tensors("completions/train/text_summary")
    ]
    first = pq.read_table(run / "completions" / "train_000000.parquet").to_pylist()[:3]
    assert text.decode().count("\n") == 1 + len(first)
    assert all(row["id"].split("-")[0] in text.decode() for row in first)
    pictured = [tag for tag in events.Tags()["images"] if tag.startswith("completions/")]
    with_images = [i for i, row in enumerate(first) if "[image]" in row["prompt"]]
    assert [f"completions/train/{i}" for i in with_images] == [
        tag for tag in pictured if "/train/" in tag
    ]
    card = (run / "policy" / "README.md").read_text()
    assert "metric_for_best_model: tasks/identity_consistency/reward" in card
    assert "On the held-out rows, while training:" in card and str(tiny_root(run)) not in card


def tiny_root(run):
    """The folder of all that the test wrote: a card tells nobody where its user keeps things."""
    return run.parents[2]


@pytest.mark.usefixtures("one_thread")
def test_trackio_gets_metrics_and_completions_with_images(tiny):
    """``TRACKIO_DIR=/tmp/t pytest ...``: trackio reads it when it is imported."""
    trackio = pytest.importorskip("trackio")
    if "TRACKIO_DIR" not in os.environ:
        pytest.skip("it would write into the user's own folder: set TRACKIO_DIR")
    args = arguments(
        *(tiny, "tracked", "--max_steps", "2", "--report_to", "trackio", "--tracker_rows", "3"),
        *("--rewards", f"{REWARDS}:vowels", "--reward_weights", "1"),
    )
    assert launch.grpo.main(args) == 0
    with suppress(RuntimeError):  # where the training has finished it already
        trackio.finish()
    folder = Path(os.environ["TRACKIO_DIR"])
    with sqlite3.connect(folder / "tracked.db") as stored:
        lines = [json.loads(m) for (m,) in stored.execute("select metrics from metrics")]
        assert {name for (name,) in stored.execute("select run_name from metrics")} == {"tracked"}
    keys = {key for line in lines for key in line}
    assert {"train/groups/zero_variance", "train/completions/mean_length"} <= keys
    assert any(key.startswith("train/tasks/") and key.endswith("/reward") for key in keys)
    assert "completions/train" in keys
    assert list((folder / "media" / "tracked").rglob("*.png"))  # the images of the completions
