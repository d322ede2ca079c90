"""Real photos through the real main job: folders -> rows -> GRPO with the shipped tiny base."""

import subprocess
import sys

import pytest

from launch.generate import main as generate
from rl.policy.loading import load_policy
from tests.launch.launching import environment, log, noise
from tests.places import ROOT

PHOTOS = ROOT.parent / "shared/data/dreambooth"


@pytest.mark.shared
@pytest.mark.skipif(not PHOTOS.is_dir(), reason=f"no sample photos at {PHOTOS}")
def test_grpo_runs_on_rows_made_from_folders_of_photos(tmp_path):
    generate(
        [
            "--config",
            str(ROOT / "configs/data/folders.yaml"),
            "--root",
            str(PHOTOS),
            "--out",
            str(tmp_path / "rows"),
            "--size",
            "160",
            "--counts",
            "{object_consistency: 6, identity_consistency: 6}",
        ]
    )
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "accelerate.commands.launch",
            "--config_file",
            str(ROOT / "configs/accelerate/cpu.yaml"),
            str(ROOT / "launch/grpo.py"),
            "--config",
            str(ROOT / "configs/grpo/folders_tiny.yaml"),
            "--policy",
            "toybox_base",
            "--rows",
            str(tmp_path / "rows"),
            "--output_root",
            str(tmp_path / "runs"),
            "--max_steps",
            "2",
            "--per_device_train_batch_size",
            "8",
            "--num_generations",
            "4",
            "--max_completion_length",
            "24",
        ],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    assert not noise(done.stdout + done.stderr)
    run = tmp_path / "runs/folders_tiny"
    assert len(log(run)) == 2
    assert load_policy(run / "policy")
