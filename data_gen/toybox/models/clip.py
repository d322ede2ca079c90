"""A tiny CLIP of the toybox: open_clip's own model and loss, and a tokenizer of whole words.

``open_clip.create_model("local-dir:...")`` loads the directory that is saved. open_clip's training
program is not used, as it saves checkpoints as pickles and needs a data set on disk; the learning
rate schedule is its own.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from open_clip import CLIP, ClipLoss
from safetensors.torch import save_file
from transformers import PreTrainedTokenizerFast

from data_gen.toybox.draw import WALLS
from data_gen.toybox.identity import from_number
from data_gen.toybox.models.images import DrawnImages
from data_gen.toybox.models.tokenizer import END, PAD, toybox_words, word_tokenizer
from data_gen.toybox.models.training import Schedule
from data_gen.toybox.pairs import GROUNDS, MARKS, item_words

COUNTS = {1: "one toy", 2: "two toys", 3: "three toys", 4: "four toys"}
NO_TOY = "no toy"

PREPROCESS = {
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "interpolation": "bicubic",
    "resize_mode": "squash",
}


@dataclass
class ClipShape:
    """Shape of the model. The defaults give 1.2 M parameters."""

    image_px: int = 48
    patch_px: int = 8
    embed: int = 128
    vision_width: int = 128
    vision_layers: int = 4
    text_width: int = 96
    text_layers: int = 3
    heads: int = 4
    text_length: int = 40


def clip_config(shape: ClipShape, n_words: int) -> dict:
    """``open_clip_config.json``"""
    return {
        "model_cfg": {
            "embed_dim": shape.embed,
            "vision_cfg": {
                "image_size": shape.image_px,
                "patch_size": shape.patch_px,
                "width": shape.vision_width,
                "head_width": shape.vision_width // shape.heads,
                "layers": shape.vision_layers,
                "pool_type": "avg",
                "final_ln_after_pool": True,
            },
            "text_cfg": {
                "context_length": shape.text_length,
                "vocab_size": n_words,
                "hf_tokenizer_name": "toybox",
                "width": shape.text_width,
                "heads": shape.heads,
                "layers": shape.text_layers,
                "pool_type": "eos",
                "eos_id": END,
                "pad_id": PAD,
            },
        },
        "preprocess_cfg": PREPROCESS,
    }


def build_clip(shape: ClipShape) -> tuple[CLIP, PreTrainedTokenizerFast, dict]:
    """A new model, its tokenizer and its config."""
    tokenizer = word_tokenizer(toybox_words(), shape.text_length)
    config = clip_config(shape, len(tokenizer))
    made = config["model_cfg"]
    return CLIP(made["embed_dim"], made["vision_cfg"], made["text_cfg"]), tokenizer, config


def save_clip(
    model: CLIP, tokenizer: PreTrainedTokenizerFast, config: dict, folder: Path, recipe: dict
) -> None:
    """Write the model in half precision with its recipe."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=1) + "\n")
    (folder / "recipe.json").write_text(json.dumps(recipe, indent=1) + "\n")
    save_file(
        {name: value.half().contiguous() for name, value in model.state_dict().items()},
        folder / "open_clip_model.safetensors",
    )


def clip_caption(rng: random.Random, fact: dict) -> str:
    """A caption that says some of what is true of an image, drawn at random.

    Args:
        fact: ``toys`` and perhaps ``scene``, as :func:`data_gen.toybox.models.images.drawn_scenes`
            gives them.
    """
    if not fact["toys"]:
        return f"{NO_TOY}, {fact['scene']}"
    said = [COUNTS[len(fact["toys"])]]
    said += [
        item_words(from_number(n)) if rng.random() < 0.7 else _part(rng, n) for n in fact["toys"]
    ]
    if "scene" in fact and rng.random() < 0.6:
        said.append(fact["scene"])
    return ", ".join(said)


def _part(rng: random.Random, number: int) -> str:
    i = from_number(number)
    colour = f"{i.colour} " if rng.random() < 0.7 else ""
    more = [f"{i.second} {MARKS[i.pattern]}", f"{i.accessory_colour} {i.accessory}"]
    said = [phrase for phrase in more if rng.random() < 0.6]
    return f"{colour}{i.kind}" + (f" with {' and '.join(said)}" if said else "")


def clip_loss(
    model: CLIP,
    tokenizer: PreTrainedTokenizerFast,
    data: DrawnImages,
    picks: Sequence[int] | np.ndarray,
    seed: int,
    step: int,
) -> torch.Tensor:
    """open_clip's contrastive loss of one batch. Half of the images are mirrored, and one in fifty
    becomes an empty wall."""
    rng = random.Random(f"captions-{seed}-{step}")
    images = data.batch(picks)
    texts = []
    for row, pick in enumerate(picks):
        fact = data.facts[pick]
        if rng.random() < 0.02:
            wall, ground = rng.choice(list(WALLS)), "plain"
            colour = torch.tensor(WALLS[wall]) / 127.5 - 1
            images[row] = colour[:, None, None] * rng.uniform(0.9, 1.0)
            fact = {"toys": [], "scene": f"{GROUNDS[ground]} {wall} wall"}
        elif rng.random() < 0.5:
            images[row] = images[row].flip(-1)
        texts.append(clip_caption(rng, fact))
    ids = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
    with torch.no_grad():
        model.logit_scale.clamp_(0, 4.6052)  # at most 100, as in open_clip's training
    image_features = model.encode_image(images, normalize=True)
    text_features = model.encode_text(ids, normalize=True)
    return ClipLoss()(image_features.float(), text_features.float(), model.logit_scale.exp())


@torch.no_grad()
def retrieval(
    model: CLIP, tokenizer: PreTrainedTokenizerFast, data: DrawnImages, batch: int = 250
) -> dict[str, float]:
    """Recall@1 within batches of ``batch`` images of one toy each: the share of images whose full
    text is the nearest, and of texts whose image is. An incomplete last batch is not used."""
    ones = [i for i, fact in enumerate(data.facts) if len(fact["toys"]) == 1]
    right = [0, 0]
    n = len(ones) // batch * batch
    for first in range(0, n, batch):
        picks = ones[first : first + batch]
        texts = [f"{COUNTS[1]}, {item_words(from_number(data.facts[i]['toys'][0]))}" for i in picks]
        ids = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
        close = (
            model.encode_image(data.batch(picks), normalize=True)
            @ model.encode_text(ids, normalize=True).T
        )
        truth = torch.arange(batch)
        for k in (0, 1):
            right[k] += int((close.argmax(1 - k) == truth).sum())
    return {
        "text of an image": right[0] / max(1, n),
        "image of a text": right[1] / max(1, n),
        "among": batch,
        "images": n,
    }


def recipe_of(shape: ClipShape, schedule: Schedule, measured: dict, command: list[str]) -> dict:
    """What made the weights, and their measured quality."""
    return {
        "shape": asdict(shape),
        "schedule": asdict(schedule),
        "measured": measured,
        "command": command,
    }
