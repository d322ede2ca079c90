"""`byname tiny_model` makes a tiny policy from nothing, and resumes as if never stopped."""

import json
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForImageTextToText, AutoProcessor

from launch.tools import tiny_model
from tests.launch.launching import environment, noise, run_here
from tests.places import ROOT

CONFIG = {
    "model": "policy",
    "n_rows": 24,
    "tiny": {
        "vocab_size": 512,
        "hidden_size": 48,
        "layers": 2,
        "heads": 4,
        "kv_heads": 2,
        "intermediate_size": 96,
        "vision_hidden_size": 32,
        "vision_layers": 2,
        "vision_intermediate_size": 64,
        "max_image_px": 64,
    },
    "toybox": {"query_px": 64},
    "stages": [{"until": 12, "mix": {"description": 1}}, {"until": 24, "mix": {"perception": 1}}],
    "save_dtype": "float32",
    "per_device_train_batch_size": 4,
    "learning_rate": 1e-3,
    "num_train_epochs": 1,
    "train_sampling_strategy": "sequential",
    "remove_unused_columns": False,
    "bf16": False,
    "activation_checkpointing": False,
    "logging_steps": 1,
    "save_steps": 3,
    "report_to": "none",
    "disable_tqdm": True,
    "seed": 3,
}


def write(folder: Path, **changes) -> str:
    folder.mkdir(exist_ok=True)
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump({**CONFIG, "output_dir": str(folder / "out"), **changes}))
    return str(config)


def run(folder: Path, *launcher: str, **changes) -> subprocess.CompletedProcess:
    config = write(folder, **changes)
    return subprocess.run(
        [sys.executable, *launcher, "-m", "launch.tools.tiny_model", "--config", config],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sft")
    with pytest.MonkeyPatch.context() as patch:  # a tokenizer of fewer rows than the 6000 drawn
        patch.setattr(tiny_model, "toybox_corpus", partial(tiny_model.toybox_corpus, n=60))
        said = run_here(tiny_model.main, "--config", write(folder))
    assert re.search(r"^next: byname evaluate .*/out/policy$", said, re.MULTILINE)
    return folder / "out"


def test_what_is_saved_loads_like_any_model(whole):
    model = AutoModelForImageTextToText.from_pretrained(whole / "policy")
    processor = AutoProcessor.from_pretrained(whole / "policy")
    assert model.config.model_type == "qwen2_5_vl"
    assert processor.tokenizer.padding_side == "left"
    assert not list((whole / "policy").glob("*.bin"))


def test_resumed_training_equals_training_that_never_stopped(whole, tmp_path):
    # The policy spares the tokenizer's training; its weights give way to the checkpoint's.
    resumed = run(tmp_path, policy=str(whole / "policy"), resume=str(whole / "checkpoint-3"))
    assert resumed.returncode == 0, (resumed.stdout + resumed.stderr)[-4000:]
    a, b = (
        AutoModelForImageTextToText.from_pretrained(path / "policy").state_dict()
        for path in (whole, tmp_path / "out")
    )
    for name, weight in a.items():
        torch.testing.assert_close(b[name], weight, atol=1e-6, rtol=1e-6, msg=name)


def test_two_processes_share_the_rows_though_no_setting_says_cpu(whole, tmp_path):
    launcher = ("-m", "accelerate.commands.launch", "--main_process_port", "0", "--config_file")
    accelerate = str(ROOT / "configs/accelerate/cpu_2.yaml")
    done = run(tmp_path, *launcher, accelerate, policy=str(whole / "policy"))
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert not noise(done.stdout + done.stderr)
    lines = [json.loads(line) for line in (tmp_path / "out/log.jsonl").read_text().splitlines()]
    assert max(line["step"] for line in lines) == 3  # 24 rows, 4 a step and process


def test_stages_are_checked(tmp_path):
    config = write(tmp_path, stages=[{"until": 12, "mix": {"description": 1}}])
    with pytest.raises(SystemExit, match=r"last one at n_rows \(24\)"):
        tiny_model.main(["--config", config])
