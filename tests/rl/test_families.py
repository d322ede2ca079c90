"""The same trainer on another family: Qwen3-VL, whose tower feeds several language layers."""

import torch
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration, Qwen3VLProcessor
from trl import GRPOConfig

from rl.measure import prompt_tokens
from rl.policy import LoraSettings, add_box_frame, load_policy, trainable_parameters
from rl.tiny_policy import CHAT_TEMPLATE
from rl.trainer import PolicyTrainer
from tests.rl.letter_reward import vowels
from tests.tiny import tiny_processor


def save_tiny_qwen3(path):
    """A random Qwen3-VL with the tiny tokenizer and picture sizes."""
    parts = tiny_processor()
    token_id = parts.tokenizer.convert_tokens_to_ids
    torch.manual_seed(0)
    Qwen3VLForConditionalGeneration(Qwen3VLConfig(
        text_config=dict(
            vocab_size=len(parts.tokenizer), hidden_size=48, intermediate_size=96,
            num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=12,
            max_position_embeddings=2048, bos_token_id=None, eos_token_id=token_id("<|im_end|>"),
            rope_parameters={"rope_type": "default", "mrope_section": [2, 2, 2],
                             "rope_theta": 1e4, "mrope_interleaved": True}),
        vision_config=dict(
            depth=2, hidden_size=32, intermediate_size=64, num_heads=2, out_hidden_size=48,
            patch_size=8, spatial_merge_size=2, temporal_patch_size=2,
            num_position_embeddings=64, deepstack_visual_indexes=[0]),
        image_token_id=token_id("<|image_pad|>"), video_token_id=token_id("<|video_pad|>"),
        vision_start_token_id=token_id("<|vision_start|>"),
        vision_end_token_id=token_id("<|vision_end|>"), tie_word_embeddings=True,
    )).save_pretrained(path)
    Qwen3VLProcessor(
        image_processor=parts.image_processor, tokenizer=parts.tokenizer,
        video_processor=parts.video_processor, chat_template=CHAT_TEMPLATE).save_pretrained(path)
    return path


def test_qwen3_vl_trains(rows, tmp_path):
    path = save_tiny_qwen3(tmp_path / "policy")
    open_projector, _ = load_policy(path, freeze_projector=False)
    names = {n for n, p in open_projector.named_parameters() if p.requires_grad and "visual" in n}
    assert names and all("merger" in n for n in names) and any("deepstack" in n for n in names)

    model, processor = load_policy(path)
    assert trainable_parameters(model).parts["vision"] == 0
    assert min(prompt_tokens(rows, processor)) > 32  # two pictures of 16 tokens
    framed = add_box_frame(rows, processor, model.config.model_type)
    assert framed["box_frame"][0] == [1000.0, 1000.0]
    args = GRPOConfig(
        output_dir=str(tmp_path), per_device_train_batch_size=8, num_generations=4, max_steps=1,
        max_completion_length=6, learning_rate=1e-2, beta=0.04, bf16=False, use_cpu=True,
        gradient_checkpointing=True, save_strategy="no", report_to=[], disable_tqdm=True)
    trainer = PolicyTrainer(model, [vowels], args, framed, processor,
                            peft_config=LoraSettings(4, 8, 0.0).config_for(model))
    trainer.train()
    moved = [n for n, p in trainer.model.named_parameters() if "lora_B" in n and p.abs().sum() > 0]
    assert moved and all("language_model" in n for n in moved)
