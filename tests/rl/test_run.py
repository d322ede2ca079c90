"""How a run ends: saved, or interrupted."""

import os
import signal
from types import SimpleNamespace

import pytest

from rl.callbacks.preemption import PreemptedError
from rl.checkpoints import mark_complete
from rl.finite import NotFiniteError
from rl.run import shutdown_distributed, train_and_save


class StubTrainer:
    """A trainer that trains nothing."""

    state = SimpleNamespace(global_step=7, best_global_step=None)
    args = SimpleNamespace(load_best_model_at_end=False)

    def __init__(self, error=None):
        self.error, self.resumed_from = error, "not trained"

    def train(self, resume_from_checkpoint):
        self.resumed_from = resume_from_checkpoint
        if self.error:
            raise self.error

    def save_model(self, path):
        from pathlib import Path

        Path(path).mkdir()
        for name in ("model.safetensors", "training_args.bin"):
            (Path(path) / name).write_text("")

    def is_world_process_zero(self):
        return True


def test_a_finished_run_saves_its_policy_without_a_pickle(tmp_path, capsys):
    trainer = StubTrainer()
    settings = SimpleNamespace(
        output=tmp_path, checkpoints=tmp_path / "checkpoints", policy="toybox_base"
    )
    assert train_and_save(trainer, settings, None) == 0
    assert trainer.resumed_from is None
    assert sorted(file.name for file in (tmp_path / "policy").iterdir()) == [
        "README.md",
        "model.safetensors",
    ]
    said = capsys.readouterr().out
    assert f"policy saved to {tmp_path}/policy/\nnext: byname evaluate --config" in said
    assert f"--policy trained={tmp_path}/policy --out {tmp_path}/eval\n" in said
    assert said.endswith(f" byname report {tmp_path}\n")


def run_in(tmp_path):
    return SimpleNamespace(output=tmp_path, checkpoints=tmp_path / "checkpoints")


@pytest.fixture
def interruptible():
    """Ctrl-C as it was before: an interrupted run ignores a second one."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_preempted_run_says_where_it_resumes_from(tmp_path, capsys):
    kept = tmp_path / "checkpoints" / "checkpoint-7"
    kept.mkdir(parents=True)
    mark_complete(kept, processes=1)
    assert train_and_save(StubTrainer(PreemptedError(7)), run_in(tmp_path), None) == 143
    said = capsys.readouterr().err
    assert f"stopped by SIGTERM at step 7; the same command resumes from {kept}" in said
    assert not (tmp_path / "policy").exists()


@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_run_saves_nothing_and_says_how_to_resume(tmp_path, capsys):
    trainer = StubTrainer(KeyboardInterrupt())
    kept = tmp_path / "checkpoints" / "checkpoint-5"
    kept.mkdir(parents=True)
    mark_complete(kept, processes=1)
    assert train_and_save(trainer, run_in(tmp_path), kept) == 130
    assert trainer.resumed_from == str(kept)
    assert not (tmp_path / "policy").exists()
    said = capsys.readouterr().err
    assert f"stopped at step 7; the same command resumes from {kept}" in said
    # A launcher passes on what the terminal has sent already: no traceback comes of that.
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.usefixtures("interruptible")
def test_before_the_first_checkpoint_it_says_that_there_is_none(tmp_path, capsys):
    assert train_and_save(StubTrainer(KeyboardInterrupt()), run_in(tmp_path), None) == 130
    assert "stopped at step 7; before its first checkpoint" in capsys.readouterr().err


def test_a_run_that_is_not_finite_saves_no_policy_and_fails(tmp_path, capsys):
    error = NotFiniteError("step 8: the loss is nan; before it, vowels gave 0 to 1 for rows 'a'")
    assert train_and_save(StubTrainer(error), run_in(tmp_path), None) == 1
    assert not (tmp_path / "policy").exists()
    said = capsys.readouterr().err
    assert "stopped: step 8: the loss is nan; before it, vowels gave" in said
    assert "no policy was saved, there is no checkpoint; try a lower --learning_rate" in said


def test_one_process_has_no_group_to_shut_down():
    shutdown_distributed()
