"""The tiny CLIP loads with open_clip, and learns."""

import random

import numpy as np
import open_clip
import torch
from PIL import Image

from data_gen.images.encoders import load_encoder
from data_gen.toybox.identity import from_number
from data_gen.toybox.models.clip import (
    ClipShape,
    build_clip,
    clip_caption,
    clip_loss,
    retrieval,
    save_clip,
)

TINY = ClipShape(
    image_px=32, vision_width=32, vision_layers=1, text_width=32, text_layers=1, embed=16
)


def test_the_clip_loads_with_open_clip_and_gives_the_same_vectors(tmp_path, scenes):
    torch.manual_seed(0)
    model, tokenizer, config = build_clip(TINY)
    save_clip(model.eval(), tokenizer, config, tmp_path, {"made": "here"})
    loaded, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{tmp_path}")
    words = open_clip.get_tokenizer(f"local-dir:{tmp_path}")
    caption = "one toy, red bear with white stripes and blue top hat"
    image = Image.fromarray(np.array(scenes.files[0][0]))
    with torch.no_grad():
        assert torch.allclose(
            loaded.encode_text(words([caption])),
            model.encode_text(
                tokenizer([caption], padding="max_length", return_tensors="pt").input_ids
            ),
            atol=1e-2,
        )
        assert torch.allclose(
            loaded.encode_image(preprocess(image)[None]),
            model.encode_image(scenes.batch([0])),
            atol=1e-2,
        )
    encoder = load_encoder(str(tmp_path), "cpu")
    assert encoder.dim == 16 and encoder.texts([caption]).shape == (1, 16)


def test_the_clip_learns(scenes):
    torch.manual_seed(0)
    model, tokenizer, _ = build_clip(TINY)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    losses = []
    for step in range(12):
        loss = clip_loss(model, tokenizer, scenes, range(32), 0, step % 2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.3
    found = retrieval(model.eval(), tokenizer, scenes, batch=32)
    assert found["images"] >= 96 and 0 <= found["text of an image"] <= 1


def test_captions_say_what_is_there(scenes):
    rng = random.Random(0)
    for fact in scenes.facts[:60]:
        said = clip_caption(rng, fact)
        assert said.startswith({1: "one toy", 2: "two toys"}[len(fact["toys"])])
        assert all(from_number(n).kind in said for n in fact["toys"])
    assert clip_caption(rng, {"toys": [], "scene": "plain sky wall"}) == "no toy, plain sky wall"
