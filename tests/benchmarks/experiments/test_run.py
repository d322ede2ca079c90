"""Running the steps: one experiment per directory; killed commands end, failed ones run again."""

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from benchmarks.experiments import run
from benchmarks.experiments.config import ExperimentError
from benchmarks.experiments.plan import Step
from data_gen.files.errors import InputError


def test_a_directory_holds_one_experiment(config, read):
    with run.claimed(read(config)) as out:
        assert yaml.safe_load((out / "evaluate.yaml").read_text())["sizes"]
        with (
            pytest.raises(InputError, match="worked on by another process"),
            run.claimed(read(config)),
        ):
            pass
    with run.claimed(read(config, jobs=1, seeds=[1, 2, 3])):
        pass  # how it is run is not what it is, and runs may be added
    with (
        pytest.raises(ExperimentError, match=r"holds another experiment \(other choose\)"),
        run.claimed(read(config, choose="naming_2/f1")),
    ):
        pass
    config["arms"]["sft_n"]["rates"] = [0.5]
    (out / "test" / "sft_n-1").mkdir(parents=True)
    with pytest.raises(ExperimentError, match=r"\(other arm sft_n\)"), run.claimed(read(config)):
        pass


MADE = ["sweep/sft_n-0.1", "train/sft_n-1", "rows/few-1", "done/test-sft_n-1.json",
        "done/rows-few-1.json"]  # fmt: skip


@pytest.mark.parametrize("made", MADE)
def test_what_nothing_was_made_with_may_change(config, read, made):
    with run.claimed(read(config)) as out:
        pass
    for place in ("rows/many-1", "train/grpo_n-1", "test/base"):  # of others
        (out / place).mkdir(parents=True)
    config["arms"]["sft_n"]["set"] = {"weight_decay": 0.1}
    config["rows"]["sets"]["few"] = {"facts": True}
    with run.claimed(read(config)):
        pass
    (out / made).mkdir(parents=True)
    config["arms"]["sft_n"]["set"] = {"weight_decay": 0.2}
    config["rows"]["sets"]["few"] = {"facts": False}
    other = "rows few" if "rows" in made else "arm sft_n"
    with pytest.raises(ExperimentError, match=rf"\(other {other}\)"), run.claimed(read(config)):
        pass


def test_a_sweep_may_be_made_longer_until_an_arm_is_trained(config, read):
    with run.claimed(read(config)) as out:
        pass
    rates = config["arms"]["sft_n"]["rates"]
    config["arms"]["sft_n"]["rates"] = [1e-6, *rates]
    (out / "train" / "grpo_n-1").mkdir(parents=True)  # of another sweep
    with run.claimed(read(config)):
        pass
    (out / "train" / "sft_n-1").mkdir()
    for other in ([1e-7, 1e-6, *rates], rates):
        config["arms"]["sft_n"]["rates"] = other
        with (
            pytest.raises(ExperimentError, match=r"\(other arm sft_n\)"),
            run.claimed(read(config)),
        ):
            pass


def test_commands_that_outlived_their_starter_are_ended(config, read):
    e = read(config)
    out = Path(e.out)
    sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
    mine = subprocess.Popen(sleeper, env={run.OURS: str(out)})
    other = subprocess.Popen(sleeper, env={run.OURS: str(out) + "2"})
    try:
        # For a moment a new process has no environment yet.
        while not all(psutil.Process(p.pid).environ().get(run.OURS) for p in (mine, other)):
            time.sleep(0.01)
        with run.claimed(e):
            assert not psutil.pid_exists(mine.pid)
            assert other.poll() is None
    finally:
        for process in (mine, other):
            process.kill()
            process.wait()


def steps_of(tmp_path, *scripts: str) -> list[Step]:
    return [
        Step(
            f"train/{i}",
            "",
            "train",
            lambda s=s: [sys.executable, "-c", s],
            (f"train/{i - 1}",) if i else (),
            0.1,
        )
        for i, s in enumerate(scripts)
    ]


def test_a_failed_command_is_shown_and_given_again(config, read, tmp_path):
    e, place = read(config), tmp_path / "ready"
    picky = f"import os, sys; sys.exit(0 if os.path.exists({str(place)!r}) else 'no cake')"
    steps = steps_of(tmp_path, "print('first')", picky, "print('last')")
    done = []
    with run.claimed(e) as out:
        with pytest.raises(ExperimentError, match="(?s)train/1 ended with 1.*no cake"):
            run.run_steps(e, out, steps, lambda step: done.append(step.name))
        assert done == ["train/0"]
        place.write_text("")
        run.run_steps(e, out, steps, lambda step: done.append(step.name))
        assert done == ["train/0", "train/1", "train/2"]
        assert run.seconds_left(out, steps)[0] == 0


STUBBORN = """
import pathlib, signal, sys, time
def save(*_):
    time.sleep(1.5)  # a step that must be finished first
    pathlib.Path(sys.argv[1]).write_text("saved")
    if sys.argv[2] == "ends":
        sys.exit()
signal.signal(signal.SIGTERM, save)
print("ready", flush=True)
while True:
    time.sleep(0.1)
"""


@pytest.mark.parametrize("how", ["ends", "never ends"])
def test_a_command_that_is_stopped_has_time_to_save(tmp_path, monkeypatch, how):
    if how == "never ends":
        monkeypatch.setattr(run, "_SAVES", 3)
    command = [sys.executable, "-c", STUBBORN, str(tmp_path / "saved"), how]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline()
        run.end([psutil.Process(process.pid)])
        assert (tmp_path / "saved").read_text() == "saved"
        assert not psutil.pid_exists(process.pid)
