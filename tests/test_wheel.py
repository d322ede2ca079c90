"""The wheel has all that the checkout has: modules, prompts, weights and configs."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.places import ROOT

ROOMS = ("benchmarks", "concepts", "configs", "data_gen", "launch", "rewards", "rl")

LOOK = """
import importlib, pkgutil, sys
from pathlib import Path

rooms = sys.argv[1].split(",")
for room in rooms:
    package = importlib.import_module(room)
    assert "site-packages" in package.__path__[0], package.__path__
    for module in pkgutil.walk_packages(package.__path__, room + "."):
        if not module.name.endswith("__main__") and "lmms_eval.utils" not in module.name:
            importlib.import_module(module.name)

from data_gen.tasks.prompts import load_prompts
from data_gen.toybox.models.attribute_classifier import load_attribute_classifier
from data_gen.images.encoders import load_encoder
from data_gen.synthesis.pipelines import pipeline_settings
from rl.policy.loading import load_policy
from rl.settings import parse

assert load_prompts()
load_policy("toybox_base"), load_policy("rl/toybox_base")
load_encoder("toybox_clip")
load_attribute_classifier("toybox_attribute_classifier")
pipeline_settings({"class": "AutoPipelineForText2Image", "weights": "toybox_diffusion"}, "here")
assert parse(["--config", "configs/grpo/toybox_demo.yaml"])[0].policy == "toybox_base"
print("all there")
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder of an environment in which the wheel is installed, and the checkout is not."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and not name.startswith("tests/"):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, source / name)
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--no-deps",
            "--no-build-isolation",
            "--quiet",
            "--wheel-dir",
            str(folder),
            str(source),
        ],
        check=True,
        env=environment(),
    )
    (wheel,) = folder.glob("byname-*.whl")
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True
    )
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder / "venv")}))
    # The libraries of this environment; a path alone, so that no .pth of its own (such as that of
    # an editable install) is followed.
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "--python",
            str(folder / "venv/bin/python"),
            "install",
            "--no-deps",
            "--no-index",
            "--ignore-installed",
            "--quiet",
            str(wheel),
        ],
        check=True,
        env=environment(),
    )
    return folder


def environment() -> dict[str, str]:
    """Without the checkout, which `make test` puts on the path: pip would find byname there."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}


def run(installed: Path, *command: str) -> str:
    """Run in an empty folder; what it printed."""
    empty = installed / "empty"
    empty.mkdir(exist_ok=True)
    done = subprocess.run(
        [str(installed / "venv/bin" / command[0]), *command[1:]],
        cwd=empty,
        env={**environment(), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout


def test_every_module_imports_and_what_ships_is_found(installed):
    assert "all there" in run(installed, "python", "-c", LOOK, ",".join(ROOMS))


def test_the_command_lists_its_programs_and_makes_rows(installed):
    assert "grpo" in run(installed, "byname")
    said = run(
        installed,
        "byname",
        "generate",
        "--config",
        "configs/data/toybox.yaml",
        "--counts",
        "{object_consistency: 2, identity_consistency: 1}",
        "--out",
        "rows",
    )
    assert "3 rows" in said and (installed / "empty/rows/manifest.json").is_file()


def test_it_carries_no_tests_and_no_documents(installed):
    site = next((installed / "venv/lib").glob("python*/site-packages"))
    ours = {path.name for path in site.iterdir()} - {"libraries.pth", "__pycache__"}
    assert {name for name in ours if "." not in name} == set(ROOMS)
