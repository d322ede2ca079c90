"""``byname grpo --plan``: memory and time under any config of accelerate; nothing is written."""

import json
import re

import pytest

import launch.grpo
from data_gen.files.errors import InputError
from rl.planning.report import speed_of
from tests.launch.launching import REWARDS
from tests.launch.test_grpo_watched import arguments as common


def arguments(*given):
    return common(*given, "--rewards", f"{REWARDS}:vowels", "--reward_weights", "1")


def plan_of(capsys, args) -> dict[str, str]:
    assert launch.grpo.main(args) == 0
    lines = [line.strip().split("  ", 1) for line in capsys.readouterr().out.splitlines()]
    return {line[0]: line[1] for line in lines if len(line) == 2}


@pytest.mark.usefixtures("one_thread")
def test_the_plan_is_of_as_many_processes_as_it_names(tiny, capsys, monkeypatch):
    monkeypatch.setattr(launch.grpo, "load_policy", lambda *_, **__: pytest.fail("weights loaded"))
    args = arguments(tiny, "planned", "--max_steps", "10", "--plan_speed", "1000")
    one = plan_of(capsys, [*args, "--plan", "one"])
    assert one["plan"] == "predicted, not measured: one, 1 GPU(s)"
    # 8 completions a process are 2 prompts; 10 steps of them, of 8 tokens at most.
    assert one["steps"] == "10 of 2 prompts x 4 completions"
    assert one["tokens"].endswith("up to 640 of completions")
    assert one["hours"].endswith("at 1,000 tokens per second and GPU")
    assert "buckets" not in one and re.fullmatch(r"0\.\d\d GB.*own", one["per GPU"])

    # What this machine lacks is no matter: it is trained elsewhere.
    four = [*args, "--plan=zero2:4", "--load_in_4bit", "true", "--lora_r", "4"]
    many = plan_of(capsys, four)
    assert many["plan"] == "predicted, not measured: zero2:4, 4 GPU(s)"
    assert many["steps"] == "10 of 8 prompts x 4 completions"
    assert "adapter" in many["parameters"] and "buckets" in many
    assert not (tiny["runs"] / "planned").exists()

    assert launch.grpo.main([*args, "--plan", "zero9"]) == 2
    assert "--plan zero9: there is no such file" in capsys.readouterr().err


@pytest.mark.usefixtures("one_thread")
def test_four_bits_are_refused_before_weights_load(tiny, capsys):
    args = arguments(tiny, "small", "--load_in_4bit", "true")
    assert launch.grpo.main(args) == 2
    assert "load_in_4bit freezes the weights, and nothing else would" in capsys.readouterr().err
    assert launch.grpo.main([*args, "--lora_r", "4"]) == 2
    assert "load_in_4bit needs a GPU, and there is none" in capsys.readouterr().err


def test_speed_is_given_or_measured(tmp_path):
    assert speed_of("250.5") == 250.5
    lines = [{"step": 1, "seconds": 2.0, "num_tokens": 100}, {"step": 2, "reward": 1.0}]
    lines.append({"step": 3, "seconds": 6.0, "num_tokens": 900})
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert speed_of(str(tmp_path)) == 200
    mark = tmp_path / "checkpoints" / "checkpoint-3" / "complete.json"
    mark.parent.mkdir(parents=True)
    mark.write_text('{"processes": 4, "files": {}}')
    assert speed_of(str(tmp_path)) == 50

    lines[-1]["seconds"] = 1.0
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(InputError, match="its log was resumed"):
        speed_of(str(tmp_path))
    for given, said in (("0", "above 0"), ("nan", "above 0"), ("nowhere", "no run with two")):
        with pytest.raises(InputError, match=said):
            speed_of(given)
