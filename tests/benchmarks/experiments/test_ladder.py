"""An experiment whose arms begin with one another, and whose config says what its tables show."""

import json
from pathlib import Path

import pytest

from benchmarks.experiments.config import ExperimentError, identity, read_experiment
from benchmarks.experiments.plan import plan
from benchmarks.experiments.results import write_results
from tests.places import ROOT

LADDER = ROOT / "configs" / "benchmarks" / "preferthinker_ladder.yaml"


def test_each_rung_begins_with_the_policy_of_the_one_below():
    e = read_experiment(LADDER)
    steps = {step.name: step for step in plan(e)}
    below = {"looks": None, "sft": "looks", "grpo": "sft", "grpo_profile": "sft"}
    for name, start in below.items():
        step = steps[f"train/{name}-2"]
        words = step.command()
        policy = words[words.index("--policy") + 1]
        assert policy == (f"{e.out}/train/{start}-2/policy" if start else "toybox_base")
        assert (f"train/{start}-2" in step.needs) == (start is not None)
        assert f"test/{name}-2" in steps
    order = list(steps)
    for step in steps.values():
        assert all(order.index(need) < order.index(step.name) for need in step.needs)
    weights = steps["train/grpo-1"].command()
    at = weights.index("--reward_weights")
    assert weights[at + 1 : at + 4] == ["1.0", "0.3", "0.0"]

    rows = steps["rows/questions-1"].command()
    options = dict(zip(rows[3::2], rows[4::2], strict=True))
    # A text in the quotes of JSON would be another text.
    assert (options["--users"], options["--targets"]) == ("seen", "false")
    assert json.loads(options["--counts"]) == {"preference": 1600}


def test_one_rung_alone_brings_those_below_but_does_not_measure_them():
    names = {step.name for step in plan(read_experiment(LADDER), ["sft"])}
    assert {"train/looks-1", "train/sft-1", "test/sft-1", "test/base"} <= names
    assert not names & {"test/looks-1", "train/grpo-1"}


def test_an_arm_without_a_start_is_what_it_was_before_there_were_any(config, read):
    arm = identity(read(config))["arm sft_n"]
    assert "start" not in arm and "rates" in arm
    config["arms"]["grpo_n"].update(start="sft_n", rates=[1e-4])
    config["arms"]["sft_n"].update(rates=[1e-4])
    assert identity(read(config))["arm grpo_n"]["start"] == "sft_n"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"start": "nobody"}, "start 'nobody' is no other arm"),
        ({"start": "base"}, "start 'base' is no other arm"),
        ({"start": "grpo_n"}, "start 'grpo_n' is no other arm"),
        ({"start": "sft_n", "rates": [1e-4, 1e-5]}, "give one rate"),
    ],
)
def test_a_start_that_cannot_be_is_refused(config, read, changes, said):
    config["arms"]["grpo_n"].update({"rates": [1e-4], **changes})
    with pytest.raises(ExperimentError, match=said):
        read(config)


def test_the_tables_are_those_of_the_config(config, read):
    one = {"rates": [1e-4], "rate_of": ""}
    config["arms"]["sft_n"].update(one)
    config["arms"]["grpo_n"].update(one)
    tables = {"Right": {"a/accuracy": "seen", "b/accuracy": "unseen"}, "Else": {"a/gone": "gone"}}
    e = read(config, tables=tables)
    for run, right in {"base": 10, "sft_n-1": 20, "grpo_n-1": 38}.items():
        place = Path(e.out) / "test" / run
        place.mkdir(parents=True)
        rows = [[[1] * right + [0] * (40 - right), [1] * 40]]
        (place / "columns.json").write_text(
            json.dumps({run: {"a/accuracy": rows, "b/accuracy": rows}})
        )
    text = write_results(e)
    assert "### Right" in text and "|  | seen | unseen |" in text
    assert "| base | 25.0 [" in text and "| SFT, N rows | 50.0 [" in text
    assert "| GRPO, N rows − SFT, N rows | +45.0 [" in text
    assert "### Else" in text and "Names" not in text
    assert (Path(e.out) / "results.png").read_bytes().startswith(b"\x89PNG")


GATED = {"title": "gated", "policy_of": "grpo_n", "system": "configs/methods/in_context_gated.yaml"}


def test_policies_are_measured_behind_a_system_without_training_again(config, read):
    config["arms"]["grpo_n"]["rates"] = [1e-4]
    plain = identity(read(config))
    config["arms"]["gated"] = GATED
    e = read(config, compare=[["grpo_n", "gated"]])
    assert plain.items() <= identity(e).items(), "other arms stay what they are"
    steps = {step.name: step for step in plan(e, ["gated"])}
    step = steps["test/gated-2"]
    words = step.command()
    (label, system), *_ = json.loads(words[words.index("--systems") + 1]).items()
    assert label == "gated-2" and "--policy" not in words
    assert system["policy"] == f"{e.out}/train/grpo_n-2/policy"
    assert Path(system["file"]).is_file()
    assert {"train/grpo_n-2", "test/base"} <= set(step.needs)
    assert not {"train/gated-2", "test/grpo_n-2"} & set(steps)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"policy_of": "nobody"}, "policy_of 'nobody' is no arm that is trained"),
        ({"policy_of": "base"}, "policy_of 'base' is no arm that is trained"),
        ({"system": ""}, "policy_of and system stand together"),
        ({"program": "grpo"}, "policy_of and system stand together"),
        ({"system": "configs/methods/none.yaml"}, "no file configs/methods/none.yaml"),
    ],
)
def test_a_system_without_policies_is_refused(config, read, changes, said):
    config["arms"]["gated"] = GATED | changes
    with pytest.raises(ExperimentError, match=said):
        read(config)
