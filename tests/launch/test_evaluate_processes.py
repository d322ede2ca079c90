"""Two processes reply what one replies, and a killed one's part is joined."""

import json
import subprocess
import sys

import yaml

from launch import evaluate
from tests.launch.launching import environment, noise, run_here
from tests.places import ROOT

CONFIG = {
    "size": "tiny",
    "sizes": {"tiny": {"oct": 6, "vlt": 3, "naming_1": 2}},
    "max_new_tokens": {"oct": 3, "vlt": 3, "captions": 4},
    "reference_px": 32,
    "query_px": 32,
    "batch_size": 2,
    "resamples": 20,
}


def replies(out):
    return {
        file.name: sorted(file.read_text().splitlines())
        for file in (out / "predictions" / "tiny").iterdir()
        if not file.name.endswith(".seconds.jsonl")  # how long each batch took
    }


def options(tmp_path, tiny, out) -> list[str]:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(CONFIG))
    return ["--config", str(file), "--out", str(out), "--policy", f"tiny={tiny['policy']}"]


def two_processes(*options: str) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "accelerate.commands.launch",
            "--config_file",
            str(ROOT / "configs" / "accelerate" / "cpu_2.yaml"),
            "--main_process_port",
            "0",
            str(ROOT / "launch" / "evaluate.py"),
            *options,
        ],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    assert done.stdout.count("wrote ") == 1  # by the first process alone
    assert not noise(done.stdout + done.stderr)


def test_two_processes_reply_what_one_replies(tmp_path, tiny):
    run_here(evaluate.main, *options(tmp_path, tiny, tmp_path / "one"))
    two_processes(*options(tmp_path, tiny, tmp_path / "two"))
    one = replies(tmp_path / "one")
    assert set(one) == {"oct.jsonl", "vlt.jsonl", "naming_1.jsonl"}
    assert replies(tmp_path / "two") == one
    columns = [json.loads((tmp_path / n / "columns.json").read_text()) for n in ("one", "two")]
    assert columns[0] == columns[1] and columns[0]["tiny"]["oct/accuracy"]

    # As if killed before the first process could join the parts.
    whole = tmp_path / "two" / "predictions" / "tiny" / "oct.jsonl"
    lines = whole.read_text().splitlines(keepends=True)
    whole.write_text("".join(lines[:4]))
    whole.with_name("oct.part1.jsonl").write_text("".join(lines[4:]) + '{"id": "torn')
    run_here(evaluate.main, *options(tmp_path, tiny, tmp_path / "two"))
    assert replies(tmp_path / "two") == one
