"""Tiny random diffusion pipelines of two families, made on the spot, saved by diffusers."""

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import save_file
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from data_gen.toybox.models.autoencoder import AutoencoderShape, build_autoencoder
from data_gen.toybox.models.diffusion import FlowShape, build_pipeline
from data_gen.toybox.models.tokenizer import (
    BEGIN,
    END,
    PAD,
    toybox_words,
    word_tokenizer,
)

LENGTH = 16


def save_unet(path: Path, seed: int = 0) -> Path:
    """A ``StableDiffusionPipeline`` whose latents are half as wide and high as its images."""
    torch.manual_seed(seed)
    tokenizer = word_tokenizer(toybox_words(), LENGTH)
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            projection_dim=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=LENGTH,
            pad_token_id=PAD,
            bos_token_id=BEGIN,
            eos_token_id=END,
        )
    )
    unet = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=16,
        attention_head_dim=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 8),
        norm_num_groups=4,
        latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    )
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=DDIMScheduler(clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(path, safe_serialization=True)
    return path


def save_ip_adapter(path: Path, seed: int = 0) -> Path:
    """An IP-Adapter for :func:`save_unet`, with its image encoder, as the published ones lie."""
    torch.manual_seed(seed)
    CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=32,
            patch_size=16,
            projection_dim=16,
        )
    ).save_pretrained(path / "models" / "image_encoder")
    tensors = {
        "image_proj.proj.weight": torch.randn(4 * 16, 16),
        "image_proj.proj.bias": torch.zeros(4 * 16),
        "image_proj.norm.weight": torch.ones(16),
        "image_proj.norm.bias": torch.zeros(16),
    }
    for place in (1, 3, 5, 7):  # one for each cross-attention of the U-Net
        tensors |= {
            f"ip_adapter.{place}.{key}.weight": torch.randn(16, 16)
            for key in ("to_k_ip", "to_v_ip")
        }
    save_file(tensors, path / "models" / "adapter.safetensors")
    return path


def save_flux(path: Path, seed: int = 0) -> Path:
    """A ``FluxPipeline``: 8 pixels to a token."""
    torch.manual_seed(seed)
    autoencoder = build_autoencoder(AutoencoderShape(channels=8, latent_channels=2, blocks=1))
    shape = FlowShape(
        width=40,
        heads=2,
        double_blocks=1,
        single_blocks=1,
        text_width=16,
        text_layers=1,
        text_length=LENGTH,
    )
    build_pipeline(shape, autoencoder).save_pretrained(path, safe_serialization=True)
    return path
