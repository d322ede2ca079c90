"""The whole experiment with tiny arms: killed without warning, and resumed to the table."""

import json
import subprocess
import sys
import time

import psutil
import pytest
import yaml

from benchmarks.experiments.run import OURS
from tests.launch.launching import environment, run_here
from tests.places import ROOT

SIZES = {"naming_1": 2, "naming_2": 1, "owned_1": 2, "naming_absent": 1, "list": 2, "oct": 2}
ROWS = {
    "counts": {"object_consistency": 2, "visual_localization": 2, "identity_consistency": 4},
    "reference_px": 32,
    "query_px": 32,
}


@pytest.fixture(scope="module")
def compare():
    import launch.compare

    return launch.compare


@pytest.fixture
def config(tiny, tmp_path):
    """Two arms of the shipped experiment, one seed, few steps of a policy that knows nothing."""
    found = yaml.safe_load((ROOT / "configs" / "benchmarks" / "rl_vs_sft.yaml").read_text())
    arms = {name: found["arms"][name] for name in ("base", "grpo_n")}
    arms["grpo_n"] |= {
        "rates": [1e-3],
        "set": {
            "max_steps": 6,
            "save_steps": 2,
            "per_device_train_batch_size": 4,
            "num_generations": 2,
            "max_completion_length": 4,
            "reward_settings": {"mention_f1": {"floor": 0}},
        },
    }
    evaluate = {
        **found["evaluate"],
        "sizes": {"test": SIZES, "validation": SIZES},
        "max_new_tokens": {"oct": 2, "vlt": 2, "captions": 4},
        "resamples": 20,
        "reference_px": 32,
        "query_px": 32,
        "toys": 4,
        "cache": str(tmp_path / "toys"),
        "retrieval": {
            "encoder": "toybox_clip",
            "regions": None,
            "cache": str(tmp_path / "features"),
        },
    }
    rows = {
        **found["rows"],
        "sets": {"few": ROWS, "general": {**ROWS, "counts": {"description": 3}, "seed": 900}},
    }
    file = tmp_path / "experiment.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                **found,
                "out": str(tmp_path / "out"),
                "policy": str(tiny["policy"]),
                "seeds": [1],
                "jobs": 1,
                "arms": arms,
                "compare": [["base", "grpo_n"]],
                "evaluate": evaluate,
                "rows": rows,
            },
            sort_keys=False,
        )
    )
    return file


def test_killed_and_resumed_to_the_table(compare, config, tmp_path, monkeypatch):
    out = tmp_path / "out"
    first = subprocess.Popen(
        [sys.executable, str(ROOT / "launch" / "compare.py"), "--config", str(config)],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    reached = out / "train" / "grpo_n-1" / "checkpoints" / "checkpoint-2" / "complete.json"
    end = time.monotonic() + 900
    while not reached.exists() and first.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    family = [psutil.Process(first.pid), *psutil.Process(first.pid).children(recursive=True)]
    assert len(family) > 1, first.communicate()[0]
    for process in family:
        process.kill()
    first.wait()
    assert not (out / "train" / "grpo_n-1" / "policy" / "config.json").exists()
    marks = {file.name: file.stat().st_mtime_ns for file in (out / "done").iterdir()}
    assert "rows-few-1.json" in marks and "train-grpo_n-1.json" not in marks

    for key, value in environment().items():  # of the commands that it starts
        monkeypatch.setenv(key, value)
    said = run_here(compare.main, "--config", str(config))
    assert "resuming from checkpoint-" in (out / "logs" / "train-grpo_n-1.log").read_text()
    for name, time_of in marks.items():  # what was finished has not been done again
        assert (out / "done" / name).stat().st_mtime_ns == time_of
    result = json.loads((out / "results.json").read_text())
    assert result["runs"] == {"base": 1, "grpo_n": 1}
    assert set(result["general"]["grpo_n"]) == {
        "list/counted",
        "list/placed",
        "list/attribute_accuracy",
    }
    assert result["rates"]["grpo_n"]["chosen"] == "0.001"
    text = (out / "results.md").read_text()
    assert "Not finished" not in text and "GRPO, N rows − base" in text
    assert text in said
    assert not [p for p in psutil.process_iter() if _environment(p).get(OURS) == str(out)]


def _environment(process: psutil.Process) -> dict:
    try:
        return process.environ()
    except psutil.Error:
        return {}


def test_the_plan_alone_touches_nothing(compare, config, tmp_path, capsys):
    compare.main(["--config", str(config), "--plan"])
    said = capsys.readouterr().out
    assert "train/grpo_n-1" in said and "minutes of one core left" in said
    assert not (tmp_path / "out").exists()
    compare.main(["--config", str(config), "--plan", "--only", "base"])
    assert "grpo" not in capsys.readouterr().out


def test_a_plan_is_there_at_once_for_any_seeds():
    """Torch takes ten seconds to load."""
    said = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, launch.compare as c; c.main(sys.argv[1:]); print('torch' in sys.modules)",
            *("--config", "configs/benchmarks/preferthinker_ladder.yaml"),
            *("--plan", "true", "--seeds", "[7]"),
        ],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert "train/sft-7" in said.stdout and "train/sft-1" not in said.stdout
    assert said.stdout.split()[-1] == "False"


def test_mistakes_are_one_sentence(compare, config, tmp_path):
    with pytest.raises(SystemExit, match="no arm 'dpo'"):
        compare.main(["--config", str(config), "--only", "dpo"])
    with pytest.raises(SystemExit, match="cannot read nowhere.yaml"):
        compare.main(["--config", "nowhere.yaml"])
    with pytest.raises(SystemExit, match="jobs and threads start at 1"):
        compare.main(["--config", str(config), "--jobs", "0"])
