"""What ``launch/grpo.py`` refuses, each with one sentence, before any weights load."""

import json
import re

import pytest
import yaml

import launch.grpo
from data_gen.files.settings import read_yaml
from rl.preflight import prepare
from rl.run_directory import claimed
from rl.settings import DEFAULT_CONFIG, parse, resolved
from tests.places import ROOT
from tests.tiny import save_tiny_policy

VOWELS = "tests/rl/letter_reward.py:vowels"


@pytest.fixture
def grpo(monkeypatch):
    def no_weights(*args, **kwargs):
        raise AssertionError("weights were loaded")

    monkeypatch.setattr(launch.grpo, "load_policy", no_weights)
    return launch.grpo


@pytest.fixture
def config(tiny, tmp_path):
    """A config that may start; tests break it."""
    return {
        "name": "run",
        "rows": str(tiny["rows"]),
        "policy": str(tiny["policy"]),
        "output_root": str(tmp_path / "runs"),
        "rewards": [VOWELS],
        "max_steps": 2,
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "max_completion_length": 8,
        "bf16": False,
        "gradient_checkpointing": False,
    }


def write(tmp_path, config) -> str:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    return str(file)


REFUSED = {
    "unknown key": (
        dict(learning_rat=1),
        r"unknown key 'learning_rat'; did you mean 'learning_rate'\?",
    ),
    "key of ours": (dict(output_dir="x"), "'output_dir' is set from 'name': give that instead"),
    "key of ours too": (
        dict(resume_from_checkpoint="x"),
        "'resume_from_checkpoint' is set from 'resume'",
    ),
    "missing rows": (dict(rows="nowhere/rows"), "no rows at nowhere/rows"),
    "missing policy": (dict(policy="/nowhere/policy"), "cannot open the policy '/nowhere/policy'"),
    "reward file": (dict(rewards=["nowhere.py:f"]), "there is no file 'nowhere.py'"),
    "reward function": (dict(rewards=["rewards:mention_f2"]), "no function 'mention_f2'"),
    "reward columns": (
        dict(rewards=["tests/launch/colour_reward.py:colour"]),
        "'colour' asks for 'colour'",
    ),
    "reward weights": (dict(reward_weights=[1, 2]), "1 rewards need one number each"),
    "reward settings": (dict(reward_settings={"vowels": {"floor": 1}}), "has no setting 'floor'"),
    "settings no mapping": (dict(reward_settings="{"), "'reward_settings' must be a mapping"),
    "group size": (
        dict(num_generations=3),
        r"generation_batch_size \(8\) must be divisible by num_generations \(3\)",
    ),
    "dynamic sampling": (dict(dynamic_sampling=True, scale_rewards="batch"), "scale_rewards"),
    "task mix": (dict(task_mix={"cooking": 1}), "task_mix names 'cooking', but the rows hold"),
    "long prompts": (
        dict(max_completion_length=2040),
        "every prompt of .* is too long: the "
        r"shortest has \d+ tokens, and a context of 2048 .* leaves 8",
    ),
    "too few rows": (dict(max_rows=1), "has 1 usable rows, fewer than the 2 prompts"),
    "no eval rows": (dict(eval_strategy="steps", eval_steps=1), "but no eval_rows given"),
    "box convention": (dict(box_convention="inches"), "set `box_convention` to one of pixels"),
    "resume": (dict(resume="nowhere"), "--resume nowhere: no complete checkpoint there"),
    "replay": (dict(replay_completions="nowhere"), "there are no completions at nowhere"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refusals(grpo, config, tmp_path, capsys, what):
    change, sentence = REFUSED[what]
    assert grpo.main(["--config", write(tmp_path, {**config, **change})]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("grpo: ") and re.search(sentence, error), error


def test_options_of_the_command_line_are_checked_too(grpo, config, tmp_path, capsys):
    file = write(tmp_path, config)
    for argv, sentence in [
        (
            ["--config", file, "--max_step", "3"],
            "unknown option '--max_step'; did you mean 'max_steps'",
        ),
        (
            ["--config", file, "--learning_rate", "fast"],
            "'learning_rate' must be a number, not 'fast'",
        ),
        (["--config", file, "--output_dir", "x"], "'output_dir' is set from 'name'"),
        (["--config", "nowhere.yaml"], "cannot read nowhere.yaml: No such file"),
        (["--config"], "--config needs a file"),
    ]:
        assert grpo.main(argv) == 2
        assert sentence in capsys.readouterr().err.strip().splitlines()[-1]


def test_broken_files_are_refused(grpo, config, tmp_path, capsys):
    (tmp_path / "bad.yaml").write_text("a: [1")
    assert grpo.main(["--config", str(tmp_path / "bad.yaml")]) == 2
    assert "is not YAML" in capsys.readouterr().err
    rows = tmp_path / "rows" / "data"
    rows.mkdir(parents=True)
    (rows / "train-00000.parquet").write_bytes(b"PAR1 and then nonsense")
    assert grpo.main(["--config", write(tmp_path, {**config, "rows": str(rows)})]) == 2
    assert "is not a readable parquet file" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    root = str(tmp_path / "file" / "runs")
    assert grpo.main(["--config", write(tmp_path, {**config, "output_root": root})]) == 2
    assert f"cannot write to {root}/run: Not a directory" in capsys.readouterr().err


def test_a_run_is_not_gone_on_with_under_other_settings(grpo, config, tmp_path, capsys):
    settings, args = parse(["--config", write(tmp_path, config)])
    checkpoint = settings.checkpoints / "checkpoint-1"
    checkpoint.mkdir(parents=True)
    (checkpoint / "complete.json").write_text(json.dumps({"processes": 1, "files": {}}))
    ready = prepare(settings, args)
    assert ready.checkpoint == checkpoint
    with claimed(settings) as run:
        run.begin(resolved(settings, args), "grpo", ready.checkpoint, ready.digests)
    prepare(*parse(["--config", write(tmp_path, {**config, "max_steps": 9, "save_steps": 3})]))
    other = {**config, "learning_rate": 0.5}
    for resume in ("auto", str(checkpoint)):
        assert grpo.main(["--config", write(tmp_path, {**other, "resume": resume})]) == 2
        error = capsys.readouterr().err
        assert "was started with other settings (learning_rate: None -> 0.5" in error
        assert f"--resume none to start over, which keeps it in {tmp_path}/runs/run.1" in error
    prepare(*parse(["--config", write(tmp_path, {**other, "resume": "none"})]))
    assert checkpoint.exists()


def test_prompts_too_long_for_the_context_are_dropped_and_counted(config, tmp_path, tiny):
    policy = save_tiny_policy(tmp_path / "policy", context=108)
    settings, args = parse(["--config", write(tmp_path, {**config, "policy": str(policy)})])
    ready = prepare(settings, args)
    assert ready.skipped > 0 and len(ready.rows) + ready.skipped == 27
    assert max(ready.tokens) <= 100 and len(ready.tokens) == len(ready.images) == len(ready.rows)
    full = prepare(*parse(["--config", write(tmp_path, config)]))
    assert sum(n > 100 for n in full.tokens) == ready.skipped


def test_the_resolved_config_runs_the_same_again(config, tmp_path):
    first = resolved(*parse(["--config", write(tmp_path, config), "--learning_rate", "1e-5"]))
    assert first["learning_rate"] == 1e-5
    again = resolved(*parse(["--config", write(tmp_path, first)]))
    assert again == first


@pytest.mark.parametrize(
    "file", sorted((ROOT / "configs" / "grpo").glob("*.yaml")), ids=lambda f: f.stem
)
def test_every_shipped_config_parses_and_says_how_to_run_it(file):
    text = file.read_text()
    if not read_yaml(file)["bf16"]:
        settings, args = parse(["--config", str(file)])
        assert settings.name == file.stem and args.output_dir == f"runs/{file.stem}/checkpoints"
    head = text.partition("\n\n")[0]
    assert all(line.startswith("#") for line in head.splitlines())
    assert "byname grpo" in head and "Expect" in head


def test_the_demo_is_what_runs_without_arguments():
    settings, _ = parse([])
    assert settings.name == "toybox_demo" and DEFAULT_CONFIG.name == "toybox_demo.yaml"
    assert parse(["--max_steps=7"])[1].max_steps == 7


def test_the_pictures_may_be_made_smaller(config, tmp_path):
    small = prepare(
        *parse(["--config", write(tmp_path, {**config, "min_pixels": 256, "max_pixels": 1024})])
    )
    usual = prepare(*parse(["--config", write(tmp_path, config)]))
    assert small.rows["box_frame"][0] == [32.0, 32.0] and usual.rows["box_frame"][0] == [64.0, 64.0]
    assert sum(small.tokens) < sum(usual.tokens)
    assert not (tmp_path / "runs").exists()  # the checks write nothing


def test_vllm_gets_the_sizes_of_images_where_the_settings_have_any(grpo, tmp_path, config):
    """vLLM reads the processor in the policy's folder, which has others."""
    options = {"vllm_options": {"limit_mm_per_prompt": {"image": 4}}}
    for pixels in ({}, {"max_pixels": 1024}):
        settings, args = parse(["--config", write(tmp_path, {**config, **options, **pixels})])
        found = grpo.vllm_options(settings, prepare(settings, args))
        assert found.pop("limit_mm_per_prompt") == {"image": 4}
        size = found.pop("mm_processor_kwargs", {}).get("size", {})
        assert (size.get("longest_edge"), found) == (pixels.get("max_pixels"), {})
