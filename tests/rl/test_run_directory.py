"""A run's directory: one training at a time, nothing of an earlier run lost."""

import json
import os
from types import SimpleNamespace

import pytest

from rl.checkpoints import mark_complete
from rl.run_directory import claimed, place, resume_from, row_digests
from rl.settings import RunSettings, StartupError

CONFIG = {"learning_rate": 1e-5}
ONE = SimpleNamespace(world_size=1)


@pytest.fixture(autouse=True)
def plain_config(monkeypatch):
    """The settings of a run are what a test says they are."""
    monkeypatch.setattr("rl.run_directory.resolved", lambda settings, args: CONFIG)


@pytest.fixture
def settings(tmp_path):
    rows = tmp_path / "rows"
    rows.mkdir()
    (rows / "train-00000.parquet").write_text("rows")
    return run(tmp_path)


def run(tmp_path, **changes) -> RunSettings:
    given = dict(
        name="run",
        rows=str(tmp_path / "rows"),
        policy="toybox_base",
        output_root=str(tmp_path / "runs"),
        rewards=["rewards:mention_f1"],
    )
    return RunSettings(**{**given, **changes})


def start(settings, config=CONFIG):
    """What a program does before its first step."""
    with claimed(settings) as directory:
        checkpoint = resume_from(settings, ONE)
        digests = row_digests(settings, checkpoint)
        directory.begin(config, "grpo", checkpoint, digests)
    return checkpoint


def finish(settings, step=None):
    """What a run leaves behind."""
    for name in ("log.jsonl", "policy/model.safetensors", "completions/train_000001.parquet"):
        file = settings.output / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("precious")
    if step:
        checkpoint = settings.checkpoints / f"checkpoint-{step}"
        checkpoint.mkdir(parents=True)
        mark_complete(checkpoint, processes=1)


def held(folder):
    files = (f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file())
    return sorted(f for f in files if f != "lock")


def test_starting_over_moves_the_earlier_run_aside(tmp_path, settings, capsys):
    start(settings)
    finish(settings, step=3)
    again = run(tmp_path, resume="none")
    for number in (1, 2):
        start(again)
        kept = tmp_path / "runs" / f"run.{number}"
        assert (kept / "policy/model.safetensors").read_text() == "precious"
        assert f"the earlier run is kept in {kept}" in capsys.readouterr().out
        finish(again)
    assert held(tmp_path / "runs" / "run.1")[0] == "checkpoints/checkpoint-3/complete.json"


def test_nothing_is_moved_where_no_run_is(tmp_path, settings):
    (settings.output / "notes").mkdir(parents=True)
    (settings.output / "notes" / "thesis.tex").write_text("precious")
    start(run(tmp_path, resume="none"))
    assert [f.name for f in (tmp_path / "runs").iterdir()] == ["run"]
    assert "notes/thesis.tex" in held(settings.output)


def test_a_refusal_touches_nothing_and_leaves_nothing_behind(tmp_path, settings):
    with pytest.raises(RuntimeError), claimed(settings):
        raise RuntimeError("a typo in --rewards")
    assert not settings.output.exists()
    start(settings)
    finish(settings)
    before = held(settings.output)
    with pytest.raises(RuntimeError), claimed(run(tmp_path, resume="none")):
        raise RuntimeError("a typo in --rewards")
    assert held(settings.output) == before


def test_a_finished_run_without_checkpoints_is_not_overwritten_by_its_own_command(settings):
    start(settings)
    finish(settings)
    start(settings)
    assert (settings.output.with_name("run.1") / "policy" / "model.safetensors").exists()


def test_one_that_never_reached_a_checkpoint_starts_again_in_its_place(tmp_path, settings):
    start(settings)
    (settings.output / "log.jsonl").write_text('{"step": 1}\n')
    start(settings)
    assert (settings.output / "log.jsonl").exists()
    start(settings, {"learning_rate": 1.0})
    assert held(settings.output) == ["config.resolved.yaml", "rows.json"]
    assert "log.jsonl" in held(tmp_path / "runs" / "run.1")


def test_a_setting_that_is_newer_than_the_run_had_its_default(settings, monkeypatch):
    start(settings)
    finish(settings, step=3)
    newer = CONFIG | {"share_dropout": True, "fast_sampling": True, "load_in_4bit": False}
    monkeypatch.setattr("rl.run_directory.resolved", lambda settings, args: newer)
    assert start(settings, newer).name == "checkpoint-3"
    newer["load_in_4bit"] = True
    with pytest.raises(StartupError, match=r"other settings \(load_in_4bit: False -> True\)"):
        start(settings, newer)


def test_rows_that_changed_under_a_run_are_refused(tmp_path, settings):
    start(settings)
    finish(settings, step=3)
    assert start(settings).name == "checkpoint-3"
    (tmp_path / "rows" / "train-00000.parquet").write_text("ROWS")
    with pytest.raises(StartupError, match=r"no longer holds the rows .* keeps it in .*run\.1"):
        start(settings)
    (tmp_path / "rows" / "train-00000.parquet").write_text("rows")
    (tmp_path / "rows" / "train-00001.parquet").write_text("more")
    with pytest.raises(StartupError, match="no longer holds the rows"):
        start(settings)


@pytest.mark.parametrize("name", ["config.resolved.yaml", "rows.json"])
def test_damaged_records_of_a_run_are_named(settings, name):
    start(settings)
    finish(settings, step=3)
    (settings.output / name).write_bytes(b"[1\xff")
    with pytest.raises(StartupError, match=f"{name}.*give another --name, or --resume none"):
        start(settings)


@pytest.mark.parametrize("key", ["policy", "rows", "replay_completions", "rewards"])
def test_a_run_does_not_move_aside_what_it_reads(tmp_path, settings, key):
    start(settings)
    finish(settings)
    (settings.output / "policy" / "own.py").write_text("")
    inside = str(settings.output / "policy")
    value = [f"{inside}/own.py:reward"] if key == "rewards" else inside
    with pytest.raises(StartupError, match=f"{key} .* lies in the earlier run"):
        resume_from(run(tmp_path, resume="none", **{key: value}), ONE)


def test_a_run_is_not_written_into_its_rows(tmp_path):
    rows = tmp_path / "runs" / "run"
    rows.mkdir(parents=True)
    (rows / "train-00000.parquet").write_text("rows")
    with pytest.raises(StartupError, match="rows .* is where this run would write"):
        start(run(tmp_path, rows=str(tmp_path / "runs" / ".." / "runs" / "run")))
    assert [file.name for file in rows.iterdir()] == ["train-00000.parquet"]


def test_two_trainings_do_not_share_a_directory(tmp_path, settings):
    with claimed(settings):
        for resume in ("auto", "none"):
            with (
                pytest.raises(StartupError, match="is being trained in by another process"),
                claimed(run(tmp_path, resume=resume)),
            ):
                pass
    start(settings)
    finish(settings)
    with claimed(run(tmp_path, resume="none")) as directory:
        directory.begin(CONFIG, "grpo", None, {})  # its own directory is a new one now
        with pytest.raises(StartupError, match="another process"), claimed(settings):
            pass


@pytest.mark.parametrize("name", ["", ".", "..", "../run", "a/../../run", "/tmp/run", "a\0b"])
def test_a_name_stays_below_the_root(tmp_path, settings, name):
    with pytest.raises(StartupError, match="must be that of a folder below"):
        place(run(tmp_path, name=name))


def test_links_are_followed_from_the_start(tmp_path, settings):
    (tmp_path / "runs").mkdir()
    os.symlink(tmp_path / "disk", tmp_path / "runs" / "run")
    start(settings)
    finish(settings)
    start(run(tmp_path, resume="none"))
    assert (tmp_path / "disk.1" / "policy").exists() and (tmp_path / "runs" / "run").is_symlink()
    assert json.loads((tmp_path / "disk" / "rows.json").read_text())
    os.symlink(tmp_path / "runs" / "loop", tmp_path / "runs" / "loop")
    with pytest.raises(StartupError, match="leads to itself"):
        place(run(tmp_path, name="loop"))
