"""A tiny text-to-image model of the toybox: FLUX's architecture in diffusers' own classes.

It draws the toy of its prompt twice, side by side. ``DiffusionPipeline.from_pretrained`` loads the
directory that is saved: a ``FluxPipeline`` with a tiny transformer, tiny T5 and CLIP text encoders
(trained with it, as no pretrained ones know toys) and an ``AutoencoderTiny``.

Rectified flow (2210.02747, 2403.03206): the transformer learns the straight path from an image's
latents to noise, at times drawn from a logit-normal distribution. One prompt in ten is empty, for
classifier-free guidance.
"""

# pyright: reportPrivateImportUsage=false
# (diffusers imports its classes lazily, which pyright takes for private.)

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import (
    AutoencoderTiny,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
)
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

from data_gen.toybox.models.tokenizer import BEGIN, END, PAD, toybox_words, word_tokenizer

NO_PROMPT = 0.1
"""Share of training prompts that are replaced by an empty one."""


@dataclass
class FlowShape:
    """Shape of the model. The defaults give 4.0 M parameters."""

    width: int = 160
    heads: int = 4  # of 40 dimensions each: 8 for time, 16 for rows, 16 for columns
    double_blocks: int = 2
    single_blocks: int = 4
    text_width: int = 128
    text_layers: int = 2
    text_length: int = 24


def build_pipeline(shape: FlowShape, autoencoder: AutoencoderTiny) -> FluxPipeline:
    """A pipeline with random weights around an autoencoder."""
    head = shape.width // shape.heads
    time = head // 5 // 2 * 2
    side = (head - time) // 2
    tokenizer = word_tokenizer(toybox_words(), shape.text_length)
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=4 * autoencoder.config["latent_channels"],
        num_layers=shape.double_blocks,
        num_single_layers=shape.single_blocks,
        attention_head_dim=head,
        num_attention_heads=shape.heads,
        joint_attention_dim=shape.text_width,
        pooled_projection_dim=shape.text_width,
        guidance_embeds=False,
        axes_dims_rope=(time, side, side),
    )
    for name, module in transformer.named_modules():
        # Each block begins as the identity, from which deep models learn fastest (adaLN-Zero,
        # 2212.09748).
        if name == "proj_out" or (name.endswith(".linear") and "norm" in name):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
    clip = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=shape.text_width,
            projection_dim=shape.text_width,
            intermediate_size=2 * shape.text_width,
            num_hidden_layers=shape.text_layers,
            num_attention_heads=4,
            max_position_embeddings=shape.text_length,
            hidden_act="gelu",
            pad_token_id=PAD,
            bos_token_id=BEGIN,
            eos_token_id=END,
        )
    )
    t5_config: dict[str, Any] = dict(
        vocab_size=len(tokenizer),
        d_model=shape.text_width,
        d_kv=32,
        num_heads=4,
        d_ff=2 * shape.text_width,
        num_layers=1,
        dropout_rate=0.0,
        pad_token_id=PAD,
        eos_token_id=END,
        decoder_start_token_id=PAD,
    )
    # FluxPipeline is annotated for larger classes of autoencoder and tokenizer, and takes these.
    parts: dict[str, Any] = dict(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
        vae=autoencoder,
        text_encoder=clip,
        tokenizer=tokenizer,
        text_encoder_2=T5EncoderModel(T5Config(**t5_config)),
        tokenizer_2=tokenizer,
        transformer=transformer,
    )
    return FluxPipeline(**parts)


def trained_parts(pipeline: FluxPipeline) -> nn.ModuleDict:
    """All parts that are trained; the autoencoder is finished by then."""
    return nn.ModuleDict(
        {
            "transformer": pipeline.transformer,
            "clip": pipeline.text_encoder,
            "t5": pipeline.text_encoder_2,
        }
    )


def flow_loss(
    pipeline: FluxPipeline, latents: torch.Tensor, prompts: list[str], generator: torch.Generator
) -> torch.Tensor:
    """Mean squared error of the predicted direction from latents to noise.

    Args:
        latents: (B, C, H, W), of mean 0 and variance 1.
        prompts: B texts; a share of :data:`NO_PROMPT` is replaced by an empty one.
    """
    b, c, h, w = latents.shape
    silent = torch.rand(b, generator=generator) < NO_PROMPT
    prompts = ["" if s else prompt for s, prompt in zip(silent, prompts, strict=True)]
    embedded, pooled, text_ids = pipeline.encode_prompt(
        prompts, None, max_sequence_length=pipeline.tokenizer.model_max_length
    )
    noise = torch.randn(latents.shape, generator=generator)
    time = torch.sigmoid(torch.randn(b, generator=generator))
    mixed = torch.lerp(latents, noise, time[:, None, None, None])
    pack = pipeline._pack_latents
    image_ids = pipeline._prepare_latent_image_ids(b, h // 2, w // 2, "cpu", torch.float32)
    # On a CPU the backward pass of fused attention is slower than that of plain attention.
    with sdpa_kernel(SDPBackend.MATH):
        found = pipeline.transformer(
            hidden_states=pack(mixed, b, c, h, w),
            timestep=time,
            pooled_projections=pooled,
            encoder_hidden_states=embedded,
            txt_ids=text_ids,
            img_ids=image_ids,
            return_dict=False,
        )[0]
    return (found.float() - pack(noise - latents, b, c, h, w)).square().mean()
