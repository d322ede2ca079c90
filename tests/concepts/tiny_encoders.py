"""Tiny random encoders of every library, made on the spot, saved as their libraries save them."""

import json
from pathlib import Path

import open_clip
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BitImageProcessor,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    Dinov2Config,
    Dinov2Model,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
)

WORDS = ["a", "photo", "of", "red", "green", "blue", "dog", "cat", "mug", "toy", "bear", "the"]
LENGTH = 8
"""Tokens of the longest text."""

SIZE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
VISION = {**SIZE, "image_size": 32, "patch_size": 8}


def save_tokenizer(path: Path) -> PreTrainedTokenizerFast:
    """A tokenizer of whole words: ``<bos>`` before, ``<eos>`` (the highest id) after."""
    vocabulary = {word: i for i, word in enumerate(["<pad>", "<unk>", "<bos>", *WORDS, "<eos>"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>",
        special_tokens=[(token, vocabulary[token]) for token in ("<bos>", "<eos>")],
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<bos>",
        eos_token="<eos>",
        model_max_length=LENGTH,
    )
    fast.save_pretrained(path)
    return fast


def save_clip(path: Path, seed: int = 0) -> Path:
    """A transformers CLIP."""
    torch.manual_seed(seed)
    tokens = save_tokenizer(path)
    text = {
        **SIZE,
        "vocab_size": len(tokens),
        "max_position_embeddings": LENGTH,
        "eos_token_id": tokens.eos_token_id,
        "bos_token_id": tokens.bos_token_id,
        "pad_token_id": tokens.pad_token_id,
    }
    CLIPModel(
        CLIPConfig(text_config=text, vision_config=VISION, projection_dim=24)
    ).save_pretrained(path)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32).save_pretrained(path)
    return path


def save_siglip(path: Path, seed: int = 0) -> Path:
    """A transformers SigLIP."""
    torch.manual_seed(seed)
    tokens = save_tokenizer(path)
    text = {
        **SIZE,
        "vocab_size": len(tokens),
        "max_position_embeddings": LENGTH,
        "pad_token_id": tokens.pad_token_id,
        "projection_size": 32,
    }
    SiglipModel(SiglipConfig(text_config=text, vision_config=VISION)).save_pretrained(path)
    SiglipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(path)
    return path


def save_dinov2(path: Path, seed: int = 0) -> Path:
    """A transformers DINOv2."""
    torch.manual_seed(seed)
    Dinov2Model(Dinov2Config(**VISION)).save_pretrained(path)
    BitImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    ).save_pretrained(path)
    return path


def save_open_clip(path: Path, seed: int = 0) -> Path:
    """An open_clip checkpoint directory with a tokenizer of its own: the layout of the hub."""
    torch.manual_seed(seed)
    tokens = save_tokenizer(path)
    shape = {
        "embed_dim": 24,
        "vision_cfg": {
            "image_size": 32,
            "layers": 2,
            "width": 32,
            "head_width": 16,
            "patch_size": 8,
        },
        "text_cfg": {
            "context_length": LENGTH,
            "vocab_size": len(tokens),
            "width": 32,
            "heads": 2,
            "layers": 2,
            "hf_tokenizer_name": ".",
        },
    }
    config = {"model_cfg": shape, "preprocess_cfg": {"interpolation": "bicubic"}}
    (path / "open_clip_config.json").write_text(json.dumps(config))
    model = open_clip.CLIP(**{k: dict(v) if isinstance(v, dict) else v for k, v in shape.items()})
    save_file(model.state_dict(), path / "open_clip_model.safetensors")
    return path


SAVE = {
    "clip": save_clip,
    "siglip": save_siglip,
    "dinov2": save_dinov2,
    "open_clip": save_open_clip,
}
