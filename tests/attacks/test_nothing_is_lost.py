"""The worst day of a run: a typo beside --resume none, rows and weights that changed, two trainers.
Every refusal is one sentence, and every file of before is there."""

import json

import pytest
import yaml

import launch.grpo
import launch.sft
from benchmarks.harness.evaluation import EvaluateSettings, _refuse_other_evaluation
from data_gen.files.errors import InputError
from launch import generate
from launch.tools import bench_data, mine_negatives
from rl.policy.loading import load_policy
from tests.data_gen.stub_rows import contents
from tests.tiny import save_tiny_policy, save_tiny_rows


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    where = tmp_path_factory.mktemp("tiny")
    return {
        "policy": str(save_tiny_policy(where / "policy")),
        "rows": str(save_tiny_rows(where / "rows", n=8)),
    }


@pytest.fixture
def finished_run(tiny, tmp_path):
    """A run's directory, and the config that made it."""
    out = tmp_path / "runs" / "run"
    for name in ("policy/model.safetensors", "log.jsonl", "completions/train_000000.parquet"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("precious")
    return {
        **tiny,
        "name": "run",
        "output_root": str(tmp_path / "runs"),
        "rewards": ["tests/rl/letter_reward.py:vowels"],
        "max_steps": 1,
        "per_device_train_batch_size": 4,
        "num_generations": 4,
        "max_completion_length": 4,
        "bf16": False,
        "gradient_checkpointing": False,
        "resume": "none",
    }


TYPOS = {
    "rewards": ["nowhere.py:f"],
    "rows": "nowhere/rows",
    "policy": "/nowhere/policy",
    "num_generations": 3,
    "attn_implementation": "flashy",
}


@pytest.mark.parametrize("key", TYPOS)
def test_a_typo_beside_resume_none_costs_nothing(finished_run, tmp_path, key, capsys):
    before = contents(tmp_path / "runs")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({**finished_run, key: TYPOS[key]}))
    assert launch.grpo.main(["--config", str(tmp_path / "config.yaml")]) == 2
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith("grpo: ")
    after = contents(tmp_path / "runs")
    assert {name: data for name, data in after.items() if name != "run/lock"} == before


def test_weights_that_lack_a_tensor_or_hold_another_are_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    policy = save_tiny_policy(tmp_path / "policy")
    file = policy / "model.safetensors"
    whole = load_file(file)
    name = next(name for name in whole if "layers.0" in name)
    for tensors in (
        {key: value for key, value in whole.items() if key != name},
        {**whole, "backdoor.weight": whole[name].clone()},
    ):
        save_file(tensors, file, metadata={"format": "pt"})
        with pytest.raises(InputError, match="the weights of .* tensor, .*fetch or save them"):
            load_policy(policy)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match="the weights of .* cannot be read"):
        load_policy(policy)


def test_generate_leaves_other_peoples_folders_alone(tmp_path):
    page = tmp_path / "page"
    page.mkdir()
    (page / "manifest.json").write_text(json.dumps({"name": "my page", "start_url": "/"}))
    (page / "index.html").write_text("precious")
    before = contents(page)
    for more in ([], ["--replace", "true"]):
        with pytest.raises(SystemExit, match="is no row set"):
            generate.main(["--out", str(page), "--counts", "{identity_consistency: 2}", *more])
    assert contents(page) == before


@pytest.mark.parametrize("held", ['{"name": "page"}', "[]", "no JSON", '{"benchmark": "naming"}'])
def test_reports_are_not_written_over_files_of_others(tiny, tmp_path, held):
    for name in ("report.json", "measured.json", "evaluation.json", "table.json"):
        (tmp_path / name).write_text(held)
    before = contents(tmp_path)
    with pytest.raises(SystemExit, match=r"report\.json is there, and byname did not write it"):
        generate.main(["--inspect", tiny["rows"], "--out", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"measured\.json is there, and byname did not write it"):
        bench_data.main(["--rows", "2", "--out", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"table\.json is there, and byname did not write it"):
        mine_negatives.main(
            ["--source", "{kind: toybox}", "--out", str(tmp_path / "table.parquet")]
        )
    assert contents(tmp_path) == before


def test_an_evaluation_of_another_benchmark_is_not_written_over(tmp_path):
    def refuse():
        _refuse_other_evaluation(tmp_path, "toybox")

    refuse()
    file = tmp_path / "evaluation.json"
    file.write_text(json.dumps({"benchmark": "toybox", "systems": []}))
    refuse()
    file.write_text(json.dumps({"benchmark": "naming", "systems": []}))
    with pytest.raises(InputError, match="holds an evaluation of naming; give another --out"):
        refuse()
    assert EvaluateSettings(benchmark="naming").out == "runs/evaluation/naming"
