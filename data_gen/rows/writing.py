"""Write a row set from a stream of rows; check the sets of all writers.

For rows that come one after the other. :mod:`data_gen.rows.building` writes rows that can be made
by index: with several processes, and resumable.
"""

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import count, islice
from pathlib import Path
from tempfile import mkdtemp

from data_gen.files.files import write_json
from data_gen.files.skipped import SkippedItems
from data_gen.rows.build_plan import plan
from data_gen.rows.contract import RowError
from data_gen.rows.reading import repeated_id
from data_gen.rows.replacing import check_replaceable, put_in_place, real_folder
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
    replace: bool = False,
) -> dict:
    """Write a row set, checking each row. Memory holds one row group at a time.

    The set appears at ``out`` whole or not at all: it is written next to ``out`` and renamed.

    Args:
        rows: rows as in :data:`FEATURES`, plus the columns named in ``extra_features``.
        out: directory of the set; an earlier one with the same seed and settings is replaced.
        seed: recorded in the manifest.
        generator: program that made the rows, recorded and used in error messages.
        settings: the generator's settings, recorded.
        skipped: what the generator skipped, or reason -> count; read after the last row.
        extra_features: ``datasets`` features of custom columns, which pass through to rewards.
        form: ``parquet`` or ``webdataset``.
        replace: replace a set with another seed or settings, too.

    Returns:
        The manifest that was written.

    Raises:
        RowError: at the first row that breaks the contract, at a repeated id, or for no row.
        FileExistsError: where ``out`` holds something that byname did not write.
        PlanError: where it holds a set with another seed or settings.
    """
    out = real_folder(out)
    settled = plan(seed=seed, generator=generator, settings=settings or {}, form=form)
    check_replaceable(out, settled, replace=replace)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(mkdtemp(prefix=f"{out.name}.writing-", dir=out.parent))
    partial.chmod(out.parent.stat().st_mode)  # mkdtemp's folders are for their owner alone
    try:
        return _write(partial, out, settled, rows, extra_features, skipped)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)  # made above, by this process
        raise


def _write(
    partial: Path,
    out: Path,
    settled: dict,
    rows: Iterable[dict],
    extra_features: dict | None,
    skipped: SkippedItems | Mapping[str, int] | None,
) -> dict:
    """Write the set to ``partial``, and rename it to ``out``."""
    (partial / "data").mkdir()
    stream, features = iter(rows), all_features(extra_features)
    tallies: list[Tally] = []
    for number in count():
        tally = write_shard(
            partial / "data",
            number,
            islice(stream, ROWS_PER_SHARD),
            form=settled["form"],
            features=features,
            where=settled["generator"],
        )
        if not tally.rows:
            break
        tallies.append(tally)
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
    shards = [
        {"file": t.file, "rows": t.rows, "bytes": t.bytes, "sha256": t.sha256}
        for t in tallies
        if t.file
    ]
    return {
        **settled,
        "rows": sum(tasks.values()),
        "tasks": dict(sorted(tasks.items())),
        "skipped": dict(sorted(skipped.counts.items())),
        "shards": shards,
    }
