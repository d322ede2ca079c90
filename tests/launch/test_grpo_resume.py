"""Six steps equal three, a SIGKILL, and three more."""

import json
import signal
import subprocess
import sys

import pytest
import torch

import launch.grpo
from rl.policy.loading import load_policy
from tests.launch.launching import REWARDS, completions, environment, log, options, run_here
from tests.places import ROOT

# Each generation batch feeds two optimizer steps, so that the checkpoint of step 3 lies between
# its two halves; an epoch has 4 steps, so that step 5 begins the second.
RECIPE = [
    "--per_device_train_batch_size",
    "4",
    "--gradient_accumulation_steps",
    "1",
    "--steps_per_generation",
    "2",
    "--max_rows",
    "4",
    "--max_steps",
    "6",
    "--save_steps",
    "3",
    "--warmup_steps",
    "2",
    "--lr_scheduler_type",
    "cosine",
]
FULL = ["--dynamic_sampling", "true", "--dynamic_sampling_limit", "2"]
LORA = [
    "--lora_r",
    "4",
    "--lora_alpha",
    "8",
    "--lora_dropout",
    "0.2",
    "--beta",
    "0.1",
    "--gradient_checkpointing",
    "true",
]


def _options(tiny, name: str, extra: list[str]) -> list[str]:
    rewards = ["--rewards", f"{REWARDS}:deadly", "--reward_weights", "1"]
    return options(tiny, name, *rewards, *RECIPE, *extra)


def _run(tiny, name: str, extra: list[str], **variables) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(ROOT / "launch" / "grpo.py"), *_options(tiny, name, extra)],
        cwd=ROOT,
        env={**environment(), **variables},
        timeout=600,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("extra", [FULL, LORA], ids=["full", "lora"])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(tiny, extra):
    name = f"resume-{extra[0].strip('-')}"
    run_here(launch.grpo.main, *_options(tiny, f"{name}-whole", extra))
    killed = _run(tiny, f"{name}-killed", extra, KILL_AT="4")
    assert killed.returncode == -signal.SIGKILL
    runs = [tiny["runs"] / f"{name}-{kind}" for kind in ("whole", "killed")]
    assert [line["step"] for line in log(runs[1])] == [1, 2, 3, 4]
    assert (runs[1] / "checkpoints" / "checkpoint-3" / "generation_0.safetensors").exists()
    assert not (runs[1] / "policy").exists()

    again = _run(tiny, f"{name}-killed", extra)
    assert again.returncode == 0, again.stderr[-4000:]
    assert "resuming from checkpoint-3" in again.stdout
    want, got = (log(run) for run in runs)
    assert [line["step"] for line in got] == [1, 2, 3, 4, 5, 6]
    for a, b in zip(want, got, strict=True):
        assert a.get("reward") == b.get("reward")  # none in the second step of a generation
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-6)
        assert a["learning_rate"] == b["learning_rate"]
    for a, b in zip(*(completions(run) for run in runs), strict=True):
        assert [(r["id"], r["round"], r["completion_ids"]) for r in a] == [
            (r["id"], r["round"], r["completion_ids"]) for r in b
        ]
    models = [dict(load_policy(run / "policy")[0].named_parameters()) for run in runs]
    for weight in models[0]:
        torch.testing.assert_close(
            models[1][weight], models[0][weight], atol=1e-6, rtol=0, msg=weight
        )
    if extra is FULL:
        assert sum(line.get("dynamic_sampling/drawn", 0) for line in got) > 0
    else:
        config = json.loads((runs[1] / "policy" / "adapter_config.json").read_text())
        assert config["base_model_name_or_path"] == str(tiny["policy"])
        assert not (runs[1] / "policy" / "training_args.bin").exists()
