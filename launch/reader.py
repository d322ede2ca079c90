"""Train the reader of the toybox's attributes, or read the toys of a set of pairs.

    python launch/reader.py --config configs/tiny_models/toybox_attribute_classifier.yaml
    python launch/reader.py --config configs/tiny_models/toybox_attribute_classifier.yaml --pairs runs/pairs/toy

With ``--pairs`` nothing is trained: the items' texts say which toys were asked for, the reader says
which are there, left and right. ``--sheet FILE`` draws some of the pairs.
"""

import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from trl import TrlParser

from benchmarks.toybox.generated_pairs import draw_sheet, read_pairs_of, report
from data_gen.toybox.models.attribute_classifier import (
    Reader,
    ReaderShape,
    agreement,
    halves,
    load_reader,
    read_toys,
    reader_loss,
    save_reader,
)
from data_gen.toybox.models.images import drawn_pairs
from data_gen.toybox.models.training import Schedule, rows_of, train


@dataclass
class ReaderArguments:
    """What to make and from which pictures; or what to read."""

    out: str = field(default="runs/toybox_reader", metadata={"help": "Output directory."})
    cache: str = field(default="runs/toybox_pictures", metadata={"help": "Drawn pairs."})
    shape: dict = field(default_factory=dict, metadata={"help": "ReaderShape."})
    schedule: dict = field(default_factory=dict, metadata={"help": "Schedule."})
    pictures: int = field(default=40_960, metadata={"help": "Pairs to train on."})
    pictures_seed: int = field(default=51, metadata={"help": "Seed of the pairs."})
    held_out: int = field(default=2048, metadata={"help": "Held-out pairs to measure with."})
    pairs: str | None = field(default=None, metadata={"help": "A set of pairs to read."})
    reader: str = field(default="toybox_attribute_classifier", metadata={"help": "To read it with."})
    sheet: str | None = field(default=None, metadata={"help": "Picture of some pairs."})


def make(args: ReaderArguments) -> None:
    """Draw, train, measure on held-out toys, save."""
    shape, schedule, out = ReaderShape(**args.shape), Schedule(**args.schedule), Path(args.out)
    torch.manual_seed(schedule.seed)
    model = Reader(shape)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {args.pictures:,} pairs of "
          f"{shape.image_px} px, {schedule.steps:,} steps; output in {out}", flush=True)
    data = drawn_pairs(Path(args.cache), args.pictures, shape.image_px, args.pictures_seed)

    def loss_of(step: int, generator: torch.Generator) -> torch.Tensor:
        picks = rows_of(step, schedule.batch_size, len(data), schedule.seed)
        return reader_loss(model, data, picks, generator)

    train(model, loss_of, schedule, out, "reader")
    unseen = drawn_pairs(Path(args.cache), args.held_out, shape.image_px, args.pictures_seed,
                         held_out=True)
    pictures, truth = halves(unseen, range(len(unseen)))
    measured = agreement(read_toys(model, pictures), truth) | {"pictures": len(truth)}
    save_reader(model, out / "model", {"schedule": asdict(schedule), "measured": measured,
                                       "command": sys.argv})
    print(f"held-out drawn toys: {json.dumps(measured)}; saved {out / 'model'}")


def main() -> None:
    (args,) = TrlParser(ReaderArguments).parse_args_and_config()
    if args.pairs is None:
        make(args)
        return
    try:
        read = read_pairs_of(args.pairs, load_reader(args.reader))
        print(json.dumps(report(read), indent=1))
        if args.sheet:
            draw_sheet(read, Path(args.sheet))
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"reader: {error}")


if __name__ == "__main__":
    main()
