"""One process, two, and two under ZeRO-2 and ZeRO-3 train the same, given the same completions."""

import pytest
import torch

import launch.grpo
from rl.policy.loading import load_policy
from tests.launch.launching import completions, log, options, run_here
from tests.launch.launching import launch as run_under


@pytest.fixture(scope="module")
def one(tiny):
    """One process, two micro-batches of 8, nothing shared in a group: the run whose completions
    the others replay, sharing prompts and pictures."""
    apart = ("--share_prompt", "off", "--share_vision", "off")
    said = run_here(launch.grpo.main, *options(tiny, "one", *apart))
    assert "shared in a group: nothing" in said
    run = tiny["runs"] / "one"
    assert "on 1 process(es)" in said and f"policy saved to {run}/policy/" in said
    model, _ = load_policy(run / "policy")
    start, _ = load_policy(tiny["policy"])
    before = dict(start.named_parameters())
    assert max((p - before[n]).abs().max() for n, p in model.named_parameters()) > 1e-3
    return run, dict(model.named_parameters())


@pytest.mark.parametrize("config", ["cpu_2", "zero2_cpu_2", "zero3_cpu_2"])
def test_two_processes_agree_with_one(tiny, one, config, tmp_path, monkeypatch):
    recorded, weights = one
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "extensions"))
    monkeypatch.setenv("CXX", "/bin/false")  # nothing is compiled
    done = run_under(
        config,
        tiny,
        config,
        "--per_device_train_batch_size",
        "4",
        "--replay_completions",
        str(recorded / "completions"),
    )
    assert done.stdout.count("on 2 process(es)") == 1  # the plan is printed once
    assert "shared in a group: prompts and images\n" in done.stdout
    assert "switched off" not in done.stdout + done.stderr
    run = tiny["runs"] / config
    kept = list(zip(completions(recorded), completions(run), strict=True))
    assert len(kept) == 3
    for a, b in kept:
        assert [(r["id"], r["completion_ids"]) for r in a] == [
            (r["id"], r["completion_ids"]) for r in b
        ]
        for key in ("reward", "advantage", "reward/vowels", "reward/spaces"):
            assert [r[key] for r in a] == pytest.approx([r[key] for r in b], abs=1e-6), key
    assert any("[image]" not in r["prompt"] for step in completions(run) for r in step)
    for a, b in zip(log(recorded), log(run), strict=True):
        for key in ("reward", "groups/zero_variance", "completions/mean_length", "entropy"):
            assert a[key] == pytest.approx(b[key], abs=1e-4), key
    model, _ = load_policy(run / "policy")
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter, weights[name], atol=2e-5, rtol=1e-4, msg=name)


@pytest.fixture(scope="module")
def dynamic(tiny):
    """Two processes, and dynamic sampling."""
    run_under("cpu_2", tiny, "dynamic", *DYNAMIC)
    return tiny["runs"] / "dynamic"


DYNAMIC = ["--dynamic_sampling", "true", "--rewards", "tests/rl/letter_reward.py:even_rows"]
DYNAMIC += ["--reward_weights", "1", "--per_device_train_batch_size", "4"]


def test_two_processes_sample_and_replace_together(dynamic):
    """Dynamic sampling with other numbers of zero-variance groups on the two processes."""
    lines = log(dynamic)
    for line, rows in zip(lines, completions(dynamic), strict=True):
        zero_variance = sum(r["round"] == 0 and int(r["id"][-1]) % 2 for r in rows) // 4
        assert line["dynamic_sampling/zero_variance"] == zero_variance
        assert line["dynamic_sampling/drawn"] == sum(r["round"] > 0 for r in rows) / 4
        assert line["dynamic_sampling/replaced"] + line["dynamic_sampling/left"] == zero_variance
    assert sum(line["dynamic_sampling/replaced"] for line in lines) > 0


def test_one_process_resumes_nothing_of_two_and_may_train_on_from_their_weights(
    tiny, dynamic, capsys
):
    saved = dynamic / "checkpoints" / "checkpoint-3"
    before = {path: path.read_bytes() for path in dynamic.rglob("*") if path.is_file()}
    assert launch.grpo.main(options(tiny, "dynamic", *DYNAMIC)) == 2
    said = capsys.readouterr().err
    assert "was written by 2 process(es) and cannot be resumed by 1" in said
    assert f"--name another --policy {saved}" in said
    assert {path: path.read_bytes() for path in dynamic.rglob("*") if path.is_file()} == before

    still = ("--max_steps", "1", "--learning_rate", "0")
    run_here(launch.grpo.main, *options(tiny, "another", *still, "--policy", str(saved)))
    found, want = (load_policy(run)[0] for run in (tiny["runs"] / "another" / "policy", saved))
    base = dict(load_policy(tiny["policy"])[0].named_parameters())
    wanted = dict(want.named_parameters())
    assert all(torch.equal(value, wanted[name]) for name, value in found.named_parameters())
    assert any(not torch.equal(value, base[name]) for name, value in wanted.items())
