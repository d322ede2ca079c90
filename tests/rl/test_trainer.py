import inspect

import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForImageTextToText, set_seed
from trl import GRPOConfig, GRPOTrainer

from rl import checkpoints
from rl.checkpoints import AtomicCheckpointMixin
from rl.finite import FiniteMixin
from rl.policy.loading import LoraSettings, load_policy
from rl.trainer import OVERRIDDEN, PolicyTrainer, TrainerOptions
from tests.rl.letter_reward import even_rows, spaces, vowels


def make(
    policy_path,
    rows,
    out,
    *,
    cls=PolicyTrainer,
    rewards=(vowels,),
    options=None,
    lora=None,
    model=None,
    **settings,
):
    """A trainer on the tiny policy: 4 completions per prompt, 2 prompts per step."""
    defaults = dict(
        output_dir=str(out),
        per_device_train_batch_size=8,
        num_generations=4,
        max_completion_length=8,
        max_steps=2,
        learning_rate=1e-3,
        logging_steps=1,
        bf16=False,
        use_cpu=True,
        gradient_checkpointing=False,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        seed=0,
    )
    args = GRPOConfig(**{**defaults, **settings})
    loaded, processor = load_policy(policy_path)
    model = model or loaded
    extra = {"options": options} if cls is PolicyTrainer else {}
    peft = lora.config_for(model) if lora else None
    return cls(
        model=model,
        reward_funcs=list(rewards),
        args=args,
        train_dataset=rows,
        processing_class=processor,
        peft_config=peft,
        **extra,
    )


def weights(trainer) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in trainer.model.named_parameters()}


def test_every_overridden_method_exists_in_this_trl():
    ours = {
        name
        for part in (PolicyTrainer, AtomicCheckpointMixin, FiniteMixin)
        for name, value in vars(part).items()
        if inspect.isfunction(value) and name in dir(GRPOTrainer)
    }
    assert ours == {*OVERRIDDEN, "__init__"}
    missing = [name for name in OVERRIDDEN if not callable(getattr(GRPOTrainer, name, None))]
    assert not missing, f"TRL no longer has {missing}: PolicyTrainer overrides would be dead code"
    for name in OVERRIDDEN:
        theirs = list(inspect.signature(getattr(GRPOTrainer, name)).parameters)
        mine = list(inspect.signature(getattr(PolicyTrainer, name)).parameters)
        assert mine in (theirs, ["self", "args", "kwargs"]), name  # or all is passed on


@pytest.mark.parametrize(
    "settings",
    [
        dict(beta=0.0),
        dict(beta=0.1, loss_type="grpo", gradient_checkpointing=True),
        # No dropout: ours trims the padding, so masks of another shape would be drawn.
        dict(beta=0.1, lora=LoraSettings(4, 8, 0.0)),
        dict(
            rewards=(vowels, spaces),
            reward_weights=[1.0, 0.5],
            multi_objective_aggregation="normalize_then_sum",
        ),
    ],
    ids=["plain", "kl", "lora", "gdpo"],
)
def test_with_all_options_off_it_trains_as_stock_trl(policy_path, rows, tmp_path, settings):
    # 3 completions per micro-batch and 2 per group: no two fit together, so both shuffle by rows.
    shape = dict(per_device_train_batch_size=3, gradient_accumulation_steps=2, num_generations=2)
    ours = make(policy_path, rows, tmp_path, **shape, **settings)
    set_seed(0)
    ours.train()

    plain = AutoModelForImageTextToText.from_pretrained(policy_path, dtype=torch.float32)
    for name, parameter in plain.named_parameters():
        parameter.requires_grad_("visual" not in name)
    stock = make(policy_path, rows, tmp_path, cls=GRPOTrainer, model=plain, **shape, **settings)
    # The one deliberate difference: more tokens are suppressed.
    stock.generation_config.suppress_tokens = ours.generation_config.suppress_tokens
    stock.generation_kwargs["suppress_tokens"] = ours.generation_config.suppress_tokens
    start = weights(stock)
    set_seed(0)
    stock.train()

    losses = [[x["loss"] for x in t.state.log_history if "loss" in x] for t in (stock, ours)]
    assert len(losses[0]) == 2 and losses[0] == pytest.approx(losses[1], abs=1e-5)
    want, have = weights(stock), weights(ours)
    assert max((want[n] - start[n]).abs().max() for n in want) > 5e-4
    for name in want:
        torch.testing.assert_close(have[name], want[name], atol=1e-5, rtol=1e-4, msg=name)


def test_frozen_weights_do_not_move_and_trained_ones_do(policy_path, rows, tmp_path):
    for lora in (None, LoraSettings(4, 8, 0.0)):
        trainer = make(policy_path, rows, tmp_path, lora=lora, gradient_checkpointing=True)
        before = weights(trainer)
        trainer.train()
        after = weights(trainer)
        trained = {n for n, p in trainer.model.named_parameters() if p.requires_grad}
        assert all(torch.equal(before[n], after[n]) for n in before if n not in trained)
        assert all(p.grad is None for n, p in trainer.model.named_parameters() if n not in trained)
        still = [n for n in trained if torch.equal(before[n], after[n])]
        assert not [n for n in still if "lora_A" not in n], still  # A waits for B to leave zero


def test_no_vision_token_is_sampled_however_likely(policy_path, rows, tmp_path):
    trainer = make(policy_path, rows, tmp_path, generation_kwargs={"suppress_tokens": [70]})
    token_id = trainer._tokenizer.convert_tokens_to_ids
    wanted = [
        token_id(f"<|{name}|>")
        for name in ("image_pad", "video_pad", "vision_start", "vision_end", "vision_pad")
    ] + [70]

    def push(module, args, logits):
        logits[..., wanted] += 100.0
        return logits

    hook = trainer.model.lm_head.register_forward_hook(push)
    batch = next(iter(trainer.get_train_dataloader()))
    with torch.no_grad():
        trainer.model.train()
        chunks = trainer._generate_and_score_completions(batch)["chunk"]
    hook.remove()
    sampled = {int(i) for chunk in chunks for i in chunk["completion_ids"].flatten()}
    assert not sampled & set(wanted)


def test_rows_without_images_train_beside_rows_with(policy_path, mixed_rows, tmp_path):
    trainer = make(
        policy_path,
        mixed_rows,
        tmp_path,
        max_steps=11,
        num_train_epochs=1,
        options=TrainerOptions(completions_dir=tmp_path / "completions"),
    )
    trainer.train()
    tables = [pq.read_table(f).to_pylist() for f in sorted((tmp_path / "completions").iterdir())]
    assert len(tables) == 11  # 9 batches of rows with images, 2 of rows without
    kinds = [{("[image]" in row["prompt"]) for row in table} for table in tables]
    assert all(len(kind) == 1 for kind in kinds) and {True, False} == set.union(*kinds)


def test_groups_stay_whole_in_micro_batches(policy_path, rows, tmp_path):
    trainer = make(
        policy_path,
        rows,
        tmp_path,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=4,
        max_steps=1,
    )
    seen = []
    inner = trainer._compute_loss
    trainer._compute_loss = lambda model, inputs: seen.append(inputs) or inner(model, inputs)
    trainer.train()
    assert len(seen) == 4
    for inputs in seen:
        assert len({tuple(ids) for ids in inputs["prompt_ids"].tolist()}) == 1
        assert inputs["prompt_mask"].sum(1).max() == inputs["prompt_ids"].size(1)


def test_the_log_holds_every_task_and_the_parquet_every_completion(policy_path, rows, tmp_path):
    trainer = make(
        policy_path,
        rows,
        tmp_path,
        rewards=(vowels, spaces),
        beta=0.1,
        per_device_train_batch_size=24,
        reward_weights=[1.0, 2.0],
        options=TrainerOptions(completions_dir=tmp_path / "completions"),
    )
    trainer.train()
    first = trainer.state.log_history[0]
    table = pq.read_table(tmp_path / "completions" / "train_000000.parquet").to_pylist()
    assert len(table) == 24 and {row["round"] for row in table} == {0}
    tasks = {row["task"] for row in table}
    for task in tasks:
        mine = [row for row in table if row["task"] == task]
        mean = sum(r["reward"] for r in mine) / len(mine)
        assert first[f"tasks/{task}/reward"] == pytest.approx(mean, abs=1e-5)
        assert first[f"tasks/{task}/length"] == pytest.approx(
            sum(len(r["completion_ids"]) for r in mine) / len(mine)
        )
        assert 0 <= first[f"tasks/{task}/cut_off"] <= 1
        assert 0 <= first[f"tasks/{task}/zero_variance"] <= 1
        assert first[f"tasks/{task}/reward_std"] >= 0
    for key in (
        "kl",
        "groups/zero_variance",
        "completions/mean_length",
        "completions/clipped_ratio",
        "reward",
    ):
        assert first[key] is not None, key
    for row in table:
        judged = row["task"] == "object_consistency"
        assert (row["reward/spaces"] is not None) == judged
        assert row["reward"] == pytest.approx(
            row["reward/vowels"] + 2 * (row["reward/spaces"] or 0), abs=1e-6
        )
        assert row["prompt"].startswith("user: ") and "[image]" in row["prompt"]
        assert row["length"] == len(row["completion_ids"])
    for i in range(0, 24, 4):
        assert [row["index"] for row in table[i : i + 4]] == [0, 1, 2, 3]
        assert len({row["id"] for row in table[i : i + 4]}) == 1
        assert sum(row["advantage"] for row in table[i : i + 4]) == pytest.approx(0, abs=1e-3)


def test_training_and_evaluation_completions_do_not_share_a_file(policy_path, mixed_rows, tmp_path):
    model, processor = load_policy(policy_path)
    args = GRPOConfig(
        output_dir=str(tmp_path),
        per_device_train_batch_size=4,
        per_device_eval_batch_size=4,
        num_generations=4,
        num_generations_eval=2,
        max_completion_length=4,
        max_steps=1,
        eval_strategy="steps",
        eval_steps=1,
        bf16=False,
        use_cpu=True,
        save_strategy="no",
        gradient_checkpointing=False,
        report_to=[],
        disable_tqdm=True,
        logging_steps=1,
    )
    trainer = PolicyTrainer(
        model,
        [vowels],
        args,
        mixed_rows,
        processor,
        eval_dataset=mixed_rows,
        options=TrainerOptions(completions_dir=tmp_path / "completions"),
    )
    trainer.train()
    files = {f.name: pq.read_table(f).to_pylist() for f in (tmp_path / "completions").iterdir()}
    assert set(files) == {"train_000000.parquet", "eval_000001.parquet"}
    assert {row["id"] for row in files["eval_000001.parquet"]} == set(mixed_rows["id"])
    evaluated = [x for x in trainer.state.log_history if "eval_reward" in x]
    assert evaluated and "eval_tasks/object_consistency/reward" in evaluated[0]


def test_a_kill_while_saving_leaves_the_checkpoint_before(policy_path, rows, tmp_path, monkeypatch):
    trainer = make(
        policy_path,
        rows,
        tmp_path,
        max_steps=3,
        save_strategy="steps",
        save_steps=1,
        save_total_limit=1,
    )
    mark = checkpoints.mark_complete

    def dies_at_the_third(checkpoint, processes):
        if checkpoint.name == "checkpoint-3":
            raise KeyboardInterrupt
        mark(checkpoint, processes)

    monkeypatch.setattr(checkpoints, "mark_complete", dies_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert (tmp_path / "checkpoint-3" / "model.safetensors").exists()
    assert not (tmp_path / "checkpoint-1").exists()
    assert checkpoints.choose("auto", tmp_path, 1) == tmp_path / "checkpoint-2"


def test_a_run_at_its_last_step_is_not_trained_further(policy_path, rows, tmp_path):
    whole = make(policy_path, rows, tmp_path, save_strategy="steps", save_steps=2)
    whole.train()
    again = make(policy_path, rows, tmp_path, save_strategy="steps", save_steps=2)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert again.state.global_step == 2
    for name, want in weights(whole).items():
        assert torch.equal(weights(again)[name], want), name


def test_a_checkpoint_loads_although_its_tensors_bear_other_names(policy_path, rows, tmp_path):
    trainer = make(policy_path, rows, tmp_path, max_steps=1, save_strategy="steps", save_steps=1)
    trainer.train()
    fresh = make(policy_path, rows, tmp_path)
    fresh._load_from_checkpoint(str(tmp_path / "checkpoint-1"))
    have = weights(fresh)
    for name, want in weights(trainer).items():
        assert torch.equal(have[name], want), name


def test_replayed_completions_give_the_same_rewards_and_weights(policy_path, rows, tmp_path):
    kept = tmp_path / "completions"
    recorded = make(policy_path, rows, tmp_path, options=TrainerOptions(completions_dir=kept))
    recorded.train()
    replayed = make(policy_path, rows, tmp_path, options=TrainerOptions(replay_completions=kept))
    torch.manual_seed(99)
    replayed.train()
    for name, want in weights(recorded).items():
        torch.testing.assert_close(weights(replayed)[name], want, msg=name)
    elsewhere = make(
        policy_path, rows, tmp_path, max_steps=3, options=TrainerOptions(replay_completions=kept)
    )
    with pytest.raises(RuntimeError, match="holds no completion of row 'tiny-.*' at step 2"):
        elsewhere.train()


def test_groups_without_variance_where_rewards_are_normalised_apart(policy_path, rows, tmp_path):
    """GDPO: those that the log counts are those that have no advantage."""
    trainer = make(
        policy_path,
        rows,
        tmp_path,
        rewards=(even_rows, spaces),
        options=TrainerOptions(completions_dir=tmp_path),
        per_device_train_batch_size=24,
        multi_objective_aggregation="normalize_then_sum",
        reward_weights=[1.0, 0.5],
        max_steps=1,
    )
    trainer.train()
    table = pq.read_table(tmp_path / "train_000000.parquet").to_pylist()
    groups = [table[first : first + 4] for first in range(0, len(table), 4)]
    still = [all(abs(row["advantage"]) < 1e-2 for row in group) for group in groups]
    assert 0 < sum(still) < len(still)
    assert trainer.state.log_history[0]["groups/zero_variance"] == sum(still) / len(still)
