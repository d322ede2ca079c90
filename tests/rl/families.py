"""Random models of other families, built on the spot with the tiny tokenizer."""

import torch
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3ImageProcessor,
    Gemma3Processor,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessor,
    Idefics3Processor,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
)

from data_gen.toybox.models.policy import CHAT_TEMPLATE
from tests.tiny import tiny_processor


def save_tiny_qwen3(path, head_dim=12):
    """A Qwen3-VL: its tower feeds several language layers (deepstack)."""
    sections = [head_dim // 2 - 2 * (head_dim // 6), head_dim // 6, head_dim // 6]
    parts = tiny_processor()
    token_id = parts.tokenizer.convert_tokens_to_ids
    torch.manual_seed(0)
    Qwen3VLForConditionalGeneration(
        Qwen3VLConfig(
            text_config=dict(
                vocab_size=len(parts.tokenizer),
                hidden_size=48,
                intermediate_size=96,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                head_dim=head_dim,
                max_position_embeddings=2048,
                bos_token_id=None,
                eos_token_id=token_id("<|im_end|>"),
                rope_parameters={
                    "rope_type": "default",
                    "mrope_section": sections,
                    "rope_theta": 1e4,
                    "mrope_interleaved": True,
                },
            ),
            vision_config=dict(
                depth=2,
                hidden_size=32,
                intermediate_size=64,
                num_heads=2,
                out_hidden_size=48,
                patch_size=8,
                spatial_merge_size=2,
                temporal_patch_size=2,
                num_position_embeddings=64,
                deepstack_visual_indexes=[0],
            ),
            image_token_id=token_id("<|image_pad|>"),
            video_token_id=token_id("<|video_pad|>"),
            vision_start_token_id=token_id("<|vision_start|>"),
            vision_end_token_id=token_id("<|vision_end|>"),
            tie_word_embeddings=True,
        )
    ).save_pretrained(path)
    Qwen3VLProcessor(
        image_processor=parts.image_processor,
        tokenizer=parts.tokenizer,
        video_processor=parts.video_processor,
        chat_template=CHAT_TEMPLATE,
    ).save_pretrained(path)
    return path


def _llama(tokenizer, head_dim) -> dict:
    """The language model of a LLaVA and of an Idefics 3."""
    token_id = tokenizer.convert_tokens_to_ids
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=head_dim,
        max_position_embeddings=2048,
        bos_token_id=None,
        eos_token_id=token_id("<|im_end|>"),
        pad_token_id=token_id("<|endoftext|>"),
    ).to_dict()


def save_tiny_llava(path, head_dim=12):
    """A LLaVA: every image the same number of tokens, plain positions."""
    tokenizer = tiny_processor().tokenizer
    token_id = tokenizer.convert_tokens_to_ids
    torch.manual_seed(0)
    LlavaForConditionalGeneration(
        LlavaConfig(
            text_config=_llama(tokenizer, head_dim),
            vision_config=CLIPVisionConfig(
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=2,
                image_size=32,
                patch_size=8,
            ).to_dict(),
            image_token_index=token_id("<|image_pad|>"),
            vision_feature_layer=-1,
            image_seq_length=16,
        )
    ).save_pretrained(path)
    LlavaProcessor(
        image_processor=CLIPImageProcessor(
            size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
        ),
        tokenizer=tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        image_token="<|image_pad|>",
        chat_template=CHAT_TEMPLATE,
    ).save_pretrained(path)
    return path


def save_tiny_gemma(path):
    """A Gemma 3: attention within images is bidirectional, every second layer has a window."""
    tokenizer = tiny_processor().tokenizer
    tokens = {
        "boi_token": "<|vision_start|>",
        "eoi_token": "<|vision_end|>",
        "image_token": "<|image_pad|>",
    }
    tokenizer._set_model_specific_special_tokens(tokens)
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in tokens.items()}
    torch.manual_seed(0)
    Gemma3ForConditionalGeneration(
        Gemma3Config(
            text_config=dict(
                vocab_size=len(tokenizer),
                hidden_size=48,
                intermediate_size=96,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                head_dim=12,
                sliding_window=64,
                layer_types=["sliding_attention", "full_attention"],
                max_position_embeddings=2048,
                bos_token_id=None,
                eos_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"),
                pad_token_id=tokenizer.convert_tokens_to_ids("<|endoftext|>"),
            ),
            vision_config=dict(
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=2,
                image_size=32,
                patch_size=8,
                vision_use_head=False,
            ),
            mm_tokens_per_image=4,
            image_token_id=ids["image_token"],
            image_token_index=ids["image_token"],
            boi_token_index=ids["boi_token"],
            eoi_token_index=ids["eoi_token"],
            tie_word_embeddings=True,
        )
    ).save_pretrained(path)
    Gemma3Processor(
        image_processor=Gemma3ImageProcessor(size={"height": 32, "width": 32}),
        tokenizer=tokenizer,
        image_seq_length=4,
        chat_template=CHAT_TEMPLATE.replace("<|image_pad|><|vision_end|>", ""),
    ).save_pretrained(path)
    return path


def save_tiny_idefics(path, head_dim=12):
    """An Idefics 3, of which SmolVLM is one: an image of 64 pixels is four tiles and a whole."""
    placeholder = "<|vision_start|><|image_pad|><|vision_end|>"
    processor = Idefics3Processor(  # adds its own tokens to the tokenizer
        image_processor=Idefics3ImageProcessor(
            size={"longest_edge": 64}, max_image_size={"longest_edge": 32}
        ),
        tokenizer=tiny_processor().tokenizer,
        image_seq_len=4,
        chat_template=CHAT_TEMPLATE.replace(placeholder, "<image>"),
    )
    tokenizer = processor.tokenizer
    token_id = tokenizer.convert_tokens_to_ids
    torch.manual_seed(0)
    Idefics3ForConditionalGeneration(
        Idefics3Config(
            text_config=_llama(tokenizer, head_dim),
            vision_config=dict(
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=2,
                image_size=32,
                patch_size=8,
            ),
            image_token_id=processor.image_token_id,
            scale_factor=2,
            pad_token_id=token_id("<|endoftext|>"),
        )
    ).save_pretrained(path)
    processor.save_pretrained(path)
    return path
