import pytest

from rl.checkpoints import (
    MARK,
    checkpoints,
    choose,
    mark_complete,
    prune,
)
from rl.run_log import trim_log


def _checkpoint(directory, step, complete=True):
    path = directory / f"checkpoint-{step}"
    (path / "inner").mkdir(parents=True)
    (path / "model.safetensors").write_bytes(b"x" * 10)
    (path / "inner" / "part").write_bytes(b"y")
    if complete:
        mark_complete(path, processes=1)
    return path


def test_auto_takes_the_last_complete_checkpoint(tmp_path):
    assert choose("auto", tmp_path, 1) is None
    _checkpoint(tmp_path, 9)
    ten = _checkpoint(tmp_path, 10)
    _checkpoint(tmp_path, 11, complete=False)  # killed while saving
    cut_short = _checkpoint(tmp_path, 12)
    (cut_short / "model.safetensors").write_bytes(b"x" * 9)  # a copy that broke off
    assert choose("auto", tmp_path, 1) == ten
    assert choose("none", tmp_path, 1) is None
    assert choose(str(tmp_path / "checkpoint-9"), tmp_path, 1).name == "checkpoint-9"


def test_a_path_without_a_complete_checkpoint_is_refused(tmp_path):
    _checkpoint(tmp_path, 3, complete=False)
    with pytest.raises(ValueError, match="no complete checkpoint there"):
        choose(str(tmp_path / "checkpoint-3"), tmp_path, 1)


def test_another_number_of_processes_is_refused(tmp_path):
    _checkpoint(tmp_path, 3)
    with pytest.raises(ValueError, match=r"written by 1 process\(es\) and cannot be resumed by 2"):
        choose("auto", tmp_path, 2)


def test_pruning_keeps_the_newest_and_does_not_touch_incomplete_ones(tmp_path):
    for step in (1, 2, 3):
        _checkpoint(tmp_path, step)
    _checkpoint(tmp_path, 4, complete=False)
    prune(tmp_path, None)
    assert len(checkpoints(tmp_path)) == 3
    prune(tmp_path, 1)
    assert [p.name for p in checkpoints(tmp_path)] == ["checkpoint-3"]
    assert (tmp_path / "checkpoint-4").exists() and not (tmp_path / "checkpoint-4" / MARK).exists()


def test_the_log_is_cut_back_to_the_checkpoint(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"ste')
    trim_log(log, 2)
    assert log.read_text() == '{"step": 1}\n{"step": 2}\n'
    trim_log(tmp_path / "none.jsonl", 0)
