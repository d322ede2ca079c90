"""The first half of the tiny diffusion model: pictures to few numbers and back (diffusers'
``AutoencoderTiny``, 4 x 4 pixels to one place)."""

from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderTiny
from tqdm import tqdm

from data_gen.toybox.models.images import Drawn

FACTOR = 4


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
        encoder_block_out_channels=width, decoder_block_out_channels=width,
        latent_channels=shape.latent_channels, num_encoder_blocks=(0, 1, shape.blocks),
        num_decoder_blocks=(shape.blocks, 1, 0))


def autoencoder_loss(
    model: AutoencoderTiny, pictures: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """How far pictures (B, 3, H, W) in -1...1 come back from where they were: L1, which keeps
    edges, on pixels and on their differences. Noise on the latents makes near ones mean near
    pictures, and a pull towards 0 keeps them where the decoder does not clamp."""
    latents = model.encode(pictures).latents
    noise = 0.05 * torch.randn(latents.shape, generator=generator)
    back = model.decode(latents + noise).sample.float()
    across, down = (back - pictures).diff(dim=-1), (back - pictures).diff(dim=-2)
    return ((back - pictures).abs().mean() + across.abs().mean() + down.abs().mean()
            + 1e-3 * latents.float().square().mean())


@torch.no_grad()
def encode_all(model: AutoencoderTiny, data: Drawn, batch: int = 64) -> torch.Tensor:
    """Latents (N, C, H / 4, W / 4) of all pictures, in half precision."""
    parts = [model.encode(data.batch(range(first, min(first + batch, len(data))))).latents.half()
             for first in tqdm(range(0, len(data), batch), desc="latents", mininterval=1)]
    return torch.cat(parts)


def standardise(model: AutoencoderTiny, latents: torch.Tensor) -> None:
    """Tell the model how its latents are spread, so that a pipeline brings them to mean 0 and
    variance 1: ``(latents - shift_factor) * scaling_factor``."""
    some = latents[:: max(1, len(latents) // 4096)].float()
    model.register_to_config(shift_factor=float(some.mean()), scaling_factor=1 / float(some.std()))


@torch.no_grad()
def restoration(model: AutoencoderTiny, data: Drawn, n: int = 512) -> float:
    """Peak signal-to-noise ratio of the first pictures and what comes back, in dB."""
    pictures = data.batch(range(min(n, len(data))))
    back = model.decode(model.encode(pictures).latents).sample.clamp(-1, 1)
    return float(10 * np.log10(4 / (back - pictures).square().mean()))
