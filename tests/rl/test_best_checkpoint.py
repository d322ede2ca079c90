"""The best checkpoint by a named metric: always saved, never pruned, and then the policy."""

import math
from pathlib import Path

import pytest
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments, set_seed
from trl import GRPOConfig

from data_gen.files.errors import InputError
from rl.callbacks.plateau import StopAtPlateau, evaluations_since_best
from rl.checkpoints import checkpoints
from rl.policy.loading import LoraSettings, load_policy
from rl.trainer import PolicyTrainer
from tests.rl.letter_reward import vowels

BEST = 2


def peak(completions, trainer_state, **_):
    """Vowels, and ten more at step :data:`BEST`: the evaluation there is the best."""
    more = 10.0 if trainer_state.global_step == BEST else 0.0
    return [value + more for value in vowels(completions)]


class Weights(TrainerCallback):
    """The trained weights after each step."""

    def __init__(self):
        self.after: dict[int, dict[str, torch.Tensor]] = {}

    def on_step_end(self, args, state, control, model, **_):
        self.after[state.global_step] = trained(model)


def trained(model) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}


def equal(a: dict, b: dict) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def make(policy_path, rows, out, *, lora=None, callbacks=(), **settings):
    """Four steps, an evaluation after each."""
    args = GRPOConfig(
        **{
            "output_dir": str(out),
            "per_device_train_batch_size": 4,
            "per_device_eval_batch_size": 2,
            "num_generations": 2,
            "max_completion_length": 4,
            "max_steps": 4,
            "learning_rate": 1e-3,
            "logging_steps": 1,
            "bf16": False,
            "use_cpu": True,
            "gradient_checkpointing": False,
            "report_to": [],
            "disable_tqdm": True,
            "eval_strategy": "steps",
            "eval_steps": 1,
            "save_strategy": "steps",
            "save_steps": 1,
            "load_best_model_at_end": True,
            "metric_for_best_model": "reward",
            **settings,
        }
    )
    model, processor = load_policy(policy_path)
    set_seed(0)
    return PolicyTrainer(
        model,
        [peak],
        args,
        rows,
        processor,
        eval_dataset=rows.select(range(1)),
        peft_config=lora.config_for(model) if lora else None,
        callbacks=list(callbacks),
    )


@pytest.mark.parametrize("lora", [None, LoraSettings(4, 8, 0.0)], ids=["full", "lora"])
def test_the_policy_is_the_best_checkpoint_which_pruning_keeps(policy_path, rows, tmp_path, lora):
    seen = Weights()
    trainer = make(policy_path, rows, tmp_path, lora=lora, callbacks=[seen], save_total_limit=1)
    trainer.train()
    assert trainer.state.best_global_step == BEST
    assert not equal(seen.after[BEST], seen.after[4])
    assert equal(trained(trainer.model), seen.after[BEST])
    # The best, and the last one, to resume from: no limit is lower than these two.
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-2", "checkpoint-4"]


def test_a_best_between_two_saves_is_saved_and_found_again_where_the_run_was_moved(
    policy_path, rows, tmp_path
):
    first, seen = tmp_path / "first", Weights()
    make(policy_path, rows, first, callbacks=[seen], save_steps=3, max_steps=3).train()
    assert [path.name for path in checkpoints(first)] == [
        "checkpoint-1",  # the best so far
        "checkpoint-2",
        "checkpoint-3",
    ]
    moved = first.rename(tmp_path / "moved")
    again = make(policy_path, rows, moved, save_steps=3)
    again.train(resume_from_checkpoint=str(moved / "checkpoint-3"))
    assert equal(trained(again.model), seen.after[BEST])


def test_a_best_that_was_damaged_is_not_taken_for_the_policy(policy_path, rows, tmp_path):
    class Damage(TrainerCallback):
        def on_save(self, args, state, control, **_):
            if state.global_step == 3:
                Path(tmp_path, "checkpoint-2", "model.safetensors").write_bytes(b"no weights")

    trainer = make(policy_path, rows, tmp_path, callbacks=[Damage()], max_steps=3)
    with pytest.raises(InputError, match="checkpoint-2, the best by reward, cannot be loaded"):
        trainer.train()


def test_a_metric_that_no_evaluation_has_is_named(policy_path, rows, tmp_path):
    trainer = make(policy_path, rows, tmp_path, metric_for_best_model="tasks/cooking/reward")
    with pytest.raises(InputError, match="no metric 'tasks/cooking/reward'.*tasks/object_cons"):
        trainer.train()


@pytest.mark.parametrize(
    ("values", "greater", "since"),
    [
        ([], True, 0),
        ([0.5], True, 0),
        ([0.5, 0.5], True, 1),  # as good is no better
        ([0.1, 0.9, 0.3, 0.8], True, 2),
        ([0.1, 0.9, 0.3, 0.8], False, 3),
        ([None, 0.2, None, math.nan], True, 2),
        ([None, None], True, 2),  # never a number, never a rise
    ],
)
def test_evaluations_since_the_best(values, greater, since):
    assert evaluations_since_best(values, greater) == since


@pytest.mark.parametrize(
    ("metric", "greater", "stops"),
    [
        ("loss", None, False),
        ("eval_loss", None, False),
        ("reward", None, True),
        ("loss", True, True),
    ],
)
def test_a_loss_that_falls_becomes_better_unless_told_otherwise(tmp_path, metric, greater, stops):
    """Where no best checkpoint is asked for, transformers leaves open which way is better."""
    args = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, greater_is_better=greater)
    assert args.greater_is_better is greater
    key = f"eval_{metric.removeprefix('eval_')}"
    state = TrainerState(log_history=[{key: 0.9}, {key: 0.5}, {"loss": 3.0}, {key: 0.4}])
    control = TrainerControl()
    StopAtPlateau(metric, 2).on_evaluate(args, state, control)
    assert control.should_training_stop is stops
