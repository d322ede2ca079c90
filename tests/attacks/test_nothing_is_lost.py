"""The worst day of a run: a typo beside --resume none, rows and weights that changed, two trainers.
Every refusal is one sentence, and every file of before is there."""

import json

import pytest
import yaml

import launch.compare
import launch.evaluate
import launch.grpo
from benchmarks import heads, ladder
from benchmarks.captions import judge
from benchmarks.harness.evaluation import EvaluateSettings, refuse_other_evaluation
from benchmarks.report.run_page import write_report
from benchmarks.toybox import vectors
from data_gen.files.errors import InputError
from data_gen.files.judge import answer_questions
from launch import generate
from launch.tools import bench_data, bench_step, gpu_check, mine_negatives, tiny_model
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


OUT = {
    "bench_step": (bench_step.main, "speed.json", "speed.md"),
    "bench_step --peak true": (bench_step.main, "memory.json", "memory.md"),
    "gpu_check --shape tiny": (gpu_check.main, "gpu_check.json", "gpu_check.md"),
    "ladder --policy toybox_base": (ladder.main, "ladder.json", "outputs.jsonl"),
    "compare": (launch.compare.main, "experiment.json", "results.md"),
    "evaluate --config configs/benchmarks/toybox.yaml --size quick --policy toybox_base": (
        *(launch.evaluate.main, "evaluation.json", "evaluation.md"),
    ),
    "tiny_model --config configs/tiny_models/toybox_clip.yaml": (
        *(tiny_model.main, "command.json", "model"),
    ),
}
"""Program -> its function, the file that says whose the folder is, and another that it writes."""


@pytest.mark.parametrize("command", OUT)
def test_programs_write_into_no_folder_in_which_others_have_such_files(tmp_path, command, capsys):
    main, own, beside = OUT[command]
    argv = [*command.split()[1:], "--out", str(tmp_path)]
    for name in (beside, own):
        (tmp_path / name).write_text('{"precious": 1}')
        before = {key: data for key, data in contents(tmp_path).items() if key != "lock"}
        try:
            assert main(argv) == 2
            said = capsys.readouterr().err
        except SystemExit as refusal:
            said = str(refusal)
        assert f"{tmp_path / name} is there, and " in said and len(said.strip().splitlines()) == 1
        after = contents(tmp_path)
        assert {key: data for key, data in after.items() if key != "lock"} == before


def test_files_of_others_are_not_written_over_or_added_to(tmp_path):
    file = tmp_path / "mine.txt"
    file.write_text("precious\n")
    captions = tmp_path / "captions.json"
    captions.write_text(json.dumps([["a.png", ["<bo>"], "<bo> sits.", ""]]))
    judged = [str(captions)] * 2 + ["--model", "m", "--url", "http://127.0.0.1:9/v1"]
    for main, argv in (
        (heads.main, ["--root", str(tmp_path)]),
        (vectors.main, ["--policy", "toybox_base"]),
        (judge.main, judged),
    ):
        with pytest.raises(SystemExit, match=r"mine\.txt is there, and byname did not write it"):
            main([*argv, "--out", str(file)])
    asked, judge_of = [("a", "b", ["c"])], {"url": "http://127.0.0.1:9/v1", "model": "m"}
    with pytest.raises(FileExistsError, match="name another file"):
        answer_questions(asked, **judge_of, cache=str(file))
    assert file.read_text() == "precious\n"
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(InputError, match="answers none"):  # it was asked
        answer_questions(asked, **judge_of, tries=1, cache=str(tmp_path / "empty.jsonl"))


@pytest.mark.parametrize(
    ("part", "held", "says"),
    [
        ("config.resolved.yaml", "just a text", "holds no dict"),
        ("config.resolved.yaml", "{policy: [", "cannot be read"),
        ("eval/evaluation.json", "[1]", "holds no dict"),
        ("eval/evaluation.json", '{"systems": 7}', "is not as byname writes it"),
        ("eval/gallery.json", "[7]", "is not as byname writes it"),
        ("report.html", "<title>My page</title>", "byname did not write it"),
    ],
)
def test_a_report_is_drawn_of_runs_and_over_reports_only(tmp_path, part, held, says):
    (tmp_path / "log.jsonl").write_text('{"step": 1, "reward": 0.5}\n')
    write_report(tmp_path)
    (tmp_path / part).parent.mkdir(exist_ok=True)
    (tmp_path / part).write_text(held)
    before = contents(tmp_path)
    with pytest.raises((ValueError, FileExistsError), match=says):
        write_report(tmp_path)
    assert contents(tmp_path) == before


def test_a_model_is_not_saved_over_that_of_another_command(tmp_path, monkeypatch):
    place = tmp_path / "model"
    monkeypatch.setattr("sys.argv", ["byname tiny_model", "--hub_token", "planted-key-0123456789"])
    tiny_model.claim(place)
    place.mkdir()
    tiny_model.claim(place)  # stopped while it was saved: the same command goes on
    assert "planted" not in (tmp_path / "command.json").read_text()
    monkeypatch.setattr("sys.argv", ["byname tiny_model", "--model", "clip"])
    with pytest.raises(InputError, match="this command did not make it; name another --out"):
        tiny_model.claim(place)


def test_an_evaluation_of_another_benchmark_is_not_written_over(tmp_path):
    def refuse():
        refuse_other_evaluation(tmp_path, "toybox")

    refuse()
    file = tmp_path / "evaluation.json"
    file.write_text(json.dumps({"benchmark": "toybox", "systems": []}))
    refuse()
    file.write_text(json.dumps({"benchmark": "naming", "systems": []}))
    with pytest.raises(InputError, match="holds an evaluation of naming; give another --out"):
        refuse()
    assert EvaluateSettings(benchmark="naming").out == "runs/evaluation/naming"
