"""Make a row set: rows as parquet, a manifest, and a contact sheet to look at.

    python launch/generate.py --config configs/data/toybox.yaml
    python launch/generate.py --config configs/data/folders.yaml --root PHOTOS --out runs/rows/mine

A config names a ``generator`` (``toybox`` or ``folders``), ``out`` and ``seed``; its other keys
are the generator's own settings. ``--key value`` on the command line replaces a key; values are
read as YAML, so ``--counts "{object_consistency: 100}"`` works.
"""

import argparse
import inspect
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import yaml
from datasets import Value
from tqdm import tqdm

from data_gen.contact_sheet import contact_sheet
from data_gen.folders import folder_rows
from data_gen.prompts import load_prompts
from data_gen.rows import read_rows, write_rows
from data_gen.toybox.rows import ToyboxSettings, toybox_rows

DEFAULT = "configs/data/toybox.yaml"


def main(argv: list[str] | None = None) -> None:
    """Read the config, make the rows, write the set, draw the sheet."""
    try:
        config = read_config(sys.argv[1:] if argv is None else argv)
        generate(config)
    except (ValueError, FileNotFoundError, FileExistsError, yaml.YAMLError) as error:
        sys.exit(f"generate: {error}")


def generate(config: dict) -> dict:
    """Make the row set that ``config`` describes. Returns its manifest."""
    config = dict(config)
    generator, out = config.pop("generator"), Path(config.pop("out"))
    seed, counts = config.pop("seed"), config.pop("counts")
    skipped: Counter[str] = Counter()
    rows = GENERATORS[generator](counts, seed, config, skipped)
    extra = {"target": Value("string")} if config.get("targets") else None
    start = time.monotonic()
    bar = tqdm(rows, total=sum(counts.values()), unit="row", desc=str(out), mininterval=1)
    manifest = write_rows(bar, out, seed=seed, generator=generator, skipped=skipped,
                          settings={"counts": counts, **config}, extra_features=extra)
    rate = manifest["rows"] / (time.monotonic() - start)
    contact_sheet(read_rows(out), out / "contact_sheet.png")
    print(f"{manifest['rows']} rows {manifest['tasks']} at {rate:.0f} rows/s in {out}")
    return manifest


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
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
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
    allowed = {"generator", "out", "seed", "counts", *SETTINGS[config["generator"]]}
    unknown = sorted(set(config) - allowed)
    if unknown:
        raise ValueError(f"{path}: unknown key '{unknown[0]}'; a {config['generator']} config "
                         f"may have {', '.join(sorted(allowed))}")
    return config


def _toybox(counts: dict, seed: int, settings: dict, skipped: Counter) -> Iterator[dict]:
    return toybox_rows(counts, seed, ToyboxSettings(**settings))


def _folders(counts: dict, seed: int, settings: dict, skipped: Counter) -> Iterator[dict]:
    settings = dict(settings)
    prompts = settings.pop("prompts", None)
    templates = load_prompts(prompts) if prompts else None
    return folder_rows(seed=seed, counts=counts, skipped=skipped, templates=templates, **settings)


GENERATORS = {"toybox": _toybox, "folders": _folders}
SETTINGS = {
    "toybox": {f.name for f in fields(ToyboxSettings)},
    "folders": {*inspect.signature(folder_rows).parameters, "prompts"}
    - {"seed", "counts", "skipped", "templates", "report"},
}


if __name__ == "__main__":
    main()
