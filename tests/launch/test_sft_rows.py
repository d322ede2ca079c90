"""launch/sft.py on row sets: what it refuses, what it learns, and that it resumes exactly."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

import launch.sft
from data_gen.rows import read_rows, write_rows
from data_gen.toybox.rows import ToyboxSettings, toybox_rows
from rl.policy.loading import load_policy
from tests.launch.launching import environment, log, run_here
from tests.places import ROOT
from tests.tiny import tiny_rows

COUNTS = {"object_consistency": 16, "visual_localization": 16, "identity_consistency": 32}
SIZES = {"reference_px": 32, "query_px": 32}


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """64 rows with answers to imitate, and general ones."""
    where = tmp_path_factory.mktemp("rows")
    named = ToyboxSettings(
        targets=True,
        named_share=1.0,
        named_lengths=[1, 0, 0],
        lengths=[1, 0, 0],
        expected={1: 0.6, 2: 0.4},
        **SIZES,
    )
    for name, counts in (("named", COUNTS), ("general", {"description": 8})):
        maker = toybox_rows(counts, 3, named)
        write_rows(maker, where / name, seed=3, generator="toybox", extra_features=maker.columns)
    return where


@pytest.fixture
def config(tiny, rows, tmp_path):
    """A config that may start; tests break it."""
    return {
        "name": "run",
        "rows": str(rows / "named"),
        "policy": str(tiny["policy"]),
        "output_root": str(tmp_path / "runs"),
        "general_rows": str(rows / "general"),
        "general_share": 0.2,
        "max_steps": 4,
        "per_device_train_batch_size": 4,
        "learning_rate": 3e-3,
        "lr_scheduler_type": "constant",
        "bf16": False,
        "use_cpu": True,
        "logging_steps": 1,
        "save_steps": 2,
        "report_to": "none",
        "disable_tqdm": True,
        "seed": 3,
    }


def write(tmp_path, config) -> list[str]:
    """What the program is told."""
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    return ["--config", str(file)]


def weights(run: Path) -> dict:
    return dict(load_policy(run / "policy")[0].named_parameters())


@pytest.fixture
def sft(monkeypatch):
    def no_weights(*args, **kwargs):
        raise AssertionError("weights were loaded")

    monkeypatch.setattr(launch.sft, "load_policy", no_weights)
    return launch.sft


REFUSED = {
    "unknown key": (dict(learning_rat=1), "unknown key 'learning_rat'; did you mean"),
    "key of grpo": (dict(rewards=["x"]), "unknown key 'rewards'"),
    "missing rows": (dict(rows="nowhere/rows"), "no rows at nowhere/rows"),
    "missing general rows": (dict(general_rows="nowhere/rows"), "no rows at nowhere/rows"),
    "missing policy": (dict(policy="/nowhere/policy"), "cannot open the policy '/nowhere/policy'"),
    "share": (dict(general_share=1.0), "general_share is 1; it must be a share"),
    "too few rows": (dict(max_rows=2, general_rows=None), "has 2 usable rows, fewer than the 4"),
    "box convention": (dict(box_convention="inches"), "set `box_convention` to one of pixels"),
    "resume": (dict(resume="nowhere"), "--resume nowhere: no complete checkpoint there"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refusals_come_before_the_weights(sft, config, tmp_path, capsys, what):
    change, sentence = REFUSED[what]
    assert sft.main(write(tmp_path, {**config, **change})) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("sft: ") and re.search(sentence, error), error


def test_rows_without_an_answer_to_imitate_are_refused(sft, config, tiny, tmp_path, capsys):
    write_rows(tiny_rows(6), tmp_path / "bare", seed=0, generator="test")
    assert sft.main(write(tmp_path, {**config, "rows": str(tmp_path / "bare")})) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "row 'tiny-0-2' (identity_consistency) has no answer to imitate" in error
    assert "'target' is missing" in error and "targets: true" in error


def test_the_curriculum_of_the_base_is_not_for_this_program(sft, capsys):
    assert sft.main(["--config", "configs/tiny_models/toybox_base.yaml"]) == 2
    assert "unknown key 'model'" in capsys.readouterr().err


def test_the_shipped_config_parses_and_says_how_to_run_it(sft):
    from transformers import TrainingArguments

    from rl.settings import parse
    from rl.sft import SupervisedSettings

    file = ROOT / "configs" / "sft" / "rap_toybox.yaml"
    settings, args = parse(["--config", str(file)], SupervisedSettings, TrainingArguments)
    assert settings.name == "rap_toybox" and args.output_dir == "runs/rap_toybox/checkpoints"
    head = file.read_text().partition("\n\n")[0]
    assert "byname sft" in head and "Expect" in head


def test_it_learns_from_64_rows(config, tmp_path):
    config |= {"max_steps": 24, "per_device_train_batch_size": 8, "save_steps": 100}
    said = run_here(launch.sft.main, *write(tmp_path, config))
    assert "general  16 of" in said and "64 of" in said
    losses = [line["loss"] for line in log(tmp_path / "runs" / "run")]
    assert len(losses) == 24 and sum(losses[-4:]) < 0.75 * sum(losses[:4]), losses
    assert not (tmp_path / "runs" / "run" / "policy" / "training_args.bin").exists()
    load_policy(tmp_path / "runs" / "run" / "policy")


@pytest.mark.usefixtures("one_thread")
def test_the_best_by_the_loss_of_held_out_rows_becomes_the_policy(config, rows, tmp_path, capsys):
    config |= {"eval_rows": str(rows / "general"), "eval_strategy": "steps", "eval_steps": 1}
    config |= {"load_best_model_at_end": True, "save_steps": 1, "stop_after": 1}
    config |= {"learning_rate": 0.0}  # nothing becomes better after the first step
    assert launch.sft.main(write(tmp_path, config)) == 0
    assert "the policy is that of step 1, the best by loss (" in capsys.readouterr().out
    lines = (tmp_path / "runs" / "run" / "log.jsonl").read_text().splitlines()
    evaluated = [json.loads(line)["step"] for line in lines if "eval_loss" in line]
    assert evaluated == [1, 2]


def test_a_killed_run_goes_on_as_if_nothing_had_happened(config, tmp_path, capsys):
    """An adapter; tests/launch/test_grpo_resume.py kills runs that train all weights, too."""
    config = {**config, "max_steps": 6, "save_steps": 3, "lora_r": 4, "lora_alpha": 8}
    run_here(launch.sft.main, *write(tmp_path, {**config, "name": "whole"}))
    told = write(tmp_path, {**config, "name": "killed"})
    command = [sys.executable, str(ROOT / "launch" / "sft.py"), *told]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    place, end = tmp_path / "runs" / "killed", time.monotonic() + 400
    mark = place / "checkpoints" / "checkpoint-3" / "complete.json"
    while not mark.exists() and time.monotonic() < end and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert mark.exists(), "no checkpoint in 400 s"
    assert not (place / "policy" / "config.json").exists(), "the kill came too late"

    again = subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=600
    )
    assert again.returncode == 0, again.stderr[-4000:]
    assert "resuming from checkpoint-3" in again.stdout
    runs = [tmp_path / "runs" / name for name in ("whole", "killed")]
    for a, b in zip(*map(log, runs), strict=True):
        assert a["step"] == b["step"] and a["loss"] == pytest.approx(b["loss"], abs=1e-6)
    first, second = map(weights, runs)
    for name, weight in first.items():
        torch.testing.assert_close(second[name], weight, atol=1e-6, rtol=0, msg=name)
    assert json.loads((runs[0] / "policy" / "adapter_config.json").read_text())["r"] == 4

    assert launch.sft.main(write(tmp_path, {**config, "name": "killed", "learning_rate": 0.5})) == 2
    assert "was started with other settings" in capsys.readouterr().err


def test_the_row_set_is_the_one_that_grpo_takes(rows):
    """Its own column beside the contract's does not disturb reinforcement."""
    found = read_rows(rows / "named")
    assert "target" in found.column_names and len(found) == 64
