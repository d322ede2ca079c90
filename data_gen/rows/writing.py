"""Write a row set from a stream of rows; check and put in place the sets of all writers.

For rows that come one after the other. :mod:`data_gen.rows.building` writes rows that can be made
by index: with several processes, and resumable.
"""

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import count, islice
from pathlib import Path

from data_gen.files.files import write_json
from data_gen.files.skipped import SkippedItems
from data_gen.rows.build_plan import plan
from data_gen.rows.contract import RowError
from data_gen.rows.reading import repeated_id
from data_gen.rows.shards import (
    ROWS_PER_SHARD,
    Tally,
    all_features,
    write_shard,
)


def write_rows(
    rows: Iterable[dict],
    out: str | Path,
    *,
    seed: int,
    generator: str,
    settings: dict | None = None,
    skipped: SkippedItems | Mapping[str, int] | None = None,
    extra_features: dict | None = None,
    form: str = "parquet",
) -> dict:
    """Write a row set, checking each row. Memory holds one row group at a time.

    The set appears at ``out`` whole or not at all: it is written next to ``out`` and renamed.

    Args:
        rows: rows as in :data:`FEATURES`, plus the columns named in ``extra_features``.
        out: directory of the set; one that holds an earlier set is replaced.
        seed: recorded in the manifest.
        generator: program that made the rows, recorded and used in error messages.
        settings: the generator's settings, recorded.
        skipped: what the generator skipped, or reason -> count; read after the last row.
        extra_features: ``datasets`` features of custom columns, which pass through to rewards.
        form: ``parquet`` or ``webdataset``.

    Returns:
        The manifest that was written.

    Raises:
        RowError: at the first row that breaks the contract, at a repeated id, or for no row.
        FileExistsError: where ``out`` exists and is not a row set.
    """
    out = Path(out)
    refuse_foreign(out)
    partial = out.with_name(out.name + ".writing")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "data").mkdir(parents=True)
    stream, features = iter(rows), all_features(extra_features)
    tallies: list[Tally] = []
    for number in count():
        tally = write_shard(
            partial / "data",
            number,
            islice(stream, ROWS_PER_SHARD),
            form=form,
            features=features,
            where=generator,
        )
        if not tally.rows:
            break
        tallies.append(tally)
    settled = plan(seed=seed, generator=generator, settings=settings or {}, form=form)
    manifest = check_whole(partial, settled, tallies, skipped or {})
    write_json(partial / "manifest.json", manifest)
    put_in_place(partial, out)
    return manifest


def check_whole(
    folder: Path, settled: dict, tallies: list[Tally], before: SkippedItems | Mapping[str, int]
) -> dict:
    """The manifest of a set all of whose shards are written.

    Args:
        folder: of the set.
        settled: its plan, see :func:`data_gen.rows.build_plan.plan`.
        tallies: of its shards.
        before: what was skipped before any row was made.

    Raises:
        RowError: it has no row, or an id twice.
    """
    tasks: Counter[str] = Counter()
    skipped = SkippedItems()
    skipped.update(before)
    for tally in tallies:
        tasks.update(tally.tasks)
        skipped.update(tally.skipped)
    where = settled["generator"]
    if not sum(tasks.values()):
        raise RowError(f"{where}: made no row{skipped.clause()}")
    twice = repeated_id(folder, (digest for tally in tallies for digest in tally.ids))
    if twice is not None:
        raise RowError(f"{where}: row {twice!r}: column 'id': is used twice")
    shards = [{"file": t.file, "rows": t.rows, "bytes": t.bytes} for t in tallies if t.file]
    return {
        **settled,
        "rows": sum(tasks.values()),
        "tasks": dict(sorted(tasks.items())),
        "skipped": dict(sorted(skipped.counts.items())),
        "shards": shards,
    }


def refuse_foreign(out: Path) -> None:
    """Raise ``FileExistsError`` where ``out`` holds anything but a row set."""
    if out.exists() and any(out.iterdir()) and not (out / "manifest.json").exists():
        raise FileExistsError(f"{out} is not empty and is no row set; give another directory")


def put_in_place(folder: Path, out: Path) -> None:
    """Rename a whole set to ``out``, replacing an earlier one."""
    if out.exists():
        shutil.rmtree(out)
    folder.rename(out)
