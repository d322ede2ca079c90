"""Tiny things to test with: a random Qwen2.5-VL policy with a real processor, and small row sets.

Nothing is downloaded: the tokenizer is trained on the spot on the project's own prompts.
"""

import random
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from transformers import Qwen2_5_VLProcessor

from data_gen.rows import ICT, OCT, VLT, write_rows
from data_gen.tasks.names import draw_names
from data_gen.tasks.prompts import load_prompts
from data_gen.tasks.questions import (
    Reference,
    identity_consistency_row,
    object_consistency_row,
    visual_localization_row,
)
from data_gen.toybox.models.policy import (
    TinyPolicy,
    build_model,
    build_processor,
    train_tokenizer,
)

SHAPE = TinyPolicy(
    vocab_size=384,
    hidden_size=48,
    layers=2,
    heads=4,
    kv_heads=2,
    intermediate_size=96,
    vision_hidden_size=32,
    vision_layers=2,
    vision_intermediate_size=64,
    max_image_px=64,
)


def tiny_processor() -> Qwen2_5_VLProcessor:
    """A Qwen2.5-VL processor: byte-level BPE, patch 8, merge 2 (64x64 pixels = 16 image tokens)."""
    corpus = [str(load_prompts()), "yes no user assistant system " * 50]
    return build_processor(train_tokenizer(corpus, SHAPE.vocab_size), SHAPE)


def save_tiny_policy(path: str | Path, seed: int = 0, context: int = 2048) -> Path:
    """Write a random policy of some 0.1 M parameters as ``from_pretrained`` reads it."""
    torch.manual_seed(seed)
    processor = tiny_processor()
    shape = replace(SHAPE, max_position_embeddings=context)
    build_model(processor.tokenizer, shape).save_pretrained(path)
    processor.save_pretrained(path)
    return Path(path)


@cache
def _colours() -> list[str]:
    return ["red", "green", "blue", "yellow", "purple", "orange", "cyan", "brown"]


def drawing(rng: random.Random, colour: str, size: int = 64) -> tuple[Image.Image, tuple]:
    """One coloured box on a plain ground, and where it is (x1 y1 x2 y2 in 0-1)."""
    image = Image.new("RGB", (size, size), rng.choice(["white", "lightgrey", "ivory"]))
    x, y = rng.uniform(0.05, 0.5), rng.uniform(0.05, 0.5)
    box = (x, y, x + 0.4, y + 0.4)
    ImageDraw.Draw(image).rectangle([v * size for v in box], fill=colour)
    return image, box


def tiny_rows(n: int = 24, seed: int = 0, text_only: int = 0, size: int = 64) -> list[dict]:
    """``n`` rows cycling through the three tasks, then ``text_only`` caption rows, no images."""
    rng = random.Random(seed)
    rows = []
    for i in range(n):
        colour, other = rng.sample(_colours(), 2)
        name, absent = draw_names(rng, 2)
        reference = Reference(name, drawing(rng, colour, size)[0])
        query, box = drawing(rng, colour, size)
        task = (OCT, VLT, ICT)[i % 3]
        row_id = f"tiny-{seed}-{i}"
        if task == OCT:
            same = i % 2 == 0
            shown = query if same else drawing(rng, other, size)[0]
            rows.append(
                object_consistency_row(rng, row_id, reference, shown, same=same, source="tiny")
            )
        elif task == VLT:
            rows.append(visual_localization_row(rng, row_id, reference, query, box, source="tiny"))
        else:
            distractor = Reference(absent, drawing(rng, other, size)[0])
            rows.append(
                identity_consistency_row(
                    rng, row_id, [reference, distractor], [True, False], query, source="tiny"
                )
            )
    for i in range(text_only):
        name = draw_names(rng, 1)[0]
        prompt = [{"role": "user", "content": [{"type": "text", "text": f"Say <{name}>."}]}]
        rows.append(
            {
                "id": f"text-{seed}-{i}",
                "task": ICT,
                "prompt": prompt,
                "images": [],
                "answer": None,
                "box": None,
                "names": [name],
                "absent_names": [],
                "source": "tiny",
            }
        )
    return rows


def save_tiny_rows(path: str | Path, n: int = 24, seed: int = 0, text_only: int = 0) -> Path:
    """Write a small row set and return its directory."""
    write_rows(tiny_rows(n, seed, text_only), path, seed=seed, generator="tests/tiny.py")
    return Path(path)
