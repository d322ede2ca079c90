"""Credit for parts of a completion: their advantages, their tokens, and what the loss is given."""

import pytest
import torch
from trl import GRPOConfig

from data_gen.files.errors import InputError
from rl.credit.credit import CreditOptions, check_credit
from rl.credit.parts import by_part, judged, part_advantages
from rl.trainer import TrainerOptions
from tests.rl.letter_reward import vowels
from tests.rl.test_trainer import make


def halves(completions, *, task, **_):
    """Two parts of every completion of four characters or more: are they of even characters?"""
    return [
        [("first", 0, 2, float(ord(c[0]) % 2 == 0)), ("last", len(c) - 2, len(c), 1.0)]
        if len(c) >= 4
        else []
        for c in completions
    ]


def test_a_part_is_judged_against_the_same_part_of_its_group():
    rewards = [
        {"score": 1.0, "total": 1.0},
        {"score": 0.0, "total": 1.0},
        {"score": 0.0},
        {"total": 1.0, "answer": 1.0},
        {"score": 1.0},  # another group
        {"score": 1.0},
        {},
        {},
    ]
    found = part_advantages(rewards, group=4)
    std = torch.tensor([1.0, 0.0, 0.0]).std().item()
    assert [row["score"] for row in found[:3]] == pytest.approx(
        [2 / 3 / (std + 1e-4), -1 / 3 / (std + 1e-4), -1 / 3 / (std + 1e-4)]
    )
    assert [row.get("total") for row in found[:4]] == [0.0, 0.0, None, 0.0]  # all alike
    assert found[3]["answer"] == 0.0  # no other completion has it
    assert found[4:] == [{"score": 0.0}, {"score": 0.0}, {}, {}]


def test_the_tokens_that_write_a_part_are_credited_and_no_others():
    #        A | 12| ,| B| 3     characters 0-1, 1-3, 3-4, 4-5, 5-6
    ends = [[1, 3, 4, 5, 6], [2, 4]]
    parts = [[("a", 1, 3, 1.0), ("b", 5, 6, 0.0)], [("a", 1, 3, 0.0)]]
    credit = by_part(parts, [{"a": 0.5, "b": -2.0}, {"a": 0.25}], ends, width=6)
    assert credit.tolist() == [
        [0, 0.5, 0, 0, -2.0, 0],
        [0.25, 0.25, 0, 0, 0, 0],  # both tokens write some of it
    ]


def test_the_loss_is_given_the_rewards_advantage_and_that_of_the_parts(policy_path, rows, tmp_path):
    def advantages(**options):
        trainer = make(policy_path, rows, tmp_path, rewards=(vowels,),
                       per_device_train_batch_size=16, max_completion_length=8,
                       options=TrainerOptions(credit=CreditOptions(**options)))  # fmt: skip
        trainer.model.train()
        trainer.current_gradient_accumulation_steps = 1
        torch.manual_seed(0)
        inputs = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
        return trainer, inputs

    _, usual = advantages()
    address = "tests.rl.credit.test_parts:halves"
    trainer, found = advantages(part_rewards=address, part_weight=3.0)
    assert torch.equal(found["completion_ids"], usual["completion_ids"])
    extra = found["advantages"] - usual["advantages"][:, None]
    assert extra.abs().max() > 0.5
    for ids, mask, row in zip(
        found["completion_ids"], found["completion_mask"].bool(), extra, strict=True
    ):
        text, ends = trainer._names.text_and_ends(ids[mask].tolist())
        starts = [0, *ends[:-1]]
        credited = [i for i, value in enumerate(row.tolist()) if abs(value) > 1e-5]
        # "last" is right everywhere, so that only the first two characters have any credit.
        assert all(starts[i] < 2 and len(text) >= 4 for i in credited)
    assert 0 < trainer._metrics["train"]["parts/first"][-1] < 1
    assert trainer._metrics["train"]["parts/last"] == [1.0]


def test_what_cannot_be_done_is_refused():
    args = GRPOConfig(num_generations=4, loss_type="dapo", bf16=False, report_to="none")
    for options, message in (
        (CreditOptions(part_rewards="a:b", exact_answers=True), "exact_answers leaves too few"),
        (CreditOptions(part_rewards="a:b", forced_silence=1), "forced_silence leaves too few"),
        (CreditOptions(part_rewards="a:b", part_weight=float("nan")), "part_weight"),
    ):
        with pytest.raises(InputError, match=message):
            check_credit(args, options, ["mention_f1"])


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "of 1 completions, got 0"),
        ([[("a", 0, 1, 1.0), ("a", 1, 2, 1.0)]], "one name"),
        ([[("a", 1, 9, 1.0)]], "1-9 of a completion of 2 characters"),
        ([[("a", 1, 1, 1.0)]], "1-1"),
    ],
)
def test_a_function_that_returns_no_parts_is_refused(parts, message):
    with pytest.raises(ValueError, match=message):
        judged(lambda completions, **_: parts, [{"task": "x"}], ["task"], ["ab"])
