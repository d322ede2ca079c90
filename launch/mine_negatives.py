"""Mine hard negatives: a table of each thing's nearest others, which rows' generators read.

    python launch/mine_negatives.py --config configs/negatives/dreambooth.yaml
    python launch/mine_negatives.py --config configs/negatives/toybox.yaml --policy toybox_base

Beside the table stand what was measured (``.json``) and which subjects may be the same
(``.duplicates.jsonl``). With ``--policy`` the table is put to the test: the policy's answers to the
same questions with mined, same-category and random negatives. Stopped, the same command goes on.
"""

import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

from trl import TrlParser

from benchmarks.harness.evaluation import EvaluateSettings, evaluate
from benchmarks.harness.table import markdown
from benchmarks.mined_negatives import MinedNegatives, MinedNegativesSettings
from data_gen.files.errors import SourceError
from data_gen.files.files import is_missing_path
from data_gen.files.skipped import SkippedItems
from data_gen.generators import Opened, open_source
from data_gen.images.encoders import load_encoder
from data_gen.negatives.embedding import embed
from data_gen.negatives.mining import Mining, mine, write_mined


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
    subjects, skipped = opened.source.subjects, SkippedItems()
    vectors = embed(subjects, encoder, Path(args.cache), opened.fingerprint, skipped)
    found = mine(subjects, vectors, settings)
    found.skipped.update(skipped)
    write_mined(found, Path(args.out), {"source": args.source, "encoder": args.encoder,
                                        "fingerprint": encoder.fingerprint, **asdict(settings)})
    print(f"{len(found.nearest)} of {len(subjects)} subjects have neighbours"
          f"{found.skipped.clause()}; {len(found.duplicates)} pairs may be the same "
          f"(cosine from {settings.near_duplicate})")
    for name, measured in found.measured.items():
        print(f"  cosine, {name}: {json.dumps(measured)}")
    return opened


def ask_policy(args: NegativesArguments) -> None:
    """Evaluate the policy on the three kinds of negatives; its files lie beside the table."""
    settings = EvaluateSettings(
        benchmark="mined_negatives", policy=[args.policy or ""], dtype=args.dtype,
        out=str(Path(args.out).with_suffix(".evaluation")), batch_size=args.batch_size)
    result = evaluate(settings, MinedNegatives(MinedNegativesSettings(
        source=args.source, table=args.out, rows=args.rows, size=args.size, seed=args.seed)))
    if result is not None:
        print("\n" + markdown(result))
        print(f"wrote {settings.out}/evaluation.html")


def main() -> None:
    """Read the config, make the table, test a policy where one is given."""
    try:
        (args,) = TrlParser(NegativesArguments).parse_args_and_config()
        make_table(args)
        if args.policy:
            ask_policy(args)
    except (ValueError, OSError) as error:
        sys.exit(f"negatives: {error}")
    except KeyboardInterrupt:
        sys.exit("negatives: stopped; the same command goes on")


if __name__ == "__main__":
    main()
