"""Running the real programs on tiny things: under `accelerate launch`, or where the test runs."""

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import pyarrow.parquet as pq
import torch

from tests.places import ROOT

REWARDS = ROOT / "tests" / "rl" / "letter_reward.py"


def command(config: str, tiny: dict, name: str, *extra: str) -> list[str]:
    """:func:`options` under ``configs/accelerate/<config>.yaml``."""
    return [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--config_file",
        str(ROOT / "configs" / "accelerate" / f"{config}.yaml"),
        "--main_process_port",
        "0",
        str(ROOT / "launch" / "grpo.py"),
        *options(tiny, name, *extra),
    ]


def options(tiny: dict, name: str, *extra: str) -> list[str]:
    """The smoke recipe on the tiny policy and rows, as options of the program.

    ``extra`` replaces what it gives anew: given twice, a list would have both.
    """
    rewards = (
        [] if "--rewards" in extra else ["--rewards", f"{REWARDS}:vowels", f"{REWARDS}:spaces"]
    )
    weights = [] if "--reward_weights" in extra else ["--reward_weights", "1", "0.5"]
    return [
        "--config",
        str(ROOT / "configs" / "grpo" / "toybox_smoke.yaml"),
        "--policy",
        str(tiny["policy"]),
        "--rows",
        str(tiny["rows"]),
        "--output_root",
        str(tiny["runs"]),
        "--name",
        name,
        *rewards,
        *weights,
        "--reward_settings",
        "{}",
        *extra,
    ]


def environment() -> dict[str, str]:
    """One thread per process, nothing downloaded, no GPU."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": str(ROOT),
    }


def launch(*args: str, timeout: int = 600) -> subprocess.CompletedProcess:
    """Run to the end; the output goes into the assertion where it fails."""
    done = subprocess.run(
        command(*args), cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=timeout
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    found = noise(done.stdout + done.stderr)
    assert not found, found
    return done


def run_here(main: Callable[[list[str]], int | None], *args: str) -> str:
    """Run a program in the test's process, which has imported everything already, on one thread;
    what it printed."""
    threads, said = torch.get_num_threads(), io.StringIO()
    torch.set_num_threads(1)
    try:
        with redirect_stdout(said):
            status = main([*args])
    finally:
        torch.set_num_threads(threads)
    assert not status, said.getvalue()
    return said.getvalue()


NOISE = re.compile(
    r"Warning\b|\[WARNING\]|\bwarn\(|\[W\d|\bNCCL\b|\[Gloo\]|\[transformers\]|parallel_mode"
    r"|deprecated|^\s*[\[{]['\"]"
)
"""Lines of libraries, and Python's or JSON's braces, which are no prose."""


def noise(said: str) -> list[str]:
    """Lines of a program's output that are no words to its user. One is not ours: accelerate's
    launcher imports DeepSpeed, which says that there is no GPU, before any of our code runs."""
    lines = (line for line in re.split(r"[\r\n]", said) if "real_accelerator.py" not in line)
    return [line for line in lines if NOISE.search(line)]


def log(run: Path) -> list[dict]:
    """The lines of ``log.jsonl`` that are of training steps."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if "loss" in line]


def completions(run: Path) -> list[list[dict]]:
    """Kept completions, step by step."""
    return [pq.read_table(f).to_pylist() for f in sorted((run / "completions").glob("*.parquet"))]
