"""The workload of one measured step, the least it can cost, and its predicted cost."""

import random
from dataclasses import dataclass

from datasets import Dataset

from data_gen.rows import FEATURES
from data_gen.toybox.rows import ToyboxSettings, draw_identities
from data_gen.toybox.scene import compose
from rl.policy.loading import load_processor
from rl.sharing.cost import token_work


@dataclass
class Shape:
    """The workload of one step.

    Args:
        prompt: tokens of each prompt; a few more where the images need them.
        completion: tokens of each completion.
        G: completions per prompt.
        prompts: number of prompts.
        images: per prompt.
        image_px: side of the square images.
        beta: weight of the KL term; above 0 there is a reference pass.
        checkpointing: whether gradients are checkpointed.
        lora: whether adapters are trained instead of all weights.
        dropout: LoRA's, on the inputs of its first matrix.
    """

    prompt: int = 120
    completion: int = 128
    G: int = 8
    prompts: int = 1
    images: int = 2
    image_px: int = 64
    beta: float = 0.0
    checkpointing: bool = False
    lora: bool = False
    dropout: float = 0.0


def rows_of_shape(processor, shape: Shape, n: int, seed: int) -> Dataset:
    """``n`` rows whose prompts have ``shape.prompt`` tokens, or as few as their images allow."""
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
        rows.append(
            {
                "id": f"speed-{i}",
                "task": "speed",
                "prompt": message,
                "images": images,
                "answer": None,
                "box": None,
                "names": [],
                "absent_names": [],
                "source": "speed",
            }
        )
    return Dataset.from_list(rows, features=FEATURES)


def prompt_length(path: str, shape: Shape) -> int:
    """The actual number of tokens of prompts made by :func:`rows_of_shape`."""
    processor = load_processor(path)
    row = rows_of_shape(processor, shape, 1, 0)[0]
    text = processor.apply_chat_template(row["prompt"], add_generation_prompt=True)
    return len(processor(text=[text], images=[row["images"]])["input_ids"][0])


def bound(shape: Shape, prompt: int) -> dict[str, int]:
    """The least that a step can cost: each prompt and each image once, every completion token.

    Returns:
        ``tokens`` of the loss's pass, and of the reference's where there is one; ``images``.
    """
    passes = 2 if shape.beta else 1
    return {
        "tokens": passes * shape.prompts * (prompt + shape.G * shape.completion),
        "images": shape.prompts * shape.images,
    }


def image_price(config, px: int) -> float:
    """Cost of one square image through a frozen tower, in tokens.

    The tower runs forward only. A token runs forward and backward through the decoder, which is
    three times the work of forward alone.

    Args:
        config: of a Qwen2.5-VL-like policy.
        px: side of the image.
    """
    vision = config.vision_config
    patches = (px / vision.patch_size) ** 2
    each = 4 * vision.hidden_size**2 + 3 * vision.hidden_size * vision.intermediate_size
    work = vision.depth * patches * (each + 2 * patches * vision.hidden_size)
    return work / token_work(config) / 3
