"""The same trainer on other families of models."""

import pytest
import torch
from transformers import set_seed
from trl import GRPOConfig

from rl.policy.boxes import add_box_frame
from rl.policy.loading import LoraSettings, load_policy, trainable_parameters
from rl.policy.prompt_length import prompt_tokens
from rl.sharing.sharing import Sharing
from rl.trainer import PolicyTrainer, TrainerOptions
from tests.rl.families import save_tiny_gemma, save_tiny_llava, save_tiny_qwen3
from tests.rl.letter_reward import vowels
from tests.rl.test_trainer import make, weights


def test_qwen3_vl_trains(rows, tmp_path):
    path = save_tiny_qwen3(tmp_path / "policy")
    open_projector, _ = load_policy(path, freeze_projector=False)
    names = {n for n, p in open_projector.named_parameters() if p.requires_grad and "visual" in n}
    assert names and all("merger" in n for n in names) and any("deepstack" in n for n in names)

    model, processor = load_policy(path)
    assert trainable_parameters(model).parts["vision"] == 0
    assert min(prompt_tokens(rows, processor)) > 32  # two images of 16 tokens
    framed = add_box_frame(rows, processor, model.config.model_type)
    assert framed["box_frame"][0] == [1000.0, 1000.0]
    args = GRPOConfig(
        output_dir=str(tmp_path),
        per_device_train_batch_size=8,
        num_generations=4,
        max_steps=1,
        max_completion_length=6,
        learning_rate=1e-2,
        beta=0.04,
        bf16=False,
        use_cpu=True,
        gradient_checkpointing=True,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    trainer = PolicyTrainer(
        model,
        [vowels],
        args,
        framed,
        processor,
        peft_config=LoraSettings(4, 8, 0.0).config_for(model),
    )
    trainer.train()
    moved = [n for n, p in trainer.model.named_parameters() if "lora_B" in n and p.abs().sum() > 0]
    assert moved and all("language_model" in n for n in moved)


@pytest.mark.parametrize("save", [save_tiny_qwen3, save_tiny_llava])
@pytest.mark.parametrize(
    "settings",
    [dict(beta=0.1, gradient_checkpointing=True), dict(lora=LoraSettings(4, 8, 0.0))],
    ids=["full", "lora"],
)
def test_sharing_changes_nothing_in_other_families(save, settings, rows, tmp_path):
    path = save(tmp_path / "policy")
    ends = []
    for switch in ("off", "on"):
        options = TrainerOptions(share_prompt=switch, share_vision=switch)
        trainer = make(path, rows, tmp_path, options=options, max_steps=3, **settings)
        set_seed(0)
        trainer.train()
        ends.append(weights(trainer))
    sharing = trainer.sharing
    assert sharing.prompt and sharing.checked and sharing.image_cache.encoded
    for name in ends[0]:
        torch.testing.assert_close(ends[1][name], ends[0][name], atol=1e-4, rtol=0, msg=name)


def test_a_model_with_windows_and_bidirectional_images_trains_unshared(rows, tmp_path):
    path = save_tiny_gemma(tmp_path / "policy")
    ends = []
    for switch in ("off", "auto"):
        options = TrainerOptions(share_prompt=switch, share_vision=switch)
        trainer = make(path, rows, tmp_path, options=options, max_steps=2, max_completion_length=6)
        set_seed(0)
        trainer.train()
        ends.append(weights(trainer))
    assert str(trainer.sharing) == (
        "shared in a group: nothing; share_vision not: the processor returns num_crops beside "
        "pixels; share_prompt not: it has sliding_attention layers"
    )
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    model, processor = load_policy(path)
    with pytest.raises(ValueError, match="share_prompt is on, but it has sliding_attention"):
        Sharing(model, processor, prompt="on")
    model.get_decoder().config.layer_types = ["full_attention"] * 2
    assert "attention within images is bidirectional" in str(Sharing(model, processor))
