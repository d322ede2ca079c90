"""What is checked before weights load, and the plan."""

import pytest
from trl.trainer.grpo_config import GRPOConfig

from rl.policy.loading import Trainable
from rl.preflight import open_run, plan_text, policy_parts, prepare, steps_of
from rl.settings import RunSettings, StartupError


def run(tmp_path, policy_path, rows_path, **changes) -> RunSettings:
    given = dict(
        name="run",
        rows=str(rows_path),
        policy=str(policy_path),
        output_root=str(tmp_path),
        rewards=["tests/rl/letter_reward.py:vowels"],
    )
    return RunSettings(**{**given, **changes})


def arguments(tmp_path, **changes) -> GRPOConfig:
    given = dict(
        output_dir=str(tmp_path),
        per_device_train_batch_size=8,
        num_generations=4,
        max_completion_length=8,
        bf16=False,
        use_cpu=True,
    )
    return GRPOConfig(**{**given, **changes})


def test_a_run_is_prepared_without_weights(tmp_path, policy_path, rows_path):
    ready = prepare(run(tmp_path, policy_path, rows_path, max_rows=10), arguments(tmp_path))
    assert len(ready.rows) == len(ready.tokens) == len(ready.images) == 10
    assert ready.epoch == 10 * 4 and ready.skipped == 0 and ready.checkpoint is None
    assert set(ready.images) == {2, 3} and "box_frame" in ready.rows.column_names


def test_rows_whose_prompt_is_too_long_are_dropped(tmp_path, policy_path, rows_path):
    args = arguments(tmp_path, max_completion_length=2048 - 100)
    ready = prepare(run(tmp_path, policy_path, rows_path), args)
    assert ready.skipped + len(ready.rows) == 24 and max(ready.tokens) <= 100
    with pytest.raises(StartupError, match="every prompt of .* is too long"):
        prepare(
            run(tmp_path, policy_path, rows_path), arguments(tmp_path, max_completion_length=2040)
        )


def test_evaluation_needs_rows(tmp_path, policy_path, rows_path):
    args = arguments(tmp_path, eval_strategy="steps", eval_steps=1)
    with pytest.raises(StartupError, match="eval_strategy is 'steps', but no eval_rows given"):
        prepare(run(tmp_path, policy_path, rows_path), args)
    ready = prepare(run(tmp_path, policy_path, rows_path, eval_rows=str(rows_path)), args)
    assert len(ready.eval_rows) == 24


def test_opening_a_run_reads_its_rows_and_touches_nothing(tmp_path, policy_path, rows_path):
    log = tmp_path / "run" / "log.jsonl"
    log.parent.mkdir()
    log.write_text("{}")
    rows, others, checkpoint, digests = open_run(
        run(tmp_path, policy_path, rows_path, resume="none"), arguments(tmp_path), str(rows_path)
    )
    assert checkpoint is None and len(rows) == len(others) == 24 and set(digests) == {"rows"}
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["log.jsonl"]


def test_image_sizes_of_the_settings_reach_the_processor(tmp_path, policy_path, rows_path):
    settings = run(tmp_path, policy_path, rows_path, min_pixels=256, max_pixels=1024)
    _, processor = policy_parts(settings, False)
    size = processor.image_processor.size
    assert (size["shortest_edge"], size["longest_edge"]) == (256, 1024)


def test_vllm_makes_room_for_the_longest_row_not_for_the_whole_context(
    tmp_path, policy_path, rows_path, monkeypatch
):
    monkeypatch.setattr("rl.checks.find_spec", lambda name: name)  # as if vLLM were installed
    args = arguments(tmp_path, use_vllm=True)
    ready = prepare(run(tmp_path, policy_path, rows_path, max_rows=9), args)
    assert args.vllm_max_model_length == max(ready.tokens) + 8 < ready.context
    longer = run(tmp_path, policy_path, rows_path, max_rows=1, eval_rows=str(rows_path))
    args = arguments(tmp_path, use_vllm=True, per_device_train_batch_size=4)
    one = prepare(longer, args)
    assert args.vllm_max_model_length > max(one.tokens) + 8  # rows to evaluate count, too
    args = arguments(tmp_path, use_vllm=True, vllm_max_model_length=300)
    prepare(run(tmp_path, policy_path, rows_path), args)
    assert args.vllm_max_model_length == 300
    args = arguments(tmp_path)
    prepare(run(tmp_path, policy_path, rows_path), args)
    assert args.vllm_max_model_length is None


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("rewards.preference:preference_part", "did you mean 'preference_parts'"),
        (
            "rewards.preference:preference_parts",
            "lacks columns for its rewards: 'preference_parts'",
        ),
    ],
)
def test_a_judge_of_parts_that_cannot_be_asked_is_refused(
    tmp_path, policy_path, rows_path, address, said
):
    with pytest.raises(StartupError, match=said):
        prepare(run(tmp_path, policy_path, rows_path, part_rewards=address), arguments(tmp_path))


def test_steps_and_plan(tmp_path, policy_path, rows_path):
    args = arguments(tmp_path, gradient_accumulation_steps=2, num_train_epochs=3)
    assert steps_of(40, args) == (9, 16)  # ceil(40 / 16) steps per epoch
    args.max_steps = 5
    assert steps_of(40, args) == (5, 16)
    settings = run(tmp_path, policy_path, rows_path)
    text = plan_text(
        settings, Trainable(1, 2, {"language": 1}), tmp_path / "checkpoint-4", {"rows": "some"}
    )
    assert [line.split()[0] for line in text.splitlines()] == [
        "policy",
        "trainable",
        "rows",
        "output",
    ]
    assert text.endswith(f"{tmp_path}/run/ (resuming from checkpoint-4)")
