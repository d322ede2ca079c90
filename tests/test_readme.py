"""What the README quotes is what the repository holds."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_quoted_reward_is_the_tested_one():
    assert (ROOT / "tests/rewards/example_reward.py").read_text().strip() in README


def test_every_file_and_config_it_names_exists():
    named = set(re.findall(r"(?:configs|launch|docs|rl|data_gen|rewards)/[\w/]+\.(?:yaml|py|png)",
                           README))
    assert len(named) >= 8
    assert not [name for name in named if not (ROOT / name).exists()]
