"""Pretraining of the vision tower: its truth, its tokens, and that it learns."""

import numpy as np
import torch
from PIL import Image
from transformers import AutoProcessor

from data_gen.toybox.identity import ATTRIBUTES, is_held_out
from data_gen.toybox.models.attribute_classifier import VALUES
from data_gen.toybox.models.policy import TinyPolicy, build_model, build_processor
from data_gen.toybox.models.training import Schedule
from data_gen.toybox.models.vision import (
    UNASKED,
    DenseVision,
    VisionSettings,
    batches,
    draw_picture,
    picture_batch,
    vision_accuracy,
)
from data_gen.toybox.weights import local_weights

SETTINGS = VisionSettings(sizes={32: 0.5, 64: 0.5}, looks=0.3)


def dense() -> tuple[DenseVision, AutoProcessor]:
    tokenizer = AutoProcessor.from_pretrained(local_weights("toybox_base")).tokenizer
    shape = TinyPolicy(vision_layers=1, layers=1)
    torch.manual_seed(0)
    processor = build_processor(tokenizer, shape)
    return DenseVision(build_model(tokenizer, shape).model.visual, processor.image_processor), (
        processor
    )


def test_image_tokens_are_those_that_the_processor_makes():
    model, processor = dense()
    drawn = picture_batch(range(2), 64, 1, SETTINGS, 16)
    images = [Image.fromarray(pixels.numpy()) for pixels in drawn["pixels"]]
    made = processor.image_processor(images=images, return_tensors="pt")
    with torch.no_grad():
        out = model.tower(made["pixel_values"], grid_thw=made["image_grid_thw"])
        tokens = out if isinstance(out, torch.Tensor) else out.pooler_output
        tokens = tokens if isinstance(tokens, torch.Tensor) else torch.cat(list(tokens))
        assert torch.allclose(model.tokens(drawn["pixels"]).flatten(0, 1), tokens, atol=1e-5)


def test_every_cell_on_a_toy_has_its_attributes_and_the_way_to_its_box():
    for index in range(30):
        drawn = draw_picture(index, 64, 0, SETTINGS, 16)
        cells = np.array([((i % 4 + 0.5) / 4, (i // 4 + 0.5) / 4) for i in range(16)])
        for toy in range(drawn["toy"].max() + 1):
            on = drawn["toy"] == toy
            assert len({tuple(values) for values in drawn["cells"][on]}) <= 1
            corners = np.concatenate(
                [cells[on] - drawn["boxes"][on, :2], cells[on] + drawn["boxes"][on, 2:]], 1
            )
            assert np.allclose(corners, corners[:1], atol=1e-6)
        assert (drawn["cells"][drawn["toy"] < 0] == UNASKED).all()
        assert (drawn["look"][0] == UNASKED) == (drawn["surroundings"][0] != UNASKED)


def test_held_out_toys_are_never_trained_on():
    def toys(held_out: bool):
        for index in range(40):
            drawn = draw_picture(index, 64, 0, SETTINGS, 16, held_out)
            for values in {tuple(v) for v in drawn["cells"] if v[0] != UNASKED}:
                yield {a: VALUES[a][k] for a, k in zip(ATTRIBUTES, values, strict=True)}

    from data_gen.toybox.identity import Identity

    assert not any(is_held_out(Identity(**toy)) for toy in toys(False))
    assert all(is_held_out(Identity(**toy)) for toy in toys(True))


def test_batches_depend_on_seed_and_step_alone():
    schedule = Schedule(steps=4, batch_size=3)
    whole = list(batches(0, schedule, 5, SETTINGS, 16))
    resumed = list(batches(2, schedule, 5, SETTINGS, 16))
    assert len(whole) == 4 and len(resumed) == 2
    for a, b in zip(whole[2:], resumed, strict=True):
        assert all(torch.equal(a[key], b[key]) for key in a)


def test_it_learns_to_tell_colours():
    model, _ = dense()
    drawn = picture_batch(range(24), 32, 0, VisionSettings(sizes={32: 1}, looks=0), 16)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    first = float(model(drawn)["colour"].detach())
    for _ in range(30):
        loss = sum(model(drawn).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(model(drawn)["colour"].detach()) < first / 2
    measured = vision_accuracy(model, SETTINGS, 8, 0)
    shares = [value for found in measured.values() for key, value in found.items() if key != "n"]
    assert all(0 <= share <= 1 for share in shares)
