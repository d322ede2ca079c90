"""Mine hard negatives: a table of each thing's nearest others, which rows' generators read.

    python launch/mine_negatives.py --config configs/negatives/dreambooth.yaml
    python launch/mine_negatives.py --config configs/negatives/toybox.yaml --policy toybox_base

Beside the table stand what was measured (``.json``) and which things may be the same
(``.duplicates.jsonl``). With ``--policy`` the table is put to the test: the policy's answers to the
same questions with mined, same-category and random negatives. Stopped, the same command goes on.
"""

import json
import re
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from trl import TrlParser

from benchmarks import mined_negatives as mined
from benchmarks.harness.predictions import predict
from benchmarks.harness.systems import fingerprint
from benchmarks.metrics.intervals import estimate
from data_gen.files.errors import SourceError
from data_gen.files.files import is_missing_path, write_json
from data_gen.files.skipped import left_out_clause
from data_gen.generators import Opened, open_source
from data_gen.images.encoders import load_encoder
from data_gen.negatives.embedding import embed
from data_gen.negatives.mining import Mining, mine, write_mined
from data_gen.negatives.table import read_neighbours
from rl.policy.loading import load_policy


@dataclass
class NegativesArguments:
    """From what, by which encoder, to where."""

    source: dict = field(default_factory=dict, metadata={"help": "See data_gen.generators."})
    encoder: str = field(default="imagenet", metadata={"help": "See data_gen.images.encoders."})
    out: str = field(default="runs/neighbours/table.parquet", metadata={"help": "The table."})
    cache: str = field(default="runs/cache/vectors", metadata={"help": "Directory of vectors."})
    mining: dict = field(default_factory=dict, metadata={"help": "See data_gen.negatives.mining.Mining."})
    policy: str | None = field(default=None, metadata={"help": "Policy to put to the test."})
    rows: int = field(default=400, metadata={"help": "Questions of each kind for the policy."})
    size: int = field(default=96, metadata={"help": "Of the policy's pictures, in pixels."})
    seed: int = field(default=7001, metadata={"help": "Seed of the questions."})
    batch_size: int = field(default=64, metadata={"help": "Questions per call of the policy."})
    dtype: str = field(default="float32", metadata={"help": "Of the policy."})


def make_table(args: NegativesArguments) -> Opened:
    """Embed, search, write; print what was found."""
    settings = Mining(**args.mining)
    if is_missing_path(args.encoder):
        raise SourceError(f"encoder {args.encoder} is not there; the toybox's is made by "
                          "launch/clip.py, and 'imagenet' installs as a package")
    opened = open_source(args.source)
    print(f"{opened.line}; output: {args.out}", flush=True)
    encoder = load_encoder(args.encoder)
    things, left_out = opened.source.things, Counter()
    found = mine(things, embed(things, encoder, Path(args.cache), opened.stamp, left_out), settings)
    found.left_out.update(left_out)
    write_mined(found, Path(args.out), {"source": args.source, "encoder": args.encoder,
                                        "fingerprint": encoder.fingerprint, **asdict(settings)})
    print(f"{len(found.nearest)} of {len(things)} things have neighbours"
          f"{left_out_clause(found.left_out)}; {len(found.duplicates)} pairs may be the same "
          f"(cosine from {settings.near_duplicate})")
    for name, measured in found.measured.items():
        print(f"  cosine, {name}: {json.dumps(measured)}")
    return opened


def ask_policy(args: NegativesArguments, opened: Opened) -> None:
    """Ask the policy and write what it got right beside the table."""
    nearest = read_neighbours(args.out, opened.source.things)
    rows = mined.mined_rows(opened.source, nearest, args.rows, args.seed, args.size)
    loaded: list = []

    def load():
        if not loaded:
            model, processor = load_policy(args.policy, dtype=args.dtype)
            device = "cuda" if torch.cuda.is_available() else "cpu"
            loaded.extend((model.to(device), processor))
        return loaded

    label = re.sub(r"[^\w.-]+", "_", args.policy)
    folder = Path(args.out).with_suffix(".answers") / label
    answers = {kind: predict(load, of_kind, folder / f"{kind}.jsonl",
                             fingerprint=f"{fingerprint(args.policy)}-{args.dtype}",
                             max_new_tokens=16, batch_size=args.batch_size, title=kind)
               for kind, of_kind in rows.items()}
    scores = {name: asdict(estimate(metric)) for name, metric in mined.score(rows, answers).items()}
    write_json(folder / "scores.json", {"policy": args.policy, "scores": scores})
    for name, e in scores.items():
        print(f"  {name}: {100 * e['value']:.1f} % [{100 * e['low']:.1f}, {100 * e['high']:.1f}]")


def main() -> None:
    """Read the config, make the table, test a policy where one is given."""
    try:
        (args,) = TrlParser(NegativesArguments).parse_args_and_config()
        opened = make_table(args)
        if args.policy:
            ask_policy(args, opened)
    except (ValueError, OSError) as error:
        sys.exit(f"negatives: {error}")
    except KeyboardInterrupt:
        sys.exit("negatives: stopped; the same command goes on")


if __name__ == "__main__":
    main()
