"""What one measured step is made of, the least it can cost, and what it is predicted to cost."""

import random
from dataclasses import dataclass

import numpy
from datasets import Dataset

from data_gen.rows import FEATURES, ICT
from data_gen.toybox.rows import ToyboxSettings, draw_identities
from data_gen.toybox.scene import compose
from rl.policy.loading import load_processor
from rl.sharing.cost import (
    Prices,
    packed_cost,
    token_work,
    unshared_cost,
)


@dataclass
class Shape:
    """What one step is made of: ``prompts`` groups of ``G`` completions of ``completion`` tokens
    after prompts of about ``prompt`` tokens with ``images`` pictures of ``image_px``."""

    prompt: int = 120
    completion: int = 128
    G: int = 8
    prompts: int = 1
    images: int = 2
    image_px: int = 64
    beta: float = 0.0
    checkpointing: bool = False
    lora: bool = False


def rows_of_shape(processor, shape: Shape, n: int, seed: int) -> Dataset:
    """``n`` caption rows whose prompts have ``shape.prompt`` tokens, or as few as pictures need."""
    rng = random.Random(seed)
    rows = []
    settings = ToyboxSettings()
    for i in range(n):
        toys = draw_identities(rng, max(shape.images, 1), settings)
        images = [compose(rng, [toy], shape.image_px).image for toy in toys][: shape.images]
        filler = ""
        while True:
            content = [{"type": "image", "text": None}] * shape.images
            message = [{"role": "user", "content": [*content, {"type": "text", "text": filler}]}]
            text = processor.apply_chat_template(message, add_generation_prompt=True)
            ids = processor(text=[text], images=[images] if images else None)["input_ids"][0]
            missing = shape.prompt - len(ids)
            if missing <= 0:
                break
            filler += " the" * max(missing // 2, 1)
        rows.append({"id": f"speed-{i}", "task": ICT, "prompt": message, "images": images,
                     "answer": None, "box": None, "names": [], "absent_names": [],
                     "source": "speed"})
    return Dataset.from_list(rows, features=FEATURES)


def prompt_length(path: str, shape: Shape) -> int:
    """Tokens that the prompts of :func:`rows_of_shape` really have."""
    processor = load_processor(path)
    row = rows_of_shape(processor, shape, 1, 0)[0]
    text = processor.apply_chat_template(row["prompt"], add_generation_prompt=True)
    return len(processor(text=[text], images=[row["images"]])["input_ids"][0])


def bound(shape: Shape, prompt: int) -> dict[str, int]:
    """The least that a step can cost: each prompt and each picture once, every completion token.

    ``tokens`` counts the loss's pass, and the reference's where there is one.
    """
    passes = 2 if shape.beta else 1
    return {"tokens": passes * shape.prompts * (prompt + shape.G * shape.completion),
            "pictures": shape.prompts * shape.images}


def picture_price(config, px: int) -> float:
    """One square picture forward through a frozen tower, in tokens forward and back through the
    decoder: three times the work of forward alone.

    Args:
        config: of a Qwen2.5-VL-like policy.
        px: side of the picture.
    """
    vision = config.vision_config
    patches = (px / vision.patch_size) ** 2
    each = 4 * vision.hidden_size**2 + 3 * vision.hidden_size * vision.intermediate_size
    work = vision.depth * patches * (each + 2 * patches * vision.hidden_size)
    return work / token_work(config) / 3


def costs(shape: Shape, prompt: int, prices: Prices, picture: float) -> dict[str, float]:
    """Of the loss's pass in tokens, stock's and ours; ours has seen the pictures before."""
    rows = shape.prompts * shape.G
    return {"stock": unshared_cost(rows, prompt, shape.completion, prices)
            + rows * shape.images * picture,
            "ours": packed_cost(shape.prompts, shape.G, prompt, shape.completion, prices)}


def fit(measured: list[tuple[float, float]]) -> float:
    """:data:`rl.sharing.cost.OVERHEAD` from n >= 2 measured passes.

    Least squares of the relative error of seconds = u (overhead + cost).

    Args:
        measured: (seconds, cost in tokens) each.
    """
    seconds, cost = (numpy.array(column, float) for column in zip(*measured, strict=True))
    matrix = numpy.stack([1 / seconds, cost / seconds], axis=1)
    start, unit = numpy.linalg.lstsq(matrix, numpy.ones_like(seconds), rcond=None)[0]
    return max(float(start / unit), 0.0)
