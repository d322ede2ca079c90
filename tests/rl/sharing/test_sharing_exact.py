"""How equal "the same" is: log-probabilities, entropies, gradients, loss types, long runs, bf16."""

import math
import random

import pytest
import torch
from transformers import set_seed

from rl.policy.loading import LoraSettings
from rl.sharing import cost as groups
from rl.trainer import TrainerOptions
from tests.rl.families import save_tiny_llava, save_tiny_qwen3
from tests.rl.test_trainer import make, weights
from tests.tiny import drawing

ON = TrainerOptions(share_prompt="on", share_vision="on")
G, C = 4, 7
LENGTHS = [7, 0, 3, 1, 5, 4, 2, 0]  # ragged; two completions are empty


def micro_batch(trainer) -> dict:
    """Two groups of G completions: one about a image, one about five of them."""
    processor, rng = trainer.processing_class, random.Random(0)
    asked, images = [], []
    for count, question in ((1, "Who?"), (5, "Which of these are here, and where do they stand?")):
        parts = [{"type": "image"}] * count + [{"type": "text", "text": question}]
        text = processor.apply_chat_template(
            [{"role": "user", "content": parts}], add_generation_prompt=True
        )
        asked += [text] * G
        images += [[drawing(rng, "red")[0] for _ in range(count)]] * G
    inputs = processor(text=asked, images=images, padding=True, return_tensors="pt")
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(100, 300, (2 * G, C), generator=generator)
    mask = (torch.arange(C) < torch.tensor(LENGTHS)[:, None]).long()
    ids = torch.cat([inputs.pop("input_ids"), drawn * mask], dim=1)
    whole = torch.cat([inputs.pop("attention_mask"), mask], dim=1)
    if "mm_token_type_ids" in inputs:
        types = inputs["mm_token_type_ids"]
        inputs["mm_token_type_ids"] = torch.cat([types, types.new_zeros(2 * G, C)], dim=1)
    return dict(
        input_ids=ids,
        attention_mask=whole,
        logits_to_keep=C,
        compute_entropy=True,
        num_images=[1] * G + [5] * G,
        **inputs,
    )


def passed(trainer, batch, *, share: bool):
    """(log-probabilities, entropies, gradients) of one pass through the trainer."""
    trainer.sharing.prompt = share
    trainer.model.zero_grad()
    logps, entropies, _ = trainer._get_per_token_logps_and_entropies(trainer.model, **batch)
    mask = batch["attention_mask"][:, -C:]
    weight = torch.linspace(-1, 1, mask.numel()).view_as(mask) * mask
    (logps * weight).sum().backward()
    gradients = {
        n: p.grad.clone() for n, p in trainer.model.named_parameters() if p.grad is not None
    }
    return logps.detach() * mask, entropies.detach() * mask, gradients


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """Largest difference relative to the largest value."""
    return ((a - b).abs().max() / b.abs().max().clamp(min=1e-12)).item()


@pytest.mark.parametrize(
    "settings",
    [dict(), dict(lora=LoraSettings(4, 8, 0.0), gradient_checkpointing=True)],
    ids=["full", "lora, checkpointing"],
)
@pytest.mark.parametrize("family", ["qwen2_5", "qwen3", "llava"])
def test_values_and_gradients_are_equal_to_rounding(family, settings, policy_path, rows, tmp_path):
    save = {"qwen3": save_tiny_qwen3, "llava": save_tiny_llava}.get(family)
    path = save(tmp_path / "policy") if save else policy_path
    trainer = make(path, rows, tmp_path, options=ON, **settings)
    if "lora" in settings:  # B begins at zero, and so would A's gradient
        for name, parameter in trainer.model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.02)
    trainer.model.train()
    batch = micro_batch(trainer)
    shared, apart = (passed(trainer, batch, share=share) for share in (True, False))
    assert trainer.sharing.checked and not trainer.sharing.reasons
    assert distance(shared[0], apart[0]) < 1e-5 and distance(shared[1], apart[1]) < 1e-5
    assert shared[2].keys() == apart[2].keys() and apart[2]
    for name, want in apart[2].items():
        if want.norm() > 1e-6:
            gap = (shared[2][name] - want).norm() / want.norm()
            assert gap < 1e-5, f"{name}: {gap:.2g}"


def test_groups_of_unlike_lengths_apart_are_equal_to_all_at_once(
    policy_path, rows, tmp_path, monkeypatch
):
    monkeypatch.setattr(groups, "OVERHEAD", 0.0)  # a pass costs nothing: each group has its own
    trainer = make(policy_path, rows, tmp_path, options=ON)
    trainer.model.train()
    batch, passes = micro_batch(trainer), []
    trainer.model.get_decoder().register_forward_pre_hook(
        lambda module, args, kwargs: passes.append(kwargs["inputs_embeds"].size(1)),
        with_kwargs=True,
    )
    shared = passed(trainer, batch, share=True)
    lengths = batch["attention_mask"][::G, :-C].sum(1).tolist()
    # The shorter completions first, and no padding of the shorter prompt.
    assert passes[:2] == [lengths[1] - 1 + G * 6, lengths[0] - 1 + G * 8]
    apart = passed(trainer, batch, share=False)
    assert distance(shared[0], apart[0]) < 1e-5 and distance(shared[1], apart[1]) < 1e-5
    for name, want in apart[2].items():
        if want.norm() > 1e-6:
            assert (shared[2][name] - want).norm() / want.norm() < 1e-5, name


def test_every_loss_of_trl_is_equal(policy_path, rows, tmp_path):
    trainer = make(policy_path, rows, tmp_path, options=ON, beta=0.04)
    trainer.create_optimizer()
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1  # what train() would set
    torch.manual_seed(0)
    batch = next(iter(trainer.get_train_dataloader()))
    inputs = trainer._prepare_inputs(batch)
    inputs["advantages"] = torch.linspace(-1, 2, len(inputs["advantages"]))
    # As if the policy had moved since it sampled, and ratios were no longer 1.
    inputs["old_per_token_logps"] = torch.full_like(
        inputs["completion_mask"], -math.log(384), dtype=torch.float
    )
    levels = {"luspo": "sequence"}
    for loss_type in ("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo"):
        trainer.loss_type = loss_type
        trainer.importance_sampling_level = levels.get(loss_type, "token")
        found = []
        for share in (True, False):
            trainer.sharing.prompt = share
            trainer.model.zero_grad()
            loss = trainer.compute_loss(trainer.model, inputs)
            loss.backward()
            found.append(
                (
                    loss.item(),
                    torch.cat(
                        [p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None]
                    ),
                )
            )
        (shared, one), (apart, other) = found
        assert shared == pytest.approx(apart, rel=1e-5, abs=1e-7), loss_type
        assert other.norm() > 0 and (one - other).norm() / other.norm() < 1e-5, loss_type


def test_twenty_steps_end_in_the_same_weights(policy_path, rows, tmp_path):
    ends = []
    for options in (TrainerOptions(), ON):
        trainer = make(policy_path, rows, tmp_path, options=options, max_steps=20)
        set_seed(0)
        trainer.train()
        ends.append(weights(trainer))
    gap = max((ends[0][n] - ends[1][n]).abs().max().item() for n in ends[0])
    assert gap < 1e-4


@pytest.mark.parametrize("family", ["qwen2_5", "qwen3", "llava"])
def test_bf16_is_no_further_from_fp32_than_stock_is(family, policy_path, rows, tmp_path):
    save = {"qwen3": save_tiny_qwen3, "llava": save_tiny_llava}.get(family)
    path = save(tmp_path / "policy") if save else policy_path
    exact = make(path, rows, tmp_path, options=ON)
    batch = micro_batch(exact)
    want = passed(exact, batch, share=False)[0]
    coarse = make(path, rows, tmp_path, options=ON, bf16=True)
    shared, apart = (passed(coarse, batch, share=share)[0] for share in (True, False))
    assert coarse.sharing.checked and coarse.sharing.prompt is False  # the last call was apart
    assert "share_prompt" not in coarse.sharing.reasons
    assert 0 < (shared - want).abs().mean() < 1.25 * (apart - want).abs().mean()
