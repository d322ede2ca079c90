"""Make a row set: rows as parquet or WebDataset tar, a manifest, a contact sheet. Or look at one.

    python launch/generate.py --config configs/data/toybox.yaml
    python launch/generate.py --config configs/data/folders.yaml --root PHOTOS --out runs/rows/mine
    accelerate launch --config_file configs/accelerate/cpu_2.yaml launch/generate.py --config ...
    python launch/generate.py --config configs/data/diffusion_flux.yaml
    python launch/generate.py --inspect runs/rows/mine

A config names a ``generator`` (see ``GENERATORS``), ``out``, ``seed`` and ``counts``, and may name
a ``format`` (``parquet`` or ``webdataset``) and ``rows_per_shard``; its other keys are the
generator's own settings. ``diffusion`` makes picture pairs, from which ``subjects200k`` makes rows.
``--key value`` on the command line replaces a key; values are read as YAML, so
``--counts "{object_consistency: 100}"`` works.

A set that was stopped, however rudely, is gone on with by the same command. Processes share the
work, and the rows and files are the same however many there are; on several nodes they must share
a file system.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import yaml

from data_gen.generators import GENERATORS
from data_gen.rows.building import make_rows
from data_gen.rows.disk_space import NoRoomError
from data_gen.rows.inspection import inspect_rows
from data_gen.rows.shards import FORMATS, ROWS_PER_SHARD

DEFAULT = "configs/data/toybox.yaml"


def main(argv: list[str] | None = None) -> None:
    """Read the config, make this process's share of the rows; or inspect a set."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        if "--inspect" in argv:
            look(argv)
        else:
            generate(read_config(argv))
    except (ValueError, FileNotFoundError, FileExistsError, NoRoomError, yaml.YAMLError) as error:
        sys.exit(f"generate: {error}")
    except KeyboardInterrupt:
        sys.exit("generate: stopped; the same command goes on after the last whole shard")


def generate(config: dict) -> dict | None:
    """Make the row set that ``config`` describes. Returns its manifest, once it is whole."""
    config = dict(config)
    generator, out = config.pop("generator"), Path(config.pop("out"))
    seed, counts = config.pop("seed"), config.pop("counts")
    form = config.pop("format", "parquet")
    size = config.pop("rows_per_shard", ROWS_PER_SHARD)
    # Set by `accelerate launch`, torchrun and their like.
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    start = time.monotonic()
    maker = GENERATORS[generator].maker(counts, seed, dict(config))
    manifest = make_rows(maker, out, seed=seed, generator=generator, form=form, rank=rank,
                         settings={"counts": counts, **config}, rows_per_shard=size, world=world)
    if manifest:
        print(f"{manifest['rows']} rows {manifest['tasks']} in {out}, "
              f"{time.monotonic() - start:.0f} s")
    return manifest


def look(argv: list[str]) -> None:
    """``--inspect PATH``: print what is there; report and contact sheet go to ``--out``."""
    parser = argparse.ArgumentParser(description=inspect_rows.__doc__.splitlines()[0])
    parser.add_argument("--inspect", type=Path, required=True, metavar="PATH")
    parser.add_argument("--out", type=Path, help="runs/inspect/<name of the set>")
    args = parser.parse_args(argv)
    out = args.out or Path("runs/inspect") / (args.inspect.resolve().stem or "rows")
    print(inspect_rows(args.inspect, out))


def read_config(argv: list[str]) -> dict:
    """The YAML file of ``--config``, with ``--key value`` pairs laid over it.

    Raises:
        ValueError: an unknown generator or key, a missing key.
        FileNotFoundError: the config is not there.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--config", default=DEFAULT)
    known, rest = parser.parse_known_args(argv)
    path = Path(known.config)
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not UTF-8 text (at byte {error.start}); save it as that"
                         ) from None
    if not isinstance(config, dict):
        raise ValueError(f"{path} holds no settings")
    if len(rest) % 2 or any(not key.startswith("--") for key in rest[::2]):
        raise ValueError(f"write settings as --key value, not {' '.join(rest)}")
    config |= {key[2:]: yaml.safe_load(value)
               for key, value in zip(rest[::2], rest[1::2], strict=True)}
    if config.get("generator") not in GENERATORS:
        raise ValueError(f"{path}: generator must be one of {', '.join(GENERATORS)}, "
                         f"not {config.get('generator')!r}")
    for key in ("out", "seed", "counts"):
        if key not in config:
            raise ValueError(f"{path}: '{key}' is missing")
    if config.get("format", "parquet") not in FORMATS:
        raise ValueError(f"{path}: format must be {' or '.join(FORMATS)}, not {config['format']!r}")
    counts = config["counts"]
    if not isinstance(counts, dict) or any(type(n) is not int or n < 0 for n in counts.values()):
        raise ValueError(f"{path}: counts must say how many rows of each task, not {counts!r}")
    size = config.get("rows_per_shard", ROWS_PER_SHARD)
    if type(size) is not int or size < 1:
        raise ValueError(f"{path}: rows_per_shard must be a whole number from 1, not {size!r}")
    allowed = {*COMMON, *GENERATORS[config["generator"]].settings}
    unknown = sorted(set(config) - allowed)
    if unknown:
        raise ValueError(f"{path}: unknown key '{unknown[0]}'; a {config['generator']} config "
                         f"may have {', '.join(sorted(allowed))}")
    return config


COMMON = {"generator", "out", "seed", "counts", "format", "rows_per_shard"}


if __name__ == "__main__":
    main()
