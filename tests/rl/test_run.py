"""How a run ends: saved, or interrupted."""

from types import SimpleNamespace

from rl.run import shutdown_distributed, train_and_save


class StubTrainer:
    """A trainer that trains nothing."""

    state = SimpleNamespace(global_step=7)

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
    settings = SimpleNamespace(output=tmp_path, checkpoints=tmp_path / "checkpoints")
    assert train_and_save(trainer, settings, None) == 0
    assert trainer.resumed_from is None
    assert [file.name for file in (tmp_path / "policy").iterdir()] == ["model.safetensors"]
    assert f"policy saved to {tmp_path}/policy/" in capsys.readouterr().out


def test_an_interrupted_run_saves_nothing_and_says_how_to_resume(tmp_path, capsys):
    trainer = StubTrainer(KeyboardInterrupt())
    settings = SimpleNamespace(output=tmp_path, checkpoints=tmp_path / "checkpoints")
    assert train_and_save(trainer, settings, tmp_path / "checkpoint-5") == 130
    assert trainer.resumed_from == str(tmp_path / "checkpoint-5")
    assert not (tmp_path / "policy").exists()
    assert "stopped at step 7; the same command resumes" in capsys.readouterr().err


def test_one_process_has_no_group_to_shut_down():
    shutdown_distributed()
