"""The tiny diffusion model and its autoencoder load with diffusers, and learn."""

import numpy as np
import torch
from diffusers import AutoPipelineForText2Image

from data_gen.synthesis.pair_maker import join_halves
from data_gen.toybox.identity import from_number
from data_gen.toybox.models.autoencoder import (
    AutoencoderShape,
    build_autoencoder,
    encode_all,
    restoration,
    standardise,
)
from data_gen.toybox.models.diffusion import (
    FlowShape,
    build_pipeline,
    flow_loss,
    trained_parts,
)
from data_gen.toybox.pairs import item_words, pair_words
from tests.data_gen.synthesis.tiny_pipelines import LENGTH, save_flux


def test_the_pipeline_loads_with_diffusers_and_draws(tmp_path):
    save_flux(tmp_path)
    pipeline = AutoPipelineForText2Image.from_pretrained(tmp_path)
    assert type(pipeline).__name__ == "FluxPipeline"
    pipeline.set_progress_bar_config(disable=True)
    image = pipeline(
        "two pictures of red bear",
        height=16,
        width=32,
        num_inference_steps=2,
        max_sequence_length=LENGTH,
        generator=torch.Generator().manual_seed(0),
    ).images[0]
    assert image.size == (32, 16)
    halves = image.crop((0, 0, 16, 16)), image.crop((16, 0, 32, 16))
    assert join_halves(halves).size == (35, 18)


def test_flow_and_autoencoder_learn(pairs):
    torch.manual_seed(0)
    autoencoder = build_autoencoder(AutoencoderShape(channels=8, latent_channels=2, blocks=1))
    latents = encode_all(autoencoder, pairs)[:16].float()
    standardise(autoencoder, latents)
    config = autoencoder.config
    latents = (latents - config.shift_factor) * config.scaling_factor
    assert abs(latents.mean()) < 0.05 and abs(latents.std() - 1) < 0.05
    assert 0 < restoration(autoencoder, pairs, 8) < 40
    pipeline = build_pipeline(
        FlowShape(
            width=40, heads=2, double_blocks=1, single_blocks=1, text_width=16, text_layers=1
        ),
        autoencoder,
    )
    parts = trained_parts(pipeline)
    optimizer = torch.optim.AdamW(parts.parameters(), 3e-3)
    prompts = [
        pair_words(item_words(from_number(fact["toy"])), fact["scenes"])
        for fact in pairs.facts[:16]
    ]
    losses = []
    for step in range(20):
        loss = flow_loss(pipeline, latents, prompts, torch.Generator().manual_seed(step % 4))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-4:]) < np.mean(losses[:4]) - 0.1
    assert all(
        p.grad is not None
        for name, p in parts.named_parameters()
        if name.startswith(("clip.", "t5.")) and "layer_norm2" not in name
    )
