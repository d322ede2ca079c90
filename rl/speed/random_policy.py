"""Qwen2.5-VL-3B by shape, with random weights: to time a step without a download.

Width, depth and vocabulary size are the published ones. The tokenizer is small and trained on the
spot, so its ids are the first few hundred; the text that the model generates means nothing.
"""

from pathlib import Path
from typing import Any

import torch
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)

from data_gen.tasks.prompts import load_prompts
from data_gen.toybox.models.policy import CHAT_TEMPLATE, train_tokenizer

TEXT = dict(
    vocab_size=151_936,
    hidden_size=2048,
    intermediate_size=11_008,
    num_hidden_layers=36,
    num_attention_heads=16,
    num_key_value_heads=2,
    max_position_embeddings=128_000,
    tie_word_embeddings=True,
    rope_parameters={"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
)
VISION = dict(
    depth=32,
    hidden_size=1280,
    intermediate_size=3420,
    num_heads=16,
    patch_size=14,
    spatial_patch_size=14,
    spatial_merge_size=2,
    temporal_patch_size=2,
    out_hidden_size=2048,
    window_size=112,
    fullatt_block_indexes=[7, 15, 23, 31],
)
"""Shapes of Qwen2.5-VL-3B-Instruct's language model and tower, from its published config."""


def shape_of_3b(tokenizer) -> Qwen2_5_VLConfig:
    """The configuration, with the special tokens of ``tokenizer``."""
    ids = {
        name: tokenizer.convert_tokens_to_ids(f"<|{name}|>")
        for name in ("vision_start", "vision_end", "image_pad", "video_pad")
    }
    ends = dict(
        bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    return Qwen2_5_VLConfig(
        text_config={**TEXT, **ends},
        vision_config=VISION,
        tie_word_embeddings=True,
        image_token_id=ids["image_pad"],
        video_token_id=ids["video_pad"],
        vision_start_token_id=ids["vision_start"],
        vision_end_token_id=ids["vision_end"],
    )


def random_processor() -> Qwen2_5_VLProcessor:
    """The family's image processor (28 x 28 pixels per token) and a small tokenizer."""
    size = {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 1280}
    common: dict[str, Any] = dict(patch_size=14, merge_size=2, temporal_patch_size=2, size=size)
    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(**common),
        video_processor=Qwen2VLVideoProcessor(**common),
        tokenizer=train_tokenizer([str(load_prompts())], 512),
        chat_template=CHAT_TEMPLATE,
    )


def save_qwen2_5_vl_3b_random(path: str | Path, seed: int = 0, layers: int | None = None) -> Path:
    """Write model and processor in bfloat16 (7.5 GB), as ``from_pretrained`` reads them. Weights
    are drawn on a GPU if there is one.

    Args:
        path: a directory.
        seed: of the weights.
        layers: of the decoder; ``None`` makes all 36.
    """
    processor = random_processor()
    config = shape_of_3b(processor.tokenizer)
    if layers:
        text: Any = config.text_config
        text.num_hidden_layers, text.layer_types = layers, text.layer_types[:layers]
    torch.manual_seed(seed)
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
            model = Qwen2_5_VLForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(usual)
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    model.save_pretrained(path)
    processor.save_pretrained(path)
    return Path(path)
