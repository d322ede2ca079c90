"""What README and docs say of the repository is what it holds."""

import re

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
