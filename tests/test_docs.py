"""What README and docs say of the repository is what it holds."""

import os
import re
import shutil
import subprocess

import pytest

from tests.places import ROOT
from tests.tree import tree

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
PATH = re.compile(
    r"(?<![\w./-])(?:configs|launch|docs|rl|data_gen|rewards|benchmarks|concepts|tests)/"
    r"[\w/]+\.(?:yaml|py|png|md|json)"
)


def test_the_quoted_reward_is_the_tested_one():
    assert (ROOT / "tests/rewards/example_reward.py").read_text().strip() in README


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_file_and_config_it_names_exists(page):
    named = set(PATH.findall(page.read_text(encoding="utf-8")))
    assert not [name for name in named if not (ROOT / name).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_leads_somewhere(page):
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
    assert not [link for link in links if not (page.parent / link).exists()]


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 150


def test_the_tree_is_what_the_docstrings_say():
    assert (ROOT / "docs" / "tree.md").read_text(encoding="utf-8") == tree(), (
        "python tests/tree.py > docs/tree.md"
    )


@pytest.mark.skipif(not shutil.which("make"), reason="no make here")
def test_make_clean_leaves_runs_and_clean_runs_asks(tmp_path):
    # Of a `make test` around it, whose own make would say which folder it enters.
    env = {k: v for k, v in os.environ.items() if not k.startswith("MAKE") and k != "MFLAGS"}

    def make(target: str, answer: str = "") -> str:
        done = subprocess.run(
            ["make", "-f", str(ROOT / "Makefile"), target],
            cwd=tmp_path,
            env=env,
            input=answer,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    for folder in ("runs/x/policy", ".venv"):
        (tmp_path / folder).mkdir(parents=True)
    make("clean")
    assert (tmp_path / "runs/x/policy").is_dir() and not (tmp_path / ".venv").exists()
    for answer in ("", "n\n", "yes please\n"):
        assert "runs/ stays" in make("clean-runs", answer)
    assert (tmp_path / "runs/x/policy").is_dir()
    make("clean-runs", "y\n")
    assert not (tmp_path / "runs").exists()
    assert make("clean-runs") == ""


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no git checkout")
def test_what_users_make_is_ignored_and_nothing_of_ours():
    def git(*words: str, said: str = "") -> list[str]:
        return subprocess.run(
            ["git", *words], cwd=ROOT, input=said, capture_output=True, text=True
        ).stdout.split()

    theirs = ["runs/x/log.jsonl", "my_rewards.py", "my_run.yaml", "photos/cat/1.jpg", "data/x.json"]
    assert git("check-ignore", "--stdin", said="\n".join(theirs)) == theirs
    assert git("ls-files", "--cached", "--ignored", "--exclude-standard") == []
