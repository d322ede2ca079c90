"""A newcomer's path, typed from the pages: every block of README.md and docs/first-hour.md runs.

Shrunk: few rows, one step, few questions, short answers; the policy is the tiny one everywhere.
Everything else is as it stands on the page. What programs print is looked at, too.
"""

import random
import re
import shlex
import sys
import warnings
from pathlib import Path

import pytest
import yaml
from PIL import Image

from data_gen.files.settings import read_yaml
from launch import cli
from tests.launch.launching import noise
from tests.places import ROOT, SHARED
from tests.tiny import drawing

PAGES = ("README.md", "docs/first-hour.md")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
TYPED = {"source .venv/bin/activate", "make app"}
"""What is no program of ours; `make demo` stands for the lines of the Makefile, and the page, which
stays open, has a test of its own."""

ANSWERS = ("ask",)
"""Programs that end with an answer, not with what to type next."""

SHRUNK = {
    "grpo": {
        "policy": "toybox_base",
        "max_steps": 1,
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 1,
        "num_generations": 4,
        "max_completion_length": 6,
        "bf16": False,
        "dtype": "float32",
        "gradient_checkpointing": False,
    },
    "evaluate": {"limit": 1, "batch_size": 8, "resamples": 20},
}


def commands(text: str) -> list[list[str]]:
    """The commands of a shell block, as words."""
    lines = text.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def makefile(target: str) -> list[list[str]]:
    """The commands of a target of the Makefile."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = re.search(rf"^{target}: \.venv.*\n((?:\t.*\n)+)", text, re.MULTILINE)
    assert recipe
    values = dict(re.findall(r"^(\w+) :?= (.*)$", text, re.MULTILINE))
    lines = re.sub(r"\$\((\w+)\)", lambda match: values[match[1]], recipe[1])
    return [words[["=" in word for word in words].index(False) :] for words in commands(lines)]


def shrunk(program: str, words: list[str]) -> list[str]:
    """The words of a command, and those that make it small."""
    config = words[words.index("--config") + 1] if "--config" in words else None
    changes = dict(SHRUNK.get(program, {}))
    if program == "generate" and config:
        changes["counts"] = {task: min(n, 8) for task, n in read_yaml(config)["counts"].items()}
    if program == "evaluate" and config:
        limits = read_yaml(config)["max_new_tokens"]
        changes["max_new_tokens"] = dict.fromkeys(limits, 3)
    more = [part for key, value in changes.items() for part in (f"--{key}", yaml_word(value))]
    return [*without(words, changes), *more]


def yaml_word(value) -> str:
    """A value as the command line takes it."""
    return yaml.safe_dump(value, default_flow_style=True).removesuffix("\n...\n").strip()


def python_defaults() -> None:
    """Warnings as Python shows them, not as pytest does."""
    warnings.resetwarnings()
    for kind in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", kind)


def without(words: list[str], keys) -> list[str]:
    """The words without options that are given anew, as a list given twice would be longer."""
    kept: list[str] = []
    dropping = False
    for word in words:
        if word.startswith("--"):
            dropping = word.removeprefix("--") in keys
        if not dropping:
            kept.append(word)
    return kept


class Newcomer:
    """Somebody who types what the pages say, once each, in a folder with the configs."""

    def __init__(self, capfd):
        self.typed: list[list[str]] = []
        self.capfd = capfd

    def type(self, words: list[str]) -> None:
        if words == ["make", "demo"]:
            for line in makefile("demo"):
                self.type([Path(line[0]).name, *line[1:]])
        elif " ".join(words) not in TYPED and words not in self.typed:
            self.typed.append(words)
            assert words[0] == "byname", f"a test does not know how to type {words}"
            self.run(words[1], words[2:])

    def run(self, program: str, words: list[str]) -> None:
        if "--accelerate" in words:  # here, a launch would be minutes; tests/launch has them
            at = words.index("--accelerate")
            assert cli.launcher(words[at : at + 2])
            words = words[:at] + words[at + 2 :]
        said = f"byname {program} {shlex.join(words)}"
        self.capfd.readouterr()
        with warnings.catch_warnings(record=True) as shown:
            python_defaults()
            try:
                status = cli.main([program, *shrunk(program, words)])
            except SystemExit as stop:
                status = stop.code
        out, err = self.capfd.readouterr()
        assert status in (0, None), f"{said}\n{out}\n{err}"
        assert not noise(out + err) and not [str(warning.message) for warning in shown], said
        told = re.search(r"^next: (byname \w+|python -m webbrowser) ", out, re.MULTILINE)
        assert told or program in ANSWERS, said


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with the clone's configs, photos of three subjects, and the sample data beside."""
    where = tmp_path / "clone"
    where.mkdir()
    (where / "configs").symlink_to(ROOT / "configs")
    if SHARED.is_dir():
        (tmp_path / "shared").symlink_to(SHARED.parent)
    for subject, colour in (("my_cat", "grey"), ("blue_mug", "blue"), ("old_backpack", "brown")):
        (where / "photos" / subject).mkdir(parents=True)
        for i in range(3):
            ground = Image.new("RGB", (80, 60 + i), "white")
            ground.paste(drawing(random.Random(f"{subject} {i}"), colour, 48)[0])
            ground.save(where / "photos" / subject / f"{i}.jpg")
    monkeypatch.chdir(where)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    return where


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no sample data at {SHARED}")
@pytest.mark.usefixtures("one_thread")
def test_every_block_of_the_pages_runs_as_it_stands(place, capfd):
    newcomer = Newcomer(capfd)
    for page in PAGES:
        for kind, text in BLOCK.findall((ROOT / page).read_text(encoding="utf-8")):
            if kind == "python":
                (place / "my_rewards.py").write_text(text)
                for name in [name for name in sys.modules if "my_rewards" in name]:
                    del sys.modules[name]  # as in a process of its own
            elif kind == "yaml":
                (place / "my_run.yaml").write_text(text)
            elif not kind:
                for words in commands(text):
                    newcomer.type(words)
            else:
                assert kind == "text", f"a test does not know blocks of {kind}"
    assert len(newcomer.typed) > 12
    assert (place / "runs/inspect/mine/contact_sheet.png").is_file()
    assert (place / "runs/my_run/report.html").is_file()
    assert (place / "runs/repic_qwen2_5_vl_7b/policy/adapter_config.json").is_file()


def test_what_is_typed_is_what_the_pages_say():
    assert commands("a --b 1 \\\n  --c 'x y'  # why\n# no\n") == [["a", "--b", "1", "--c", "x y"]]
    assert [words[1] for words in makefile("demo")] == [
        "generate",
        "grpo",
        "evaluate",
        "report",
        "toys",
    ]
    assert without(["--a", "1", "2", "--b", "--c", "3"], {"a", "c"}) == ["--b"]
    assert shrunk("grpo", ["--max_steps", "9", "--name", "x"])[:2] == ["--name", "x"]


def test_the_pages_hold_to_one_language_of_blocks():
    for page in PAGES:
        kinds = {kind for kind, _ in BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))}
        assert kinds <= {"", "python", "yaml", "text"}, page
