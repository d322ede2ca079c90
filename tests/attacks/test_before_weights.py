"""What would fail late or teach nothing is told before weights load, in one sentence: rewards that
return no rewards, settings that this machine cannot do, a policy that is not there."""

import json
import math
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from trl.trainer.grpo_config import GRPOConfig

import rl.checks
from data_gen.files.errors import InputError
from data_gen.rows import read_rows
from launch.grpo import main
from rewards.loading import RewardError, checked
from rl.checks import check_disk, check_options, try_rewards
from rl.policy.loading import load_policy, why_missing
from rl.preflight import policy_parts
from rl.settings import RunSettings, StartupError, parse, resolved
from rl.sharing.sampling import Drawn
from tests.tiny import save_tiny_policy, save_tiny_rows


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    root = tmp_path_factory.mktemp("tiny")
    return SimpleNamespace(
        policy=save_tiny_policy(root / "runs/mine/policy"), rows=save_tiny_rows(root / "rows", 12)
    )


def settings(tiny, **changes) -> RunSettings:
    given = dict(name="run", rows=str(tiny.rows), policy=str(tiny.policy), rewards=[])
    return RunSettings(**{**given, **changes})


def arguments(**changes) -> GRPOConfig:
    given = dict(output_dir="unused", bf16=False, use_cpu=True, report_to=[])
    return GRPOConfig(**{**given, **changes})


# ---- rewards ----


def always(value):
    def mine(completions, **_):
        return value

    return mine


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ([1.0, math.nan, 1.0], "'mine' returned nan (float) for row 'b'"),
        ([1.0, 1.0, -math.inf], "'mine' returned -inf (float) for row 'c'"),
        ([1e300, 0, 0], "1e+300 (float) for row 'a'"),
        ([10**5000, 0, 0], "a int for row 'a'"),
        (["good", 0, 0], "'good' (str) for row 'a'"),
        ([[1.0], 0, 0], "[1.0] (list) for row 'a'"),
        (np.array([1.0, np.nan, 0]), "(float64) for row 'b'"),
        (torch.tensor([[1.0], [2.0], [3.0]]), "returned 3 values for 3 completions"),
        (torch.tensor(1.0), "returned one value for 3 completions"),
        ([1.0], "returned 1 values for 3 completions"),
        (1.0, "returned 1.0 (float) for 3 completions"),
        (None, "returned None (NoneType) for 3 completions"),
        ("abc", "returned 'abc' (str) for 3 completions"),
        ({"a": 1, "b": 2, "c": 3}, "(dict) for 3 completions"),
    ],
)
def test_what_is_no_reward_is_named_with_reward_value_and_row(value, says):
    with pytest.raises(RewardError) as error:
        checked(always(value))(completions=["x"] * 3, id=["a", "b", "c"])
    assert says in str(error.value) and "a finite number, or None" in str(error.value)


@pytest.mark.parametrize(
    "value", [[1, None, 0.5], (True, False, None), np.ones(3), torch.zeros(3), [np.float32(1)] * 3]
)
def test_what_is_a_reward_passes(value):
    expected = [None if v is None else float(v) for v in value]
    assert checked(always(value))(completions=["x"] * 3, id=["a", "b", "c"]) == expected


def test_a_reward_that_ends_the_program_is_named():
    def mine(completions, **_):
        sys.exit(0)

    with pytest.raises(RewardError, match="'mine' ends the program"):
        checked(mine)(completions=["x"])


def test_a_reward_that_changes_what_it_is_given_changes_nothing_for_others():
    said = [[{"role": "assistant", "content": "bo"}]]
    given = {"completions": said, "names": [["bo"]], "prompts": [["p"]], "id": ["a"]}

    def mine(completions, names, prompts, **_):
        completions[0][0]["content"] = "mia"
        names[0].clear()
        prompts.clear()
        return [1.0]

    assert checked(mine)(**given) == [1.0]
    assert said == [[{"role": "assistant", "content": "bo"}]]
    assert given["names"] == [["bo"]] and given["prompts"] == [["p"]]


def tokenizer(text):
    return {"input_ids": [1] * len(text)}


tokenizer.eos_token_id = 0


def never(completions, **_):
    return [None] * len(completions)


def captions_only(completions, task, **_):
    return [1.0 if kind == "identity_consistency" else None for kind in task]


def test_tasks_and_rewards_that_do_nothing_are_told(tiny):
    rows = read_rows(tiny.rows)
    judged = try_rewards([captions_only, never], rows, tokenizer)
    assert judged.unjudged == {"object_consistency": 4, "visual_localization": 4}
    assert judged.idle == ["never"]
    lines = judged.lines(len(rows))
    assert lines["unjudged"].startswith("67% of the rows") and "--task_mix" in lines["unjudged"]
    mix = {"identity_consistency": 1.0}
    assert not try_rewards([captions_only], rows, tokenizer, mix).unjudged


def test_a_run_in_which_nothing_is_judged_does_not_start(tiny):
    with pytest.raises(StartupError, match="nothing would be judged: never returned None"):
        try_rewards([never], read_rows(tiny.rows), tokenizer)


def test_a_reward_that_fails_is_found_with_its_row(tiny):
    def broken(completions, **_):
        raise KeyError("colour")

    with pytest.raises(RewardError, match=r"'broken' fails on row 'tiny-0-0' \(KeyError"):
        try_rewards([broken], read_rows(tiny.rows), tokenizer)


# ---- settings ----


@pytest.mark.parametrize(
    ("ours", "theirs", "says"),
    [
        ({"dtype": "float31"}, {}, "dtype is 'float31'; it must be one of float32, bfloat16"),
        ({"dtype": "Tensor"}, {}, "dtype is 'Tensor'"),
        ({"attn_implementation": "sdpb"}, {}, "did you mean 'sdpa'"),
        ({"lora_dropout": 2.0}, {}, "lora_dropout is 2; it must be a number at least 0 and at mo"),
        ({"min_pixels": 9, "max_pixels": 4}, {}, "min_pixels is 9, more than max_pixels"),
        ({}, {"beta": -0.1}, "beta is -0.1; it must be a number at least 0"),
        ({}, {"temperature": 0.0}, "temperature is 0; it must be a number above 0"),
        ({}, {"learning_rate": math.nan}, "learning_rate is nan"),
        ({}, {"optim": "adamw_bnb_8bit"}, "needs the package bitsandbytes"),
    ],
)
def test_settings_that_cannot_be_are_refused(tiny, ours, theirs, says):
    with pytest.raises(ValueError) as error:
        check_options(settings(tiny, **ours), arguments(**theirs))
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("option", "value", "module"),
    [
        ("use_vllm", True, "vllm"),
        ("use_liger_kernel", True, "liger_kernel"),
        ("report_to", ["wandb"], "wandb"),
        ("report_to", ["tensorboard"], "tensorboard"),
    ],
)
def test_an_option_whose_package_is_missing_is_refused(tiny, monkeypatch, option, value, module):
    monkeypatch.setattr(rl.checks, "find_spec", lambda name: None)
    args = arguments()
    setattr(args, option, value)
    with pytest.raises(StartupError, match=f"{option}.* needs the package {module}.*pip install"):
        check_options(settings(tiny), args)


def test_checkpoints_that_do_not_fit_are_refused(tiny, monkeypatch):
    run = settings(tiny)
    config, _ = policy_parts(run, False)
    args = arguments(save_strategy="steps", save_steps=2, save_total_limit=2)
    check_disk(run, args, config, steps=10)
    monkeypatch.setattr(rl.checks.shutil, "disk_usage", lambda _: SimpleNamespace(free=10**6))
    with pytest.raises(StartupError, match="3 checkpoints of 1 MB and the policy need .* MB left"):
        check_disk(run, args, config, steps=10)
    check_disk(run, arguments(save_strategy="no"), config, steps=10)


# ---- the policy ----


def test_a_policy_that_is_not_there_is_a_sentence_with_the_nearest(tiny, monkeypatch):
    monkeypatch.chdir(tiny.policy.parents[2])
    for wrong, near in {
        "runs/mine/polcy": "runs/mine/policy",
        "runs/min/policy": "runs/mine/policy",
        "runs/mine": "runs/mine/policy",
        "rl/toybox_bas": "toybox_base",
        "toybox/base/": "toybox_base",
        "/nowhere/at/all": None,
        "\0": None,
        "x" * 5000: None,
    }.items():
        reason = why_missing(wrong)
        assert reason and (near is None or f"did you mean '{near}'?" in reason), (wrong, reason)
    assert why_missing("toybox_base") is None and why_missing("runs/mine/policy") is None
    with pytest.raises(FileNotFoundError, match="did you mean 'runs/mine/policy'"):
        load_policy("./runs/mine/polcy")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_policy_whose_weights_are_not_finite_is_refused(tiny, tmp_path, value):
    shutil.copytree(tiny.policy, tmp_path / "policy")
    file = tmp_path / "policy/model.safetensors"
    tensors = load_file(file)
    name = next(name for name in tensors if "layers.0.self_attn" in name)
    tensors[name].view(-1)[-1] = value
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(InputError, match="are not finite .*layers.0.self_attn"):
        load_policy(tmp_path / "policy")


@pytest.mark.parametrize("scores", [[0.0, math.nan], [math.inf, 0.0]])
def test_tokens_are_not_drawn_from_scores_that_are_not_finite(scores):
    with pytest.raises(FloatingPointError, match="scores are not finite"):
        Drawn()(torch.zeros(2, 1).long(), torch.tensor([[0.0, 1.0], scores]))


def test_a_policy_that_can_no_longer_be_sampled_stops_with_a_sentence(tiny, tmp_path, capfd):
    argv = f"--config configs/grpo/toybox_smoke.yaml --policy {tiny.policy} --rows {tiny.rows}"
    argv += f" --output_root {tmp_path} --name run --max_steps 3 --learning_rate 1e30"
    argv += " --rewards tests/rl/letter_reward.py:vowels --reward_settings {} --reward_weights 1"
    assert main([*argv.split(), "--use_cpu", "true"]) == 1
    said = capfd.readouterr().err
    assert "not finite" in said and "lower --learning_rate" in said and "Traceback" not in said
    assert not (tmp_path / "run/policy").exists()


# ---- keys ----


def test_the_resolved_settings_hold_no_key():
    argv = ["--hub_token", "hf_plantedplantedplanted", "--reward_settings.x.api_key", "planted-2"]
    run, args = parse(argv)
    assert args.hub_token == "hf_plantedplantedplanted"
    written = json.dumps(resolved(run, args))
    assert "planted" not in written and '"hub_token": null' in written


def test_a_run_writes_its_key_nowhere(tiny, tmp_path, capfd):
    """A few steps with a planted key: no file, line or message holds it."""
    key = "hf_plantedplantedplanted"
    argv = f"--config configs/grpo/toybox_smoke.yaml --policy {tiny.policy} --rows {tiny.rows}"
    argv += f" --output_root {tmp_path} --name run --max_steps 1 --save_steps 1"
    argv += f" --hub_token {key} --use_cpu true"
    argv += " --rewards tests/rl/letter_reward.py:vowels --reward_settings {}"
    status = main([*argv.split(), "--reward_weights", "1"])
    said = capfd.readouterr()
    assert status == 0, said.err[-3000:]
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(files) > 5
    for file in files:
        assert key.encode() not in file.read_bytes(), file
    assert key not in said.out + said.err
