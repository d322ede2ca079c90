"""The autoencoder of the tiny diffusion model: diffusers' ``AutoencoderTiny``, 4 x 4 pixels to one
latent position."""

# pyright: reportPrivateImportUsage=false
# (diffusers imports its classes lazily, which pyright takes for private.)

import math
from dataclasses import dataclass
from typing import Any, cast

import torch
from diffusers import AutoencoderTiny
from tqdm import tqdm

from data_gen.toybox.models.images import DrawnImages


@dataclass
class AutoencoderShape:
    """Shape of the model. The defaults give 0.5 M parameters."""

    channels: int = 48
    latent_channels: int = 10
    blocks: int = 2  # at the lowest resolution; one at the middle, none at the highest


def build_autoencoder(shape: AutoencoderShape) -> AutoencoderTiny:
    """A new model."""
    width = (shape.channels,) * 3
    return AutoencoderTiny(
        encoder_block_out_channels=width,
        decoder_block_out_channels=width,
        latent_channels=shape.latent_channels,
        num_encoder_blocks=(0, 1, shape.blocks),
        num_decoder_blocks=(shape.blocks, 1, 0),
    )


def autoencoder_loss(
    model: AutoencoderTiny, images: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Reconstruction loss of images (B, 3, H, W) in -1...1: L1, which keeps edges, on pixels and on
    the differences of neighbours. Noise on the latents makes near latents decode to near images,
    and an L2 penalty keeps them where the decoder does not clamp."""
    latents = _encode(model, images)
    noise = 0.05 * torch.randn(latents.shape, generator=generator)
    back = _decode(model, latents + noise).float()
    across, down = (back - images).diff(dim=-1), (back - images).diff(dim=-2)
    return (
        (back - images).abs().mean()
        + across.abs().mean()
        + down.abs().mean()
        + 1e-3 * latents.float().square().mean()
    )


@torch.no_grad()
def encode_all(model: AutoencoderTiny, data: DrawnImages, batch: int = 64) -> torch.Tensor:
    """Latents (N, C, H / 4, W / 4) of all images, in half precision."""
    parts = [
        _encode(model, data.batch(range(first, min(first + batch, len(data))))).half()
        for first in tqdm(range(0, len(data), batch), desc="latents", mininterval=1)
    ]
    return torch.cat(parts)


def standardise(model: AutoencoderTiny, latents: torch.Tensor) -> None:
    """Store mean and spread of the latents in the config, so that a pipeline brings them to mean 0
    and variance 1: ``(latents - shift_factor) * scaling_factor``."""
    some = latents[:: max(1, len(latents) // 4096)].float()
    model.register_to_config(shift_factor=float(some.mean()), scaling_factor=1 / float(some.std()))


def _encode(model: AutoencoderTiny, images: torch.Tensor) -> torch.Tensor:
    return cast(Any, model.encode(images)).latents


def _decode(model: AutoencoderTiny, latents: torch.Tensor) -> torch.Tensor:
    return cast(Any, model.decode(latents)).sample


@torch.no_grad()
def restoration(model: AutoencoderTiny, data: DrawnImages, n: int = 512) -> float:
    """Peak signal-to-noise ratio of the first ``n`` images after encoding and decoding, in dB."""
    images = data.batch(range(min(n, len(data))))
    back = _decode(model, _encode(model, images)).clamp(-1, 1)
    return 10 * math.log10(4 / (back - images).square().mean().item())
