"""Mine hard negatives: a table of each subject's nearest others, which rows' generators read.

    byname mine_negatives --config configs/negatives/dreambooth.yaml
    byname mine_negatives --config configs/negatives/toybox.yaml --policy toybox_base

Beside the table stand what was measured (``.json``) and which subjects may be the same
(``.duplicates.jsonl``). With ``--policy`` the table is put to the test: the policy's answers to the
same questions with mined, same-category and random negatives. The same command resumes a run that
was stopped.

    byname mine_negatives --config configs/negatives/toybox.yaml --policy runs/x/policy --confused 4

mines against the policy itself: of an encoder's neighbours it keeps the 4 that this policy most
readily takes for the subject. Between two runs of ``byname grpo``, mine with the first one's
policy, generate rows with the table, and train on: negatives are then hard for the policy as it is.
"""

import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.harness.evaluation import EvaluateSettings, evaluate
from benchmarks.harness.systems import parse_systems
from benchmarks.harness.table import markdown
from benchmarks.mined_negatives import MinedNegatives, MinedNegativesSettings, most_confused
from concepts.methods.systems import policy_loader
from data_gen.files.errors import SourceError
from data_gen.files.files import is_missing_path, refuse_other_json
from data_gen.files.sentences import figures, look_at, next_commands
from data_gen.files.settings import read_settings
from data_gen.files.skipped import SkippedItems
from data_gen.generators import KINDS, Opened, open_source
from data_gen.images.encoders import load_encoder
from data_gen.negatives.embedding import embed
from data_gen.negatives.mining import Mining, mine, write_mined
from data_gen.negatives.table import read_neighbours, write_neighbours
from rl.policy.likelihood import yes_probabilities


@dataclass(kw_only=True)
class NegativesSettings:
    """From what, by which encoder, to where."""

    source: dict[str, Any] = field(metadata={"help": "See data_gen.generators."})
    encoder: str = field(default="imagenet", metadata={"help": "See data_gen.images.encoders."})
    out: str = field(default="runs/neighbours/table.parquet", metadata={"help": "The table."})
    cache: str = field(default="runs/cache/vectors", metadata={"help": "Directory of vectors."})
    mining: Mining = field(default_factory=Mining, metadata={"help": "How neighbours are chosen."})
    policy: str | None = field(default=None, metadata={"help": "Policy to put to the test."})
    confused: int = field(
        default=0,
        metadata={
            "help": "Keep the so many neighbours of each subject that the policy most readily "
            "takes for it; 0 keeps the encoder's order."
        },
    )
    rows: int = field(default=400, metadata={"help": "Questions of each kind for the policy."})
    size: int = field(default=96, metadata={"help": "Of the policy's images, in pixels."})
    seed: int = field(default=7001, metadata={"help": "Seed of the questions."})
    batch_size: int = field(default=64, metadata={"help": "Questions per call of the policy."})
    dtype: str = field(default="float32", metadata={"help": "Of the policy."})


def make_table(settings: NegativesSettings) -> Opened:
    """Embed, search, write; print what was found."""
    mining, out = settings.mining, Path(settings.out)
    refuse_other_json(out.with_suffix(".json"), {"settings", "subjects", "cosines"})
    if out.exists() and not out.with_suffix(".json").exists():
        raise SourceError(f"{out} is there, and byname did not write it; name another --out")
    if is_missing_path(settings.encoder):
        raise SourceError(
            f"encoder {settings.encoder} is not there; the toybox's is made by "
            "byname tiny_model, and 'imagenet' installs as a package"
        )
    opened = open_source(settings.source)
    print(f"{opened.line}; output: {settings.out}", flush=True)
    encoder = load_encoder(settings.encoder)
    subjects, skipped = opened.source.subjects, SkippedItems()
    vectors = embed(subjects, encoder, Path(settings.cache), opened.fingerprint, skipped)
    found = mine(subjects, vectors, mining)
    found.skipped.update(skipped)
    write_mined(
        found,
        Path(settings.out),
        {
            "source": settings.source,
            "encoder": settings.encoder,
            "fingerprint": encoder.fingerprint,
            **asdict(mining),
        },
    )
    print(
        f"{len(found.nearest)} of {len(subjects)} subjects have neighbours"
        f"{found.skipped.clause()}; {len(found.duplicates)} pairs may be the same "
        f"(cosine from {mining.near_duplicate})"
    )
    for name, measured in found.measured.items():
        print(f"  cosine, {name}: {figures(measured)}")
    return opened


def mine_against_policy(settings: NegativesSettings, opened: Opened) -> None:
    """Replace the table by the neighbours that the policy confuses most."""
    source, skipped = opened.source, SkippedItems()
    nearest = read_neighbours(settings.out, source.subjects)
    (system,) = parse_systems([settings.policy or ""])
    model, processor = policy_loader(system.path, dtype=settings.dtype, device="auto")()
    with tqdm(total=len(nearest), unit="subject", desc="confused", mininterval=1) as bar:

        def yes(rows: list[dict]) -> list[float]:
            bar.update()
            return yes_probabilities(model, processor, rows, batch_size=settings.batch_size)

        found = most_confused(
            source,
            nearest,
            yes,
            settings.confused,
            seed=settings.seed,
            size=settings.size,
            skipped=skipped,
        )
    write_neighbours(settings.out, found)
    print(
        f"kept the {settings.confused} neighbours that {system.label} most readily takes for each "
        f"of {len(found)} subjects{skipped.clause()}"
    )


def ask_policy(settings: NegativesSettings) -> None:
    """Evaluate the policy on the three kinds of negatives; its files lie beside the table."""
    asked = EvaluateSettings(
        benchmark="mined_negatives",
        policy=[settings.policy or ""],
        dtype=settings.dtype,
        out=str(Path(settings.out).with_suffix(".evaluation")),
        batch_size=settings.batch_size,
    )
    result = evaluate(
        asked,
        MinedNegatives(
            MinedNegativesSettings(
                source=settings.source,
                table=settings.out,
                rows=settings.rows,
                size=settings.size,
                seed=settings.seed,
            )
        ),
    )
    if result is not None:
        print("\n" + markdown(result))
        page = f"{asked.out}/evaluation.html"
        print(f"wrote {page}\n{next_commands(look_at(page))}")


def rows_with(settings: NegativesSettings) -> list[str | Path]:
    """The command that makes rows with the table."""
    source = {key: value for key, value in settings.source.items() if isinstance(value, str)}
    config = f"configs/data/{source.pop('kind')}.yaml"
    given = [word for key, value in source.items() for word in (f"--{key}", value)]
    table = ["--negatives", "nearest", "--neighbours", settings.out]
    return ["byname", "generate", "--config", config, *given, *table]


def main(argv: list[str] | None = None) -> None:
    """Read the settings, make the table, test a policy where one is given."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        (settings,) = read_settings(
            argv,
            NegativesSettings,
            program="mine_negatives",
            doc=__doc__,
            listing=f"source.kind is one of {', '.join(KINDS)}; the settings of each are "
            "--source.KEY VALUE",
        )
        if settings.confused and not settings.policy:
            raise SourceError("confused keeps what a policy confuses: name it with --policy PATH")
        opened = make_table(settings)
        if settings.confused:
            mine_against_policy(settings, opened)
        if settings.policy:
            ask_policy(settings)
        else:
            # The toybox's rows draw negatives of their own: its table is for asking a policy.
            asked: list[str | Path] = ["byname", "mine_negatives", *argv, "--policy", "toybox_base"]
            toys = settings.source["kind"] == "toys"
            print(f"wrote {settings.out}\n{next_commands(asked if toys else rows_with(settings))}")
    except (ValueError, OSError) as error:
        sys.exit(f"mine_negatives: {error}")
    except KeyboardInterrupt:
        sys.exit("mine_negatives: stopped; the same command resumes it")


if __name__ == "__main__":
    main()
