"""Credit in the trainer: what TRL's loss then has as its gradient, and what is refused."""

import pyarrow.parquet as pq
import pytest
import torch
from trl import GRPOConfig, GRPOTrainer

from rl.credit.credit import CreditOptions, check_credit
from rl.credit.names import asks_for_names
from rl.settings import RunSettings
from rl.trainer import TrainerOptions
from tests.rl.letter_reward import spaces, vowels
from tests.rl.test_trainer import make, weights

OPENERS = frozenset(range(100, 250))
"""Stand for the tokens that begin a name: a random policy samples them often."""


def mention_f1(completions, names, **_):
    """Bears the name of the reward that judges names by default; 1 for captions of even length."""
    return [float(len(c[0]["content"]) % 2 == 0) if n is not None else None
            for c, n in zip(completions, names, strict=True)]  # fmt: skip


def one_batch(trainer) -> dict:
    """The collated first batch, as the loss takes it."""
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1  # what train() would set
    torch.manual_seed(0)
    return trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))


def gradient(trainer, inputs) -> torch.Tensor:
    trainer.model.zero_grad()
    trainer.compute_loss(trainer.model, inputs).backward()
    return torch.cat([p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None])


def test_parts_by_reward_add_up_to_trls_advantage(policy_path, rows, tmp_path):
    trainer = make(policy_path, rows, tmp_path, rewards=(vowels, spaces, mention_f1),
                   reward_weights=[1.0, 2.0, 0.5], per_device_train_batch_size=16,
                   options=TrainerOptions(credit=CreditOptions(silent_bonus=1e-30)))  # fmt: skip
    trainer.model.train()
    batch = next(iter(trainer.get_train_dataloader()))
    seen = {}
    assign = trainer._assign_credit

    def both(output):
        seen["trl"] = output["advantages"].clone()
        return assign(output)

    trainer._assign_credit = both
    for aggregation in ("sum_then_normalize", "normalize_then_sum"):
        for scale in ("group", "batch", "none"):
            trainer.multi_objective_aggregation, trainer.scale_rewards = aggregation, scale
            chunks = trainer._generate_and_score_completions(batch)["chunk"]
            found = torch.cat([chunk["advantages"] for chunk in chunks])
            torch.testing.assert_close(found, seen["trl"], atol=2e-4, rtol=1e-4)
            assert found.abs().max() > 0.1


def test_exact_answers_have_the_expected_gradient_of_sampled_groups(policy_path, rows, tmp_path):
    asked = rows.filter(lambda task: task == "object_consistency", input_columns="task")
    asked = asked.select([0])
    right = asked[0]["answer"]

    def likely(completions, **_):
        return [float(c[0]["content"].strip().casefold() == right) for c in completions]

    settings = dict(loss_type="dapo", scale_rewards="none", beta=0.0, max_completion_length=2)
    exact = make(policy_path, asked, tmp_path, rewards=(likely,), **settings,
                 options=TrainerOptions(credit=CreditOptions(exact_answers=True)))  # fmt: skip
    inputs = one_batch(exact)
    found = gradient(exact, inputs)
    # The exact p(right), differentiated.
    exact.model.zero_grad()
    keys = ("pixel_values", "image_grid_thw", "mm_token_type_ids")
    prompt = inputs["prompt_ids"].size(1)
    fields = {key: inputs[key] for key in keys if key in inputs}
    fields["mm_token_type_ids"] = fields["mm_token_type_ids"][:, :prompt]
    logits = exact.model(
        input_ids=inputs["prompt_ids"], attention_mask=inputs["prompt_mask"], **fields
    ).logits[0, -1]
    spelt = [ids[0] for ids in exact._exact._of_task["object_consistency"][right]]
    p = logits.softmax(-1)[spelt].sum()
    (-p).backward()
    wanted = [p.grad.flatten() for p in exact.model.parameters() if p.grad is not None]
    wanted = torch.cat(wanted)
    assert wanted.norm() > 0
    assert (found - wanted).norm() / wanted.norm() < 1e-4
    # Sampled groups of 8 with their mean as baseline, averaged, in terms of the logits.
    policy = logits.detach().softmax(-1)
    drawn = torch.multinomial(policy, 800_000, replacement=True)
    reward = torch.isin(drawn, torch.tensor(spelt)).float().view(-1, 8)
    advantage = (reward - reward.mean(1, keepdim=True)).flatten() * 8 / 7
    sampled = torch.zeros_like(policy).index_add(0, drawn, advantage / len(drawn))
    sampled -= policy * advantage.mean()
    hit = torch.zeros_like(policy).index_fill(0, torch.tensor(spelt), 1.0)
    expected = policy * (hit - p.detach())
    assert (sampled - expected).norm() / expected.norm() < 0.1
    log = exact._metrics["train"]
    assert log["tasks/object_consistency/p_right"][-1] == pytest.approx(p.item(), rel=1e-4)
    assert log["reward"][-1] == pytest.approx(p.item(), rel=1e-4)
    assert log["tasks/object_consistency/reward"][-1] == pytest.approx(p.item(), rel=1e-4)
    assert log["groups/zero_variance"][-1] == 0


def test_forced_rollouts_hold_no_name_and_all_weights_are_those_of_the_policy(
    policy_path, rows, tmp_path
):
    captions = rows.filter(lambda task: task == "identity_consistency", input_columns="task")
    captions = captions.map(lambda row: {"absent_names": row["names"] + row["absent_names"],
                                         "names": []})  # fmt: skip
    options = TrainerOptions(share_prompt="on", drop_finished=True,
                             credit=CreditOptions(forced_silence=2, token_credit=True))  # fmt: skip
    trainer = make(policy_path, captions, tmp_path, rewards=(mention_f1, vowels), options=options,
                   per_device_train_batch_size=16, max_completion_length=12, beta=0.1)  # fmt: skip
    trainer._names.openers = lambda row: OPENERS
    inputs = one_batch(trainer)
    ids, mask = inputs["completion_ids"], inputs["completion_mask"].bool()
    opened = (torch.isin(ids, torch.tensor(sorted(OPENERS))) & mask).any(1).view(-1, 4)
    assert not opened[:, 2:].any() and opened[:, :2].any()
    # Weights anew, from logits of whole sequences.
    whole = torch.cat([inputs["prompt_ids"], ids], dim=1)
    seen = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
    with torch.no_grad():
        logits = trainer.model(
            input_ids=whole, attention_mask=seen,
            **{k: inputs[k] for k in ("pixel_values", "image_grid_thw", "mm_token_type_ids")},
        ).logits  # fmt: skip
    suppressed = trainer.generation_config.suppress_tokens
    logits[..., suppressed] = -torch.inf
    before = logits[:, inputs["prompt_ids"].size(1) - 1 : -1].softmax(-1)
    rest = 1 - before[..., sorted(OPENERS)].sum(-1)
    odds = (1 / rest).masked_fill(~mask, 1).prod(1)
    odds[opened.flatten()] = 0
    wanted = 1 / (0.5 + 0.5 * odds)
    found = inputs["tool_mask"]
    torch.testing.assert_close(found, wanted[:, None] * mask, atol=1e-4, rtol=1e-3)
    assert inputs["num_items_in_batch"].item() == pytest.approx(found.sum().item(), rel=1e-4)
    assert inputs["advantages"].shape == ids.shape
    assert gradient(trainer, inputs).norm() > 0
    assert asks_for_names(captions[0])


@pytest.mark.parametrize(
    ("options", "settings", "sentence"),
    [
        (dict(forced_silence=3), {}, "from 0 to num_generations - 2, which is 2, not 3"),
        (dict(forced_silence=1), dict(top_p=0.9), "top_p must be 1.0, not 0.9"),
        (
            dict(forced_silence=1),
            dict(loss_type="grpo"),
            "needs loss_type dapo or dr_grpo or cispo",
        ),
        (dict(exact_answers=True), dict(scale_rewards="batch"), "scale_rewards 'group' or 'none'"),
        (dict(silent_bonus=1.0), {}, "none of mention_f1 is among them"),
        (dict(token_credit=True, naming_rewards=["x"]), {}, "none of x is among them"),
        (dict(forced_silence=1, forced_silence_cap=0.0), {}, "must be above 0 or null, not 0.0"),
    ],
)
def test_what_cannot_do_as_it_says_is_refused(options, settings, sentence, tmp_path):
    shape = dict(per_device_train_batch_size=8, num_generations=4, bf16=False, use_cpu=True)
    args = GRPOConfig(output_dir=str(tmp_path), **shape, **settings)
    with pytest.raises(ValueError, match=sentence):
        check_credit(args, CreditOptions(**options), ["vowels"])


def test_nothing_of_it_is_called_when_all_is_off(policy_path, rows, tmp_path):
    trainer = make(policy_path, rows, tmp_path)
    assert not trainer.options.credit.on

    def never(*_):
        raise AssertionError

    trainer._assign_credit = trainer._sample_with_credit = never
    inputs = one_batch(trainer)
    assert inputs["advantages"].ndim == 1 and "tool_mask" not in inputs
    assert isinstance(trainer, GRPOTrainer)


def test_a_run_has_a_setting_for_every_option_and_all_are_off_by_default():
    settings = RunSettings(name="x", rows="x", policy="x", rewards=[])
    assert CreditOptions.of(settings) == CreditOptions() and not CreditOptions.of(settings).on


def test_all_of_it_trains_beside_sampled_rows_and_resumes_mid_generation(
    policy_path, rows, tmp_path
):
    def trainer():
        options = TrainerOptions(
            share_prompt="on",
            share_vision="on",
            drop_finished=True,
            dynamic_sampling=True,
            credit=CreditOptions(
                forced_silence=1, silent_bonus=0.5, token_credit=True, exact_answers=True
            ),
            completions_dir=tmp_path / "completions",
        )
        return make(policy_path, rows, tmp_path, rewards=(mention_f1, vowels), options=options,
                    steps_per_generation=2, per_device_train_batch_size=12, max_steps=2, beta=0.1,
                    save_strategy="steps", save_steps=1)  # fmt: skip

    whole = trainer()
    whole.train()
    log = whole.state.log_history[0]
    assert 0 < log["tasks/object_consistency/p_right"] < 0.1
    assert log["reward"] is not None
    again = trainer()
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))
    for name, want in weights(whole).items():
        torch.testing.assert_close(weights(again)[name], want, msg=name)
    table = pq.read_table(tmp_path / "completions" / "train_000000.parquet").to_pylist()
    listed = [row for row in table if row["task"] == "object_consistency"]
    assert {row["completion"].strip() for row in listed} == {"yes", "no"}
    assert all(row["weight"] == 1 for row in table if row["task"] == "visual_localization")
