"""Train the tiny diffusion model of the toybox from nothing: an autoencoder, then the flow.

    python launch/diffusion.py --config configs/tiny_models/toybox_diffusion.yaml

Stopped, the same command goes on from the last checkpoint, and ends at the same weights.
"""

import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from trl import TrlParser

from data_gen.toybox.identity import from_number
from data_gen.toybox.models.autoencoder import (
    AutoencoderShape,
    autoencoder_loss,
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
from data_gen.toybox.models.images import Drawn, drawn_pairs
from data_gen.toybox.models.training import Schedule, rows_of, train
from data_gen.toybox.pairs import item_words, pair_words


@dataclass
class DiffusionArguments:
    """What to make and from which pictures."""

    out: str = field(default="runs/toybox_diffusion", metadata={"help": "Output directory."})
    cache: str = field(default="runs/toybox_pictures", metadata={"help": "Drawn pairs."})
    pictures: int = field(default=40_960, metadata={"help": "Pairs to train on."})
    pictures_seed: int = field(default=51, metadata={"help": "Seed of the pairs."})
    half_px: int = field(default=48, metadata={"help": "Side of half a picture, in pixels."})
    autoencoder: dict = field(default_factory=dict, metadata={"help": "AutoencoderShape."})
    autoencoder_schedule: dict = field(default_factory=dict, metadata={"help": "Schedule."})
    flow: dict = field(default_factory=dict, metadata={"help": "FlowShape."})
    flow_schedule: dict = field(default_factory=dict, metadata={"help": "Schedule."})


def trained_autoencoder(args: DiffusionArguments, data: Drawn, out: Path):
    """The autoencoder, trained or read back."""
    schedule = Schedule(**args.autoencoder_schedule)
    torch.manual_seed(schedule.seed)
    model = build_autoencoder(AutoencoderShape(**args.autoencoder))

    def loss_of(step: int, generator: torch.Generator) -> torch.Tensor:
        # One half of each pair, so that a batch holds many toys.
        pictures = data.batch(rows_of(step, schedule.batch_size, len(data), schedule.seed))
        return autoencoder_loss(model, pictures.chunk(2, -1)[step % 2], generator)

    train(model, loss_of, schedule, out, "autoencoder")
    return model


def main() -> None:
    """Draw, train both parts, save the pipeline."""
    (args,) = TrlParser(DiffusionArguments).parse_args_and_config()
    out, schedule = Path(args.out), Schedule(**args.flow_schedule)
    data = drawn_pairs(Path(args.cache), args.pictures, args.half_px, args.pictures_seed)
    autoencoder = trained_autoencoder(args, data, out)
    latents = encode_all(autoencoder, data)
    standardise(autoencoder, latents)
    prompts = [pair_words(item_words(from_number(fact["toy"])), fact["scenes"])
               for fact in data.facts]
    torch.manual_seed(schedule.seed)
    pipeline = build_pipeline(FlowShape(**args.flow), autoencoder)
    parts = trained_parts(pipeline)
    print(f"{sum(p.numel() for p in parts.parameters()):,} parameters and "
          f"{sum(p.numel() for p in autoencoder.parameters()):,} of the autoencoder, "
          f"{schedule.steps:,} steps of {schedule.batch_size}; output in {out}", flush=True)
    shift, scale = autoencoder.config.shift_factor, autoencoder.config.scaling_factor

    def loss_of(step: int, generator: torch.Generator) -> torch.Tensor:
        picks = rows_of(step, schedule.batch_size, len(data), schedule.seed)
        return flow_loss(pipeline, (latents[picks].float() - shift) * scale,
                         [prompts[i] for i in picks], generator)

    train(parts, loss_of, schedule, out, "flow")
    unseen = drawn_pairs(Path(args.cache), 512, args.half_px, args.pictures_seed, held_out=True)
    measured = {"autoencoder's PSNR on held-out toys, dB": restoration(autoencoder, unseen)}
    pipeline.to(dtype=torch.float16).save_pretrained(out / "model", safe_serialization=True)
    (out / "model" / "recipe.json").write_text(json.dumps(
        {"arguments": asdict(args), "measured": measured, "command": sys.argv}, indent=1) + "\n")
    print(f"{measured}; saved {out / 'model'}")


if __name__ == "__main__":
    main()
