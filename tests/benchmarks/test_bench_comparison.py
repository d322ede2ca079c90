"""Experiments: the plan, what is refused, the choice of rates, and the table."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from benchmarks.experiments import plan as comparison_plan
from benchmarks.experiments import results as comparison_table
from benchmarks.experiments import run as comparison_run
from benchmarks.experiments.config import ComparisonError, read_experiment
from benchmarks.experiments.plan import plan, rate_of
from benchmarks.toybox import benchmark as toybox

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "configs" / "benchmarks" / "rl_vs_sft.yaml"


@pytest.fixture
def config(tmp_path):
    """The shipped experiment with two seeds and three arms."""
    found = yaml.safe_load(SHIPPED.read_text())
    arms = {name: found["arms"][name] for name in ("base", "sft_n", "grpo_n")}
    return {**found, "out": str(tmp_path / "out"), "seeds": [1, 2], "arms": arms,
            "compare": [["sft_n", "grpo_n"]]}


@pytest.fixture
def read(tmp_path):
    def read(config, **changes):
        file = tmp_path / "config.yaml"
        file.write_text(yaml.safe_dump({**config, **changes}, sort_keys=False))
        return read_experiment(file)

    return read


def write_validation(experiment, scores: dict[str, float | None]) -> None:
    """Evaluations of a sweep, as launch/evaluate.py writes them."""
    for run, score in scores.items():
        place = Path(experiment.out) / "validate" / run
        place.mkdir(parents=True)
        (place / "evaluation.json").write_text(json.dumps(
            {"metrics": {experiment.choose: {"values": {run: {"value": score}}}}}))


def write_test(experiment, run: str, right: list[int]) -> None:
    """A test's columns: each row named rightly or not, in every set."""
    place = Path(experiment.out) / "test" / run
    place.mkdir(parents=True)
    n = len(right)
    keys = [*(f"{s}/f1" for s in (*comparison_table.NAMING, *comparison_table.FOUND)),
            *(f"{s}/retrieved" for s in comparison_table.FOUND),
            *comparison_table.LOOKS, *comparison_table.CONTROLS, *comparison_table.PERCEPTION,
            *comparison_table.GENERAL]
    (place / "columns.json").write_text(json.dumps(
        {run: {key: [[right, [1] * n]] for key in keys}}))


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
    left, total = comparison_run.seconds_left(Path("/nowhere"), steps)
    assert left == total <= 2 * 2 * 3600


def test_both_sides_see_the_same_rows():
    e = read_experiment(SHIPPED)
    assert e.arms["sft_n"].rows == e.arms["grpo_n"].rows == "few"
    data = yaml.safe_load((ROOT / e.rows["config"]).read_text())
    assert set(data["concepts"]) == {1, 2} and data["targets"] and data["named_share"] == 1.0
    many = e.rows["sets"]["many"]["counts"]
    assert many == {task: 10 * n for task, n in data["counts"].items()}
    assert e.sweep_seed not in e.seeds
    for name in ("sft_n", "sft_10n", "grpo_n"):
        assert len(e.arms[name].rates) > 1


def test_no_rate_is_chosen_by_toys_of_the_test():
    """Whatever a config says: the commands ask for different halves, and these share no toy."""
    steps = {step.name: step for step in plan(read_experiment(SHIPPED))}
    told = [steps[name].command() for name in ("validate/grpo_n-5e-05", "test/base")]
    halves = [words[words.index("--split") + 1] for words in told]
    assert halves == ["validation", "test"]
    toys = []
    for half in halves:
        small = toybox.toybox_settings({"reference_px": 16, "query_px": 16}, half)
        toys.append({tuple(toy.values()) for name in ("naming_2", "naming_wrong", "list")
                     for row in toybox.build_set(name, 12, 5, small) for toy in row["toys"]})
    assert len(toys[0]) > 40 and not toys[0] & toys[1]


def test_commands_are_what_one_would_type(config, read):
    e = read(config)
    write_validation(e, {"grpo_n-1.25e-05": 0.1, "grpo_n-5e-05": 0.2,
                         "grpo_n-0.0002": 0.6, "grpo_n-0.0005": 0.6,
                         "sft_n-5e-05": 0.5, "sft_n-0.0002": None, "sft_n-0.0008": 0.1})
    assert rate_of(e, "grpo_n") == 2e-4, "the smaller one of equals"
    assert rate_of(e, "sft_n") == 5e-5
    steps = {step.name: step for step in plan(e)}
    words = steps["train/grpo_n-2"].command()
    assert words[:3] == [sys.executable, "-m", "accelerate.commands.launch"]
    told = dict(zip(words[6::2], words[7::2], strict=True))
    assert told["--config"] == "configs/grpo/rl_vs_sft.yaml" and told["--seed"] == "2"
    assert told["--learning_rate"] == "0.0002"
    assert told["--rows"] == f"{e.out}/rows/few-2"
    sft = steps["train/sft_n-1"].command()
    assert f"{e.out}/rows/general-900" in sft and "launch/sft.py" in sft
    rows = steps["rows/general-900"].command()
    assert json.loads(rows[rows.index("--counts") + 1]) == {"description": 1000}
    assert steps["test/sft_n-1"].command()[-1] == f"sft_n-1={e.out}/train/sft_n-1/policy"


def test_a_sweep_that_is_not_finished_chooses_nothing(config, read):
    e = read(config)
    write_validation(e, {"grpo_n-5e-05": 0.2})
    with pytest.raises(ComparisonError, match="the sweep of grpo_n is not finished"):
        rate_of(e, "grpo_n")


def test_one_arm_alone_brings_what_it_needs(config, read):
    names = {step.name for step in plan(read(config), ["sft_n"])}
    assert {"test/base", "rows/few-1", "sweep/sft_n-5e-05", "train/sft_n-2"} <= names
    assert not any("grpo" in name for name in names)
    with pytest.raises(ComparisonError, match="no arm 'dpo'; there are base, sft_n, grpo_n"):
        plan(read(config), ["dpo"])


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
    with pytest.raises(ComparisonError, match=re.escape(sentence)):
        read(config)


def test_a_directory_holds_one_experiment(config, read):
    with comparison_run.claimed(read(config)) as out:
        assert yaml.safe_load((out / "evaluate.yaml").read_text())["sizes"]
        with (pytest.raises(ComparisonError, match="worked on by another process"),
              comparison_run.claimed(read(config))):
            pass
    with comparison_run.claimed(read(config, jobs=1, seeds=[1, 2, 3])):
        pass  # how it is run is not what it is, and runs may be added
    with (pytest.raises(ComparisonError, match=r"holds another experiment \(other choose\)"),
          comparison_run.claimed(read(config, choose="naming_2/f1"))):
        pass
    config["arms"]["sft_n"]["rates"] = [0.5]
    with (pytest.raises(ComparisonError, match=r"\(other arm sft_n\)"),
          comparison_run.claimed(read(config))):
        pass


def test_a_sweep_may_be_made_longer_until_an_arm_is_trained(config, read):
    with comparison_run.claimed(read(config)) as out:
        pass
    rates = config["arms"]["sft_n"]["rates"]
    config["arms"]["sft_n"]["rates"] = [1e-6, *rates]
    (out / "train" / "grpo_n-1").mkdir(parents=True)  # of another sweep
    with comparison_run.claimed(read(config)):
        pass
    (out / "train" / "sft_n-1").mkdir()
    for other in ([1e-7, 1e-6, *rates], rates):
        config["arms"]["sft_n"]["rates"] = other
        with (pytest.raises(ComparisonError, match=r"\(other arm sft_n\)"),
              comparison_run.claimed(read(config))):
            pass


def test_a_best_rate_at_the_edge_is_told():
    def told(chosen):
        scores = {"0.0005": 0.3, "5e-05": 0.5, "0.0002": 0.4}
        return comparison_table._told_rate("GRPO", {"chosen": chosen, "scores": scores})

    assert told("5e-05").endswith("at the edge of what was tried")
    assert told("0.0005").endswith("at the edge of what was tried")
    assert told("0.0002") == "GRPO 0.0002 (0.0005 30.0, 5e-05 50.0, 0.0002 40.0)"


def test_commands_that_outlived_their_starter_are_ended(config, read):
    e = read(config)
    out = Path(e.out)
    sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
    mine = subprocess.Popen(sleeper, env={comparison_run.OURS: str(out)})
    other = subprocess.Popen(sleeper, env={comparison_run.OURS: str(out) + "2"})
    try:
        # For a moment a new process has no environment yet.
        while not all(psutil.Process(p.pid).environ().get(comparison_run.OURS)
                      for p in (mine, other)):
            time.sleep(0.01)
        with comparison_run.claimed(e):
            assert not psutil.pid_exists(mine.pid)
            assert other.poll() is None
    finally:
        for process in (mine, other):
            process.kill()
            process.wait()


def steps_of(tmp_path, *scripts: str) -> list[comparison_plan.Step]:
    return [comparison_plan.Step(f"train/{i}", "", "train", lambda s=s: [sys.executable, "-c", s],
                            (f"train/{i - 1}",) if i else (), 0.1)
            for i, s in enumerate(scripts)]


def test_a_failed_command_is_told_and_given_again(config, read, tmp_path):
    e, place = read(config), tmp_path / "ready"
    picky = f"import os, sys; sys.exit(0 if os.path.exists({str(place)!r}) else 'no cake')"
    steps = steps_of(tmp_path, "print('first')", picky, "print('last')")
    done = []
    with comparison_run.claimed(e) as out:
        with pytest.raises(ComparisonError, match="(?s)train/1 ended with 1.*no cake"):
            comparison_run.run_steps(e, out, steps, lambda step: done.append(step.name))
        assert done == ["train/0"]
        place.write_text("")
        comparison_run.run_steps(e, out, steps, lambda step: done.append(step.name))
        assert done == ["train/0", "train/1", "train/2"]
        assert comparison_run.seconds_left(out, steps)[0] == 0


def test_the_table_says_what_was_measured(config, read):
    e = read(config)
    assert comparison_table.write_results(e) == ""
    n = 40
    write_test(e, "base", [1] * 10 + [0] * 30)
    write_test(e, "sft_n-1", [1] * 20 + [0] * 20)
    for seed in (1, 2):
        write_test(e, f"grpo_n-{seed}", [1] * 38 + [0] * 2)
    text = comparison_table.write_results(e)
    assert "| base | 25.0 [" in text and "| GRPO, N rows | 95.0 [" in text
    assert "72.4 / 50.0 / 85.2" in text and "71.0" in text  # the paper's, beside
    assert "**Not finished:** SFT, N rows." in text
    assert "retrieval found 1 concept 25.0 [" in text, "how much there was to be named"
    assert "| GRPO, N rows − SFT, N rows | +45.0 [" in text
    result = json.loads((Path(e.out) / "results.json").read_text())
    assert result["runs"] == {"base": 1, "sft_n": 1, "grpo_n": 2}
    of = result["figures"]["grpo_n"]["naming_2/f1"]
    assert of["rows"] == n and of["low"] < of["value"] < of["high"]
    assert result["general"]["grpo_n"]["list/counted"]["stayed"] is False
    assert (Path(e.out) / "results.png").read_bytes().startswith(b"\x89PNG")


def test_skills_that_did_not_move_are_told_to_have_stayed(config, read):
    e = read(config)
    for run in ("base", "sft_n-1", "grpo_n-1"):
        write_test(e, run, [1, 0] * 20)
    runs = comparison_table.read_runs(e)
    general = comparison_table.general_changes(e, runs)
    assert all(of["stayed"] for of in general["grpo_n"].values())
    lines = comparison_table.write_results(e).splitlines()
    assert any(line.startswith("| GRPO, N rows |") and line.endswith("| yes |") for line in lines)
