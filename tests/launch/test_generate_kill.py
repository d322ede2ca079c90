"""The generate command killed without warning, 10 times; and shared among processes."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.launch.launching import environment
from tests.places import ROOT

GENERATE = str(ROOT / "launch" / "generate.py")
KILLS = 10


def arguments(out: Path) -> list[str]:
    """200 toybox rows in 25 shards: most of a run is starting up, and a third is writing."""
    counts = "{object_consistency: 80, visual_localization: 60, identity_consistency: 60}"
    return [
        "--config",
        "configs/data/toybox.yaml",
        "--out",
        str(out),
        "--counts",
        counts,
        "--rows_per_shard",
        "8",
    ]


def run(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def unharmed(tmp_path_factory):
    """The files of the set that nobody disturbed."""
    out = tmp_path_factory.mktemp("unharmed") / "set"
    assert "200 rows" in run(GENERATE, *arguments(out))
    return contents(out)


def contents(out: Path) -> dict[str, bytes]:
    files = {str(f.relative_to(out)): f.read_bytes() for f in out.rglob("*") if f.is_file()}
    assert len([name for name in files if name.startswith("data/")]) == 25
    return files


def listing(out: Path) -> set[str]:
    """Every file of the set and of what it is made in."""
    # Unlike `rglob`, `walk` bears directories that are gone before it comes to them.
    return {os.path.join(where, name) for where, _, names in os.walk(out.parent) for name in names}


def finished_shards(out: Path) -> dict[str, tuple[int, int]]:
    """Shards with a mark, and how to tell whether their files are still the same ones."""
    partial = out.with_name(out.name + ".partial")
    marks = [f.stem for f in (partial / "done").glob("*.json")]
    files = [partial / "data" / f"train-{mark}.parquet" for mark in marks]
    return {f.name: (f.stat().st_ino, f.stat().st_mtime_ns) for f in files}


def killed_at(changes: int, delay: float, out: Path) -> bool:
    """Start the command and kill it some time after so many changes in its directory; whether
    it was still running then."""
    process = subprocess.Popen(
        [sys.executable, GENERATE, *arguments(out)],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    before, end = listing(out), time.monotonic() + 120
    while changes and process.poll() is None and time.monotonic() < end:
        now = listing(out)
        changes -= now != before
        before = now
        time.sleep(0.001)
    time.sleep(delay)
    process.kill()
    return process.wait() == -9


def test_killed_ten_times_it_ends_with_the_same_bytes(tmp_path, unharmed):
    out, rng = tmp_path / "made" / "set", random.Random(3)
    out.parent.mkdir()
    kills = in_the_middle = 0
    while kills < KILLS:
        finished = finished_shards(out)
        if killed_at(rng.randint(0, 12), rng.uniform(0, 0.03), out):
            kills += 1
        if out.exists():  # it had come through, or was killed in its very last steps
            assert contents(out) == unharmed
            out.rename(tmp_path / f"whole-{kills}")
            continue
        now = finished_shards(out)
        if out.with_name("set.partial").exists():
            assert finished.items() <= now.items(), "a finished shard was made again"
        in_the_middle += 0 < len(now) < 25
        for file in out.parent.rglob("train-*.parquet"):
            assert pq.read_metadata(file).num_rows == 8
    assert in_the_middle >= KILLS // 2, "the kills missed the writing"
    run(GENERATE, *arguments(out))
    assert contents(out) == unharmed
    assert [f.name for f in out.parent.iterdir()] == ["set"]


@pytest.mark.parametrize("config", ["cpu", "cpu_2"])
def test_one_process_and_two_make_the_same_files(tmp_path, unharmed, config):
    port = ["--main_process_port", "0"] if config == "cpu_2" else []
    said = run(
        "-m",
        "accelerate.commands.launch",
        "--config_file",
        str(ROOT / "configs" / "accelerate" / f"{config}.yaml"),
        *port,
        GENERATE,
        *arguments(tmp_path / "set"),
    )
    assert said.count("200 rows") == 1  # by the process that closed the set
    assert contents(tmp_path / "set") == unharmed
    assert [f.name for f in tmp_path.iterdir()] == ["set"]
