"""Plans: the order of steps, their commands, and the choice of rates."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks.experiments.config import ExperimentError, read_experiment
from benchmarks.experiments.plan import plan, rate_of
from benchmarks.experiments.run import seconds_left
from benchmarks.toybox.benchmark import ToyboxBenchmarkSettings, toybox_set
from tests.places import ROOT

SHIPPED = ROOT / "configs" / "benchmarks" / "rl_vs_sft.yaml"


def write_validation(experiment, scores: dict[str, float | None]) -> None:
    """Evaluations of a sweep, as launch/evaluate.py writes them."""
    for run, score in scores.items():
        place = Path(experiment.out) / "validate" / run
        place.mkdir(parents=True)
        (place / "evaluation.json").write_text(
            json.dumps({"metrics": {experiment.choose: {"values": {run: {"value": score}}}}})
        )


def test_every_step_comes_after_what_it_needs():
    steps = plan(read_experiment(SHIPPED))
    seen: set[str] = set()
    for step in steps:
        assert set(step.needs) <= seen | {"test/base"}, step.name
        seen.add(step.name)
    assert len(seen) == len(steps)
    tests = [step.name for step in steps if step.kind == "test"]
    experiment = read_experiment(SHIPPED)
    assert len(tests) == 1 + 3 * (len(experiment.arms) - 1) and len(experiment.seeds) >= 3


def test_two_hours_of_two_cores_at_most():
    steps = plan(read_experiment(SHIPPED))
    left, total = seconds_left(Path("/nowhere"), steps)
    assert left == total <= 2 * 2 * 3600


def test_no_rate_is_chosen_by_toys_of_the_test():
    """Whatever a config says: the commands ask for different halves, and these share no toy."""
    steps = {step.name: step for step in plan(read_experiment(SHIPPED))}
    commands = [steps[name].command() for name in ("validate/grpo_n-5e-05", "test/base")]
    halves = [words[words.index("--split") + 1] for words in commands]
    assert halves == ["validation", "test"]
    toys = []
    for half in halves:
        small = ToyboxBenchmarkSettings(reference_px=16, query_px=16, split=half).rows
        toys.append(
            {
                tuple(toy.values())
                for name in ("naming_2", "naming_wrong", "list")
                for row in toybox_set(name, 12, 5, small)
                for toy in row["toys"]
            }
        )
    assert len(toys[0]) > 40 and not toys[0] & toys[1]


def test_commands_are_what_one_would_type(config, read):
    e = read(config)
    write_validation(
        e,
        {
            "grpo_n-1.25e-05": 0.1,
            "grpo_n-5e-05": 0.2,
            "grpo_n-0.0002": 0.6,
            "grpo_n-0.0005": 0.6,
            "sft_n-1.25e-05": 0.4,
            "sft_n-5e-05": 0.5,
            "sft_n-0.0002": None,
            "sft_n-0.0008": 0.1,
        },
    )
    assert rate_of(e, "grpo_n") == 2e-4, "the smaller one of equals"
    assert rate_of(e, "sft_n") == 5e-5
    steps = {step.name: step for step in plan(e)}
    words = steps["train/grpo_n-2"].command()
    assert words[:3] == [sys.executable, "-m", "accelerate.commands.launch"]
    assert words[5:7] == ["-m", "launch.grpo"]
    options = dict(zip(words[7::2], words[8::2], strict=True))
    assert options["--config"] == "configs/grpo/rl_vs_sft.yaml" and options["--seed"] == "2"
    assert options["--learning_rate"] == "0.0002"
    assert options["--rows"] == f"{e.out}/rows/few-2"
    sft = steps["train/sft_n-1"].command()
    assert f"{e.out}/rows/general-900" in sft and "launch.sft" in sft
    rows = steps["rows/general-900"].command()
    assert json.loads(rows[rows.index("--counts") + 1]) == {"description": 1000}
    assert steps["test/sft_n-1"].command()[-1] == f"sft_n-1={e.out}/train/sft_n-1/policy"


def test_a_sweep_that_is_not_finished_chooses_nothing(config, read):
    e = read(config)
    write_validation(e, {"grpo_n-5e-05": 0.2})
    with pytest.raises(ExperimentError, match="the sweep of grpo_n is not finished"):
        rate_of(e, "grpo_n")


def test_one_arm_alone_brings_what_it_needs(config, read):
    names = {step.name for step in plan(read(config), ["sft_n"])}
    assert {"test/base", "rows/few-1", "sweep/sft_n-5e-05", "train/sft_n-2"} <= names
    assert not any("grpo" in name for name in names)
    with pytest.raises(ExperimentError, match="no arm 'dpo'; there are base, sft_n, grpo_n"):
        plan(read(config), ["dpo"])
