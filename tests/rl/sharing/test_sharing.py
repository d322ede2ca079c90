"""Sharing changes what is computed, never what comes out."""

from contextlib import nullcontext

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import GenerationConfig, set_seed

from rl.policy.loading import LoraSettings, load_policy
from rl.sharing import packed as shared_prompt
from rl.sharing.cost import groups_of, split_groups
from rl.sharing.packed import pack
from rl.sharing.prefill import prompts_prefilled_once
from rl.sharing.sharing import Sharing
from rl.trainer import TrainerOptions
from tests.rl.test_trainer import make, weights

ON = TrainerOptions(share_prompt="on", share_vision="on")


@pytest.mark.parametrize(
    "settings",
    [
        dict(),
        dict(beta=0.1, loss_type="grpo", gradient_checkpointing=True),
        dict(beta=0.1, lora=LoraSettings(4, 8, 0.0)),
        dict(num_iterations=2, steps_per_generation=2, per_device_train_batch_size=4),
    ],
    ids=["plain", "kl, checkpointing", "lora", "old policy"],
)
def test_shared_training_ends_in_the_same_weights(policy_path, rows, tmp_path, settings):
    runs = []
    for options in (TrainerOptions(), ON):
        trainer = make(policy_path, rows, tmp_path, options=options, max_steps=3, **settings)
        start = weights(trainer)
        set_seed(0)
        trainer.train()
        runs.append(trainer)
    apart, shared = runs
    assert shared.sharing.prompt and shared.sharing.vision and shared.sharing.checked
    losses = [[x["loss"] for x in t.state.log_history if "loss" in x] for t in runs]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5, abs=1e-6)
    want, have = weights(apart), weights(shared)
    assert max((want[n] - start[n]).abs().max() for n in want) > 5e-4
    for name in want:
        torch.testing.assert_close(have[name], want[name], atol=1e-4, rtol=0, msg=name)


def test_rows_without_images_and_with_train_together(policy_path, mixed_rows, tmp_path):
    ends = []
    for options in (TrainerOptions(), ON):
        trainer = make(policy_path, mixed_rows, tmp_path, options=options, max_steps=6)
        set_seed(0)
        trainer.train()
        ends.append(weights(trainer))
    for name in ends[0]:
        torch.testing.assert_close(ends[1][name], ends[0][name], atol=1e-4, rtol=0, msg=name)


def test_each_distinct_image_goes_through_the_tower_once(policy_path, rows, tmp_path):
    trainer = make(policy_path, rows, tmp_path, options=ON, max_steps=1, beta=0.1)
    towers = []
    for model in (trainer.model, trainer.ref_model):
        model.base_model.visual.register_forward_hook(
            lambda module, inputs, out: towers.append(inputs)
        )
    trainer.train()
    cache = trainer.sharing.image_cache
    assert len(towers) == 1 and cache.encoded == len(cache.images)
    # 2 prompts x 4 completions, 2 or 3 images each: generation, reference and loss asked.
    assert 4 <= cache.encoded <= 6 and cache.asked > cache.encoded


@pytest.mark.parametrize(
    "sampling",
    [
        dict(do_sample=False),
        dict(do_sample=True, temperature=0.8, top_k=20, top_p=0.9, repetition_penalty=1.3),
        dict(do_sample=False, num_beams=2),
    ],
    ids=["greedy", "sampled", "beams"],
)
@pytest.mark.parametrize("copied", [0, 10_000], ids=["shared", "copied"])
def test_generation_from_a_shared_prefill_is_the_same(
    policy_path, rows, sampling, copied, monkeypatch
):
    monkeypatch.setattr("rl.sharing.prefill.COPIED", copied)
    model, processor = load_policy(policy_path)
    messages = [rows[i]["prompt"] for i in (2, 2, 2, 0, 0, 5)]  # 3, 2 and 3 images
    images = [rows[i]["images"] for i in (2, 2, 2, 0, 0, 5)]
    texts = [processor.apply_chat_template(m, add_generation_prompt=True) for m in messages]
    inputs = processor(text=texts, images=images, padding=True, return_tensors="pt")
    settings = GenerationConfig(max_new_tokens=12, pad_token_id=0, eos_token_id=2, **sampling)
    ends, prefills = [], []
    model.get_decoder().register_forward_pre_hook(
        lambda module, args, kwargs: prefills.append(kwargs["inputs_embeds"].shape[:2]),
        with_kwargs=True,
    )
    for context in (nullcontext(), prompts_prefilled_once(model)):
        torch.manual_seed(3)
        prefills.clear()
        with context, torch.no_grad():
            ends.append(model.generate(**inputs, generation_config=settings))
    assert torch.equal(*ends)
    length = inputs["input_ids"].size(1)
    if "num_beams" in sampling:  # rows of their own: left to the plain generate
        return
    assert prefills[:2] == [(3, length - 1), (6, 1)]
    assert "generate" not in vars(model)


def test_a_model_that_cannot_share_says_why(policy_path):
    model, processor = load_policy(policy_path, freeze_projector=False)
    assert "projector is trained" in str(Sharing(model, processor))
    with pytest.raises(ValueError, match="share_vision is on, but the vision tower or"):
        Sharing(model, processor, vision="on")
    with pytest.raises(ValueError, match="one of auto, on, off"):
        Sharing(model, processor, prompt="yes")
    model.get_decoder().config.attention_dropout = 0.1
    assert "attention has dropout" in str(Sharing(model, processor))


def test_processes_that_must_keep_step_keep_rows_together(policy_path, rows, tmp_path):
    options = TrainerOptions(share_prompt="on", share_vision="on", drop_finished=True)
    trainer = make(policy_path, rows, tmp_path, options=options)
    # Buffers sent around before each pass would wait for passes that other processes never make.
    assert trainer.args.ddp_broadcast_buffers is False
    assert trainer.sharing.drop_finished and not trainer.sharing.in_step
    trainer = make(policy_path, rows, tmp_path, options=options, ddp_broadcast_buffers=True)
    assert trainer.sharing.in_step and not trainer.sharing.drop_finished


def test_a_wrong_result_is_noticed_on_first_use(policy_path, rows, tmp_path, monkeypatch):
    wrong = shared_prompt.packed_attention
    monkeypatch.setattr(shared_prompt, "packed_attention", lambda *args: 1.5 * wrong(*args))
    trainer = make(policy_path, rows, tmp_path, options=ON, max_steps=2)
    with pytest.warns(UserWarning, match="share_prompt is switched off"):
        trainer.train()
    assert not trainer.sharing.prompt and "first use differed" in str(trainer.sharing)


@given(st.lists(st.integers(0, 2), min_size=1, max_size=9), st.integers(1, 4), st.data())
def test_packing_and_unpacking_lose_nothing(kinds, completion, data):
    """Whatever the groups, each label comes back to its completion's place."""
    prompt = 4
    ids = torch.arange(1, 1 + len(kinds) * (prompt + completion)).view(len(kinds), -1)
    for row, kind in enumerate(kinds):
        ids[row, :prompt] = 1000 * (kind + 1)
    mask = torch.ones_like(ids)
    lengths = data.draw(
        st.lists(st.integers(0, completion), min_size=len(kinds), max_size=len(kinds))
    )
    for row, length in enumerate(lengths):
        mask[row, prompt + length :] = 0
    groups = groups_of(ids[:, :prompt], mask[:, :prompt], [None] * len(kinds))
    assert [row for group in groups for row in group] == list(range(len(kinds)))
    assert all(kinds[a] != kinds[b] for (*_, a), (b, *_) in zip(groups, groups[1:], strict=False))
    groups = split_groups(groups, prompt, completion + 1, data.draw(st.integers(1, 60)))
    packed = pack(ids, mask, completion, groups, torch.arange(prompt).expand(len(groups), -1))
    back = packed.unpack(packed.labels[:, 1:])
    want = ids[:, prompt:].masked_fill(mask[:, prompt:] == 0, -100)
    assert torch.equal(back, want)
    assert packed.position_ids.max() == prompt - 1 + completion
