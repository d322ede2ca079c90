"""A run with vLLM that was stopped goes on with the same command."""

import json
import subprocess
import sys

from tests.places import ROOT
from tests.vllm.engines import mixed_rows, need_vllm, save_tiny_qwen2_5

need_vllm()

PROGRAM = """
import sys
import tests.vllm.cpu
tests.vllm.cpu.prepare()
from launch.grpo import main
sys.exit(main(sys.argv[1:]))
"""


def test_the_same_command_goes_on(tmp_path):
    """What a run fills in by itself, such as the longest sequence that vLLM makes room for, is no
    setting that has changed."""
    rows = tmp_path / "rows"
    mixed_rows(rows)
    policy = save_tiny_qwen2_5(tmp_path / "policy")

    def run(steps: int) -> str:
        options = {
            "config": "configs/grpo/toybox_smoke.yaml",
            "rows": rows,
            "policy": policy,
            "output_root": tmp_path / "runs",
            "max_steps": steps,
            "save_steps": 1,
            "use_vllm": "true",
            "vllm_options": "{enforce_eager: true}",
        }
        words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *words], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(1)
    assert "checkpoint-1" in run(2)
    log = (tmp_path / "runs" / "toybox_smoke" / "log.jsonl").read_text().splitlines()
    steps = [json.loads(line).get("step") for line in log]
    assert 1 in steps and 2 in steps
