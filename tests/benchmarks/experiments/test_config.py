"""Configs of experiments: what is refused, and what both sides of a comparison share."""

import re
from dataclasses import fields

import pytest
import yaml
from trl import GRPOConfig

from benchmarks.experiments.config import ExperimentError, read_experiment
from rl.settings import RunSettings
from tests.places import ROOT

BENCHMARKS = ROOT / "configs" / "benchmarks"
SHIPPED = BENCHMARKS / "rl_vs_sft.yaml"
INGREDIENTS = BENCHMARKS / "ingredients.yaml"


def test_both_sides_see_the_same_rows():
    e = read_experiment(SHIPPED)
    assert e.arms["sft_n"].rows == e.arms["grpo_n"].rows == "few"
    data = yaml.safe_load((ROOT / e.rows["config"]).read_text())
    assert set(data["expected"]) == {1, 2} and data["targets"] and data["named_share"] == 1.0
    many = e.rows["sets"]["many"]["counts"]
    assert many == {task: 10 * n for task, n in data["counts"].items()}
    assert e.sweep_seed not in e.seeds
    for name in ("sft_n", "sft_10n", "grpo_n"):
        assert len(e.arms[name].rates) > 1


def test_each_ingredient_is_compared_with_the_whole_recipe_and_changes_one_thing():
    e = read_experiment(INGREDIENTS)
    assert {name for _, name in e.compare} == set(e.arms) - {"base"}
    names = {f.name for f in fields(RunSettings)} | {f.name for f in fields(GRPOConfig)}
    for name in set(e.arms) - {"base", "demo"}:
        arm = e.arms[name]
        assert arm.config == e.arms["demo"].config and arm.rate_of == "demo"
        # Rows in twos, and the option that keeps the two together, are one thing.
        assert (arm.rows != "demo") != bool(arm.set) or arm.set == {"pairs_together": True}
        assert set(arm.set) <= names


def test_titles_of_columns_may_be_numbers():
    columns = read_experiment(INGREDIENTS).tables["Silence where nobody shown is there"]
    assert columns["naming_absent_2refs/names_nothing"] == "2"


REFUSED = {
    "unknown key": (lambda c: c.update(armz=1), "unknown key 'armz'"),
    "missing key": (lambda c: c.pop("test"), "'test' is missing"),
    "unknown key of an arm": (lambda c: c["arms"]["sft_n"].update(rate=1), "arm sft_n: unknown"),
    "program": (lambda c: c["arms"]["sft_n"].update(program="dpo"), "program must be grpo or sft"),
    "rows": (lambda c: c["arms"]["sft_n"].update(rows="more"), "no rows 'more'"),
    "rates": (lambda c: c["arms"]["sft_n"].update(rates=[]), "needs either rates or rate_of"),
    "rate_of": (lambda c: c["arms"]["sft_n"].update(rates=[], rate_of="x"), "'x' is no arm"),
    "seed of the sweep": (lambda c: c.update(sweep_seed=2), "sweep_seed 2 is also a seed"),
    "size": (lambda c: c["test"].update(size="huge"), "evaluate.sizes has no 'huge'"),
    "no base": (lambda c: c["arms"].pop("base"), "one arm must be the base"),
    "pair": (lambda c: c.update(compare=[["base", "dpo"]]), "are not two arms"),
    "file": (lambda c: c["arms"]["sft_n"].update(config="nowhere.yaml"), "no file nowhere.yaml"),
    "name": (lambda c: c["arms"].update({"../x": {"title": "x"}}), "letters, digits and _"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refusals(config, read, what):
    spoil, sentence = REFUSED[what]
    spoil(config)
    with pytest.raises(ExperimentError, match=re.escape(sentence)):
        read(config)
