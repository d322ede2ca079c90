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


def test_contents_are_compared_and_an_older_checkpoint_is_taken(tmp_path, capsys):
    nine, ten = _checkpoint(tmp_path, 9), _checkpoint(tmp_path, 10)
    (ten / "inner" / "part").write_bytes(b"z")  # of the same size
    assert choose("auto", tmp_path, 1) == nine
    said = capsys.readouterr().err
    assert "passed over" in said and "inner/part is not as it was written" in said
    with pytest.raises(ValueError, match="inner/part is not as it was written"):
        choose(str(ten), tmp_path, 1)
    (nine / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="no checkpoint is as it was written: .*10.*9"):
        choose("auto", tmp_path, 1)


MARKS = ["", "null", "[]", "{", '{"files": []}', '{"files": {"a": "b"}, "processes": 1}']
MARKS += ['{"processes": 1}', '{"files": {}}', '{"processes": 1, "files": {"../a": 1}}', "[" * 9999]


@pytest.mark.parametrize("mark", MARKS)
def test_a_damaged_mark_is_no_mark(tmp_path, mark):
    nine, ten = _checkpoint(tmp_path, 9), _checkpoint(tmp_path, 10)
    (tmp_path / "a").write_text("precious")
    (ten / MARK).write_text(mark)
    assert choose("auto", tmp_path, 1) == nine
    prune(tmp_path, 1)
    assert checkpoints(tmp_path) == [nine] and (tmp_path / "a").exists()


def test_other_folders_are_passed_over(tmp_path):
    for name in ("checkpoint-best", "checkpoint-", "checkpoint-1e3", "checkpoint-7-copy"):
        _checkpoint(tmp_path, name.removeprefix("checkpoint-"))
    (tmp_path / "checkpoint-99").write_text("a file")
    assert choose("auto", tmp_path, 1) is None
    three = _checkpoint(tmp_path, 3)
    assert choose("auto", tmp_path, 1) == three and checkpoints(tmp_path) == [three]


def test_pruning_deletes_only_what_the_mark_lists(tmp_path):
    for step in (1, 2, 3):
        _checkpoint(tmp_path, step)
    (tmp_path / "checkpoint-1" / "notes.txt").write_text("precious")
    elsewhere = tmp_path / "disk"
    (tmp_path / "checkpoint-2").rename(elsewhere)
    (tmp_path / "checkpoint-2").symlink_to(elsewhere)
    prune(tmp_path, 1)
    left = sorted(str(f.relative_to(tmp_path)) for f in tmp_path.rglob("*") if f.is_file())
    assert [f for f in left if "-1/" in f] == ["checkpoint-1/notes.txt"]
    assert (elsewhere / "model.safetensors").exists() and (tmp_path / "checkpoint-3").exists()


def test_a_path_without_a_complete_checkpoint_is_refused(tmp_path):
    _checkpoint(tmp_path, 3, complete=False)
    with pytest.raises(ValueError, match="no complete checkpoint there"):
        choose(str(tmp_path / "checkpoint-3"), tmp_path, 1)


def test_another_number_of_processes_is_refused(tmp_path):
    three = _checkpoint(tmp_path, 3)
    for named in ("auto", str(three)):
        with pytest.raises(ValueError, match="by 1 process.es. and cannot be resumed by 2") as told:
            choose(named, tmp_path, 2)
        assert f"(--name another --policy {three})" in str(told.value)
    (three / "adapter_config.json").write_text("{}")
    mark_complete(three, processes=4)
    with pytest.raises(ValueError, match=f"by 4 .* by 3; .*--policy {three} --lora_r 0"):
        choose("auto", tmp_path, 3)
    assert choose("auto", tmp_path, 4) == three and choose("none", tmp_path, 3) is None


def test_pruning_keeps_the_newest_and_does_not_touch_incomplete_ones(tmp_path):
    for step in (1, 2, 3):
        _checkpoint(tmp_path, step)
    _checkpoint(tmp_path, 4, complete=False)
    prune(tmp_path, None)
    assert len(checkpoints(tmp_path)) == 3
    prune(tmp_path, 1)
    assert [p.name for p in checkpoints(tmp_path)] == ["checkpoint-3"]
    assert (tmp_path / "checkpoint-4").exists() and not (tmp_path / "checkpoint-4" / MARK).exists()


@pytest.mark.parametrize(
    ("keep", "best", "left"),
    [
        (None, 2, [1, 2, 3, 4, 5]),
        (1, 2, [2, 5]),  # the best, and the newest to resume from
        (2, 2, [2, 5]),
        (3, 2, [2, 4, 5]),
        (3, 5, [3, 4, 5]),
        (1, 5, [5]),
        (9, 1, [1, 2, 3, 4, 5]),
        (2, 9, [4, 5]),  # a best that no checkpoint holds
    ],
)
def test_pruning_keeps_the_best(tmp_path, keep, best, left):
    for step in range(1, 6):
        _checkpoint(tmp_path, step)
    prune(tmp_path, keep, tmp_path / f"checkpoint-{best}")
    assert [path.name for path in checkpoints(tmp_path)] == [f"checkpoint-{n}" for n in left]


def test_the_log_is_cut_back_to_the_checkpoint(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"ste')
    trim_log(log, 2)
    assert log.read_text() == '{"step": 1}\n{"step": 2}\n'
    trim_log(tmp_path / "none.jsonl", 0)


def test_damaged_lines_of_the_log_are_passed_over(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_bytes(b'{"step": 1}\nnull\n5\n{}\n{"step": "x"}\n\xff\n' + b"[" * 9999 + b"\n")
    trim_log(log, 2)
    assert log.read_text() == '{"step": 1}\n'
