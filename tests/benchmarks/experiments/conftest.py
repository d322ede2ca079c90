"""The shipped experiment, cut down, and readers of changed copies."""

import pytest
import yaml

from benchmarks.experiments.config import read_experiment
from tests.places import ROOT

SHIPPED = ROOT / "configs" / "benchmarks" / "rl_vs_sft.yaml"


@pytest.fixture
def config(tmp_path):
    """The shipped experiment with two seeds and three arms."""
    found = yaml.safe_load(SHIPPED.read_text())
    arms = {name: found["arms"][name] for name in ("base", "sft_n", "grpo_n")}
    return {
        **found,
        "out": str(tmp_path / "out"),
        "seeds": [1, 2],
        "arms": arms,
        "compare": [["sft_n", "grpo_n"]],
    }


@pytest.fixture
def read(tmp_path):
    def read(config, **changes):
        file = tmp_path / "config.yaml"
        file.write_text(yaml.safe_dump({**config, **changes}, sort_keys=False))
        return read_experiment(file)

    return read
