"""Make a row set: rows as parquet or WebDataset tar, a manifest, a contact sheet. Or inspect one.

    byname generate --config configs/data/toybox.yaml
    byname generate --config configs/data/folders.yaml --root PHOTOS --out runs/rows/mine
    accelerate launch --config_file configs/accelerate/cpu_2.yaml -m launch.generate --config ...
    byname generate --config configs/data/diffusion_flux.yaml
    byname generate --config configs/data/folders.yaml --root PHOTOS --inspect_source
    byname generate --inspect runs/rows/mine
    byname generate --leaks runs/rows/mine

A config names a ``generator``, ``out``, ``seed`` and ``counts``; its other keys are the
generator's own settings. ``diffusion`` makes image pairs, from which ``subjects200k`` makes rows.

The same command resumes a set that was stopped, however rudely. A finished set of other settings is
refused without ``--replace true``; what byname did not write is never removed. Processes share the
work, and the rows and files are the same however many there are; on several nodes they must share
a file system.
"""

import json
import os
import sys
import time
from dataclasses import dataclass, field
from inspect import cleandoc
from pathlib import Path

from data_gen.files.errors import InputError
from data_gen.files.files import refuse_no_folder, refuse_other_json
from data_gen.files.sentences import figures, next_commands
from data_gen.files.settings import Arguments, did_you_mean, read_settings, take_options
from data_gen.files.skipped import SkippedItems
from data_gen.generators import GENERATORS
from data_gen.leaks.cues import thumbnails
from data_gen.leaks.report import MOST_ROWS, find_leaks, leak, rows_in
from data_gen.leaks.report import text as leak_text
from data_gen.rows import VLT
from data_gen.rows.building import build_rows
from data_gen.rows.inspection import inspect_rows
from data_gen.rows.shards import FORMATS, ROWS_PER_SHARD

DEFAULT = "configs/data/toybox.yaml"

SUMMARY_ROWS = 4000
"""Rows from which ``--inspect`` says what can be guessed."""


@dataclass(kw_only=True)
class GenerateSettings:
    """What every generator is told."""

    generator: str = field(metadata={"help": f"What makes the rows: {', '.join(GENERATORS)}."})
    out: str = field(metadata={"help": "Directory of the set."})
    seed: int = field(metadata={"help": "The same seed and settings make the same rows."})
    counts: dict[str, int] = field(metadata={"help": "Task -> number of rows."})
    format: str = field(default="parquet", metadata={"help": f"{' or '.join(FORMATS)}."})
    rows_per_shard: int = field(default=ROWS_PER_SHARD, metadata={"help": "Rows in a file."})
    replace: bool = field(
        default=False,
        metadata={"help": "Replace a finished set of another plan, which is else refused."},
    )
    inspect_source: bool = field(
        default=False,
        metadata={"help": "Say what the source holds and what of it is not used; make nothing."},
    )

    def __post_init__(self):
        refuse_no_folder(self.out, "out")
        if any(n < 0 for n in self.counts.values()):
            raise InputError(f"counts must say how many rows of each task, not {self.counts!r}")
        if self.format not in FORMATS:
            raise InputError(f"format must be {' or '.join(FORMATS)}, not {self.format!r}")
        if self.rows_per_shard < 1:
            raise InputError(
                f"rows_per_shard must be a whole number from 1, not {self.rows_per_shard}"
            )


@dataclass(kw_only=True)
class InspectSettings:
    """What ``--inspect`` is told."""

    inspect: str = field(metadata={"help": "A row set, or a file of one: print what it holds."})
    out: str | None = field(
        default=None,
        metadata={
            "help": "Directory of report.json and contact_sheet.png; null: runs/inspect/<the set>."
        },
    )


@dataclass(kw_only=True)
class LeakSettings:
    """What ``--leaks`` is told."""

    leaks: str = field(
        metadata={"help": "A row set, or a file of one: can its answers be guessed, and from what?"}
    )
    encoder: str | None = field(
        default=None,
        metadata={
            "help": "What sees the query images: an encoder, or thumbnails, which need no weights; "
            "null: toybox_clip for the toybox, imagenet for others."
        },
    )
    rows: int = field(default=MOST_ROWS, metadata={"help": "Rows that are read at most."})


def main(argv: list[str] | None = None) -> None:
    """Read the settings, make this process's share of the rows; or inspect a set."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        if any(word.split("=")[0] == "--inspect" for word in argv):
            inspect(argv)
        elif any(word.split("=")[0] == "--leaks" for word in argv):
            leaks(argv)
        else:
            settings, of_generator = read(argv)
            if settings.inspect_source:
                inspect_source(settings, of_generator, argv)
            else:
                generate(settings, of_generator)
    except (ValueError, OSError) as error:
        sys.exit(f"generate: {error}")
    except KeyboardInterrupt:
        sys.exit("generate: stopped; the same command resumes after the last complete shard")


def generate(settings: GenerateSettings, of_generator: dict) -> dict | None:
    """Make the row set that the settings describe. Returns its manifest, once it is complete."""
    # Set by `accelerate launch`, torchrun and their like.
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    start, out = time.monotonic(), Path(settings.out)
    rows = GENERATORS[settings.generator].rows(settings.counts, settings.seed, of_generator)
    manifest = build_rows(
        rows,
        out,
        seed=settings.seed,
        generator=settings.generator,
        form=settings.format,
        rank=rank,
        world=world,
        rows_per_shard=settings.rows_per_shard,
        replace=settings.replace,
        settings={"counts": settings.counts, **of_generator},
    )
    if manifest:
        print(
            f"{manifest['rows']} rows ({figures(manifest['tasks'])}) in {out}, "
            f"{time.monotonic() - start:.0f} s{_not_made(manifest, rows.skipped)}"
        )
        pairs = ["--config", "configs/data/subjects200k.yaml", "--path", out]
        then = pairs if settings.generator == "diffusion" else ["--inspect", out]
        print(next_commands(["byname", "generate", *then]))
    return manifest


def inspect_source(settings: GenerateSettings, of_generator: dict, argv: list[str]) -> None:
    """Print what the source of a row set holds, before anything is made of it."""
    rows = GENERATORS[settings.generator].rows(settings.counts, settings.seed, of_generator)
    for reason, n in rows.skipped.counts.items():
        print(f"  not used: {n:,} x {reason}")
        for where in rows.skipped.places(reason):
            print(f"       e.g. {where}")
    print(f"asked for are {figures(settings.counts)} rows; nothing was written")
    print(next_commands(["byname", "generate", *take_options(argv, "inspect_source")[1]]))


def _not_made(manifest: dict, before: SkippedItems) -> str:
    """How many rows could not be made, and why; nothing where all were.

    Args:
        manifest: counts what was skipped in the source, too.
        before: what was skipped there.
    """
    asked = sum(manifest["settings"]["counts"].values())
    reasons = {why: n - before[why] for why, n in manifest["skipped"].items() if n > before[why]}
    if manifest["rows"] >= asked or not reasons:
        return ""
    told = ", ".join(f"{n} {why}" for why, n in reasons.items())
    return f"; {asked - manifest['rows']} of {asked} rows could not be made: {told}"


def inspect(argv: list[str]) -> None:
    """Print what a set holds; its report and contact sheet go to ``--out``."""
    (settings,) = read_settings(
        argv,
        InspectSettings,
        program="generate --inspect",
        doc=cleandoc(inspect_rows.__doc__ or ""),
    )
    out = settings.out or Path("runs/inspect") / (Path(settings.inspect).resolve().stem or "rows")
    refuse_other_json(Path(out) / "report.json", {"path", "bad_by_reason"})
    print(inspect_rows(Path(settings.inspect), Path(out)))
    found = find_leaks(rows_in(settings.inspect, SUMMARY_ROWS))
    if found:
        print(f"guessed without the query images, which --leaks looks at too:\n{leak_text(found)}")
    tasks = json.loads((Path(out) / "report.json").read_bytes())["tasks"]
    recipe = "toybox_demo" if VLT in tasks else "folders_tiny"
    train = ["--config", f"configs/grpo/{recipe}.yaml", "--rows", settings.inspect]
    if tasks:
        print(next_commands(["byname", "grpo", *train, "--name", "mine"]))


def leaks(argv: list[str]) -> None:
    """How well the answers of a row set can be guessed without comparing references and query:
    from numbers and sizes, image files, words, and the query alone. Exits with 1 where a guess is
    right more often than the most frequent answer, by 2 points beyond its interval."""
    (settings,) = read_settings(
        argv, LeakSettings, program="generate --leaks", doc=cleandoc(leaks.__doc__ or "")
    )
    path = Path(settings.leaks)
    first = next(rows_in(path, 1), None)
    if first is None:
        raise InputError(f"{path} has no good row; --inspect says why")
    toys = (first["source"] or "").startswith("toybox")
    name = settings.encoder or ("toybox_clip" if toys else "imagenet")
    if name == "thumbnails":
        encode = thumbnails
    else:
        from data_gen.images.encoders import load_encoder

        encode = load_encoder(name).images
    found = find_leaks(rows_in(path, settings.rows), encode)
    print(leak_text(found))
    print(next_commands(["byname", "generate", "--inspect", path]))
    if any(leak(guess) for guess in found):
        sys.exit(1)


def read(argv: list[str]) -> tuple[GenerateSettings, dict]:
    """The settings, and those of the generator that were given.

    Raises:
        InputError: an unknown generator; an unknown, missing or unfitting setting.
    """
    return read_settings(
        argv,
        GenerateSettings,
        default_config=DEFAULT,
        choose=chosen,
        program="generate",
        doc=__doc__,
        listing="generate --generator NAME --help shows the settings of a generator\n"
        "generate --inspect PATH prints what a row set holds; --out: where its report goes\n"
        "generate --leaks PATH prints what of its answers can be guessed; --encoder, --rows",
    )


def chosen(values: dict) -> Arguments:
    """The settings of the generator that is named."""
    name = values.get("generator")
    if name not in GENERATORS:
        raise InputError(
            f"generator must be one of {', '.join(GENERATORS)}, not {name!r}"
            f"{did_you_mean(str(name), GENERATORS)}"
        )
    return GENERATORS[name].arguments


if __name__ == "__main__":
    main()
