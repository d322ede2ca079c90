"""Train the tiny CLIP of the toybox from nothing.

    python launch/clip.py --config configs/tiny_models/toybox_clip.yaml

Stopped, the same command goes on from the last checkpoint, and ends at the same weights.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path

import torch
from trl import TrlParser

from data_gen.toybox.models.clip import (
    ClipShape,
    build_clip,
    clip_loss,
    recipe_of,
    retrieval,
    save_clip,
)
from data_gen.toybox.models.images import drawn_scenes
from data_gen.toybox.models.training import Schedule, rows_of, train


@dataclass
class ClipArguments:
    """What to make and from which pictures."""

    out: str = field(default="runs/toybox_clip", metadata={"help": "Output directory."})
    shape: dict = field(default_factory=dict, metadata={"help": "ClipShape."})
    schedule: dict = field(default_factory=dict, metadata={"help": "Schedule."})
    pictures: int = field(default=60_000, metadata={"help": "Pictures to train on."})
    pictures_seed: int = field(default=41, metadata={"help": "Seed of the pictures."})
    toys: dict = field(default_factory=lambda: {0: 0.4, 1: 0.48, 2: 0.12},
                       metadata={"help": "Toys in a picture -> weight; 0: half of a pair."})
    held_out: int = field(default=2000, metadata={"help": "Held-out pictures to measure with."})


def main() -> None:
    """Draw, train, measure on held-out toys, save."""
    (args,) = TrlParser(ClipArguments).parse_args_and_config()
    shape, schedule, out = ClipShape(**args.shape), Schedule(**args.schedule), Path(args.out)
    toys = {int(n): float(weight) for n, weight in args.toys.items()}
    torch.manual_seed(schedule.seed)
    model, tokenizer, config = build_clip(shape)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {args.pictures:,} pictures "
          f"of {shape.image_px} px, {schedule.steps:,} steps of {schedule.batch_size}; output in "
          f"{out}", flush=True)

    def scenes(count: int, held_out: bool):
        return drawn_scenes(out / "pictures", count, shape.image_px, args.pictures_seed, toys,
                            held_out=held_out)

    data = scenes(args.pictures, False)

    def loss_of(step: int, generator: torch.Generator) -> torch.Tensor:
        picks = rows_of(step, schedule.batch_size, len(data), schedule.seed)
        return clip_loss(model, tokenizer, data, picks, schedule.seed, step)

    train(model, loss_of, schedule, out, "clip")
    measured = retrieval(model, tokenizer, scenes(args.held_out, True))
    save_clip(model, tokenizer, config, out / "model",
              recipe_of(shape, schedule, measured, sys.argv))
    print(f"held-out toys: {measured}; saved {out / 'model'}")


if __name__ == "__main__":
    main()
