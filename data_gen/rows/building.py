"""Build a row set from indexed rows: with one process or many, in one run or several.

Shard ``k`` holds the rows from place ``k * rows_per_shard`` of the order on and is made by process
``k`` modulo their number. Until it is finished, a set lies next to its place::

    <set>.partial/plan.json          what it is made from
    <set>.partial/data/              shards, each renamed to its name when it is whole
    <set>.partial/done/00012.json    written after a shard: what it holds, what was skipped

The process that writes the last mark in ``done/`` closes the set: it renames the directory to
``<set>.whole``, which only one process can, draws the contact sheet, writes the manifest, and
renames it to ``<set>``. A process may die between any two of these steps: the same command resumes
there, and makes the same files, byte for byte. No process waits for another: a cluster may run them
as separate jobs, as long as they share a file system.

A set of other settings, code or versions is refused, half-made or whole, as it may hold days of
work. A whole one is replaced where that is asked for, once the new one is whole; one that is up to
date is left as it is. What byname did not write is never deleted (:mod:`data_gen.rows.replacing`).
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from datasets import Features
from tqdm import tqdm

from data_gen.files.files import atomic_file, remove_abandoned, remove_listed, write_json
from data_gen.rows.build_plan import (
    SHARD,
    PlanError,
    code_digest,
    finished,
    is_there,
    plan,
    same_plan,
)
from data_gen.rows.contact_sheet import contact_sheet
from data_gen.rows.disk_space import NoRoomError, check_room, is_full
from data_gen.rows.indexed import IndexedRows, Skipped
from data_gen.rows.reading import sample_rows
from data_gen.rows.replacing import check_replaceable, put_in_place, real_folder
from data_gen.rows.shards import (
    ROWS_PER_SHARD,
    Tally,
    all_features,
    write_shard,
)
from data_gen.rows.writing import check_whole

LEFT_BEHIND = re.compile(
    r"(train-\d{5,}\.(parquet|tar)|contact_sheet\.png|manifest\.json)(\.[^/]+-\d+\.partial)?"
)
"""Names of what killed processes leave in an unfinished set."""

Shards = Iterator[tuple[int, list[tuple[str, int]]]]


def build_rows(
    source: IndexedRows,
    out: str | Path,
    *,
    seed: int,
    generator: str,
    settings: dict | None = None,
    form: str = "parquet",
    rows_per_shard: int = ROWS_PER_SHARD,
    rank: int = 0,
    world: int = 1,
    replace: bool = False,
) -> dict | None:
    """Make this process's share of a set, and close the set if nothing else is missing.

    Args:
        source: makes the rows.
        out: directory of the set.
        seed: recorded in the manifest, as are ``generator`` and ``settings``.
        generator: what made the rows, also for messages.
        form: ``parquet`` or ``webdataset``.
        rows_per_shard: rows are shared out to processes, and lost to a kill, by whole shards.
        rank: which process this is, from 0 to ``world`` - 1.
        world: how many processes make the set.
        replace: replace a finished set of another plan.

    Returns:
        The manifest, or ``None`` while other processes' shards are missing.

    Raises:
        RowError: a row breaks the contract, an id is used twice, or no row could be made.
        PlanError: a set of something else is in the way.
        FileExistsError: something that byname did not write is in the way.
        NoRoomError: the disk is too small, or full; whole shards are kept.
    """
    out = real_folder(out)
    if source.schema and form != "parquet":
        raise PlanError(f"{generator}: its sets are parquet; take 'format' out of the settings")
    settled = plan(
        seed=seed,
        generator=generator,
        settings=settings or {},
        form=form,
        rows_per_shard=rows_per_shard,
        fingerprint=source.fingerprint,
        code=code_digest(),
    )
    partial, whole = (out.with_name(out.name + end) for end in (".partial", ".whole"))
    manifest = finished(out, settled, contents=True)
    if manifest:
        return manifest
    check_replaceable(out, settled, replace=replace)
    try:
        if not whole.exists():
            if not _shards_are_whole(source, partial, whole, out, settled, rank, world):
                return None
        elif rank > 0:
            return None  # an earlier run died while it closed the set: process 0 does the rest
        return _close(whole, out, settled, source)
    except OSError as error:
        if not is_full(error):
            raise
        kept = whole if whole.exists() else partial
        held = sum(tally.rows for tally in _tallies(kept))
        raise NoRoomError(
            f"the disk of {out.parent} is full; {held} rows in whole shards are kept in {kept}: "
            "make room and run the same command again"
        ) from None


def _shards_are_whole(
    source: IndexedRows,
    partial: Path,
    whole: Path,
    out: Path,
    settled: dict,
    rank: int,
    world: int,
) -> bool:
    """Make this process's share; whether it was the last, so that this process closes ``whole``."""

    def closed_by_another() -> bool:
        return whole.exists() or finished(out, settled, contents=True) is not None

    try:
        _begin(partial, settled)
        if closed_by_another():  # just now: what we began is a new, empty directory
            for folder in ("data", "done"):
                with suppress(OSError):
                    (partial / folder).rmdir()
            remove_listed(partial, ["plan.json"])
            return False
        _make_share(source, partial, settled, rank, world)
        if _missing(partial, source, settled["rows_per_shard"]):
            return False
        check_whole(partial, settled, _tallies(partial), source.skipped)
        partial.rename(whole)
    except FileNotFoundError:  # or while we made shards that another process made, too
        if closed_by_another():
            return False
        raise
    return True


def _make_share(source: IndexedRows, partial: Path, settled: dict, rank: int, world: int) -> None:
    size = settled["rows_per_shard"]
    missing = _missing(partial, source, size, lambda number: number % world == rank)
    own = {number for number in missing if number % world == rank}
    if not own:
        return
    total = sum(source.counts.values())

    def rows_in(shards: Iterable[int]) -> int:
        return sum(min(size, total - number * size) for number in shards)

    check_room(source, partial, rows_in(missing), settled["generator"])
    features = Features(source.schema) if source.schema else all_features(source.columns)
    share = rows_in(range(rank, -(-total // size), world))
    label = partial.name.removesuffix(".partial") + (f" 1/{world}" if world > 1 else "")
    with tqdm(
        total=share,
        initial=share - rows_in(own),
        unit="row",
        desc=label,
        mininterval=1,
        disable=rank > 0,
    ) as bar:
        for number, places in _shards(source, size):
            if number not in own:
                continue
            made = _with_progress((source.encoded(*place) for place in places), bar)
            tally = write_shard(
                partial / "data",
                number,
                made,
                form=settled["form"],
                features=features,
                where=settled["generator"],
                contract=source.schema is None,
            )
            write_json(partial / "done" / f"{number:05d}.json", vars(tally))


def _shards(source: IndexedRows, size: int) -> Shards:
    places = source.order(source.counts)
    number = 0
    while chunk := list(islice(places, size)):
        yield number, chunk
        number += 1


def _with_progress(made: Iterator[dict | Skipped], bar: tqdm) -> Iterator[dict | Skipped]:
    for row in made:
        yield row
        bar.update()


def _missing(
    partial: Path,
    source: IndexedRows,
    size: int,
    compared: Callable[[int], bool] = lambda number: False,
) -> list[int]:
    """Numbers of the shards that are missing, or not as they were written; ``compared`` says of
    which shards the contents are read."""
    whole = {
        number
        for number, tally in _marks(partial)
        if tally.file is None or is_there(partial, vars(tally), contents=compared(number))
    }
    return [
        number for number in range(-(-sum(source.counts.values()) // size)) if number not in whole
    ]


def _marks(partial: Path) -> Iterator[tuple[int, Tally]]:
    """Number and tally of each shard that was finished. A damaged mark is none: its shard is made
    again."""
    for file in sorted((partial / "done").glob("*.json")):
        try:
            number, tally = int(file.stem), Tally(**json.loads(file.read_bytes()))
            if tally.file is None or SHARD.fullmatch(tally.file):
                yield number, tally
        except (ValueError, TypeError, RecursionError):
            continue


def _tallies(partial: Path) -> list[Tally]:
    return [tally for _, tally in _marks(partial)]


def _begin(partial: Path, settled: dict) -> None:
    # In this order: another process may be writing its plan just now.
    held = [p for p in partial.rglob("*") if p.is_file() and not p.name.startswith("plan.json.")]
    begun = (partial / "plan.json").exists()
    if partial.is_symlink() or (held and not begun):
        raise FileExistsError(f"{partial} is no half-made set; move it, or name another --out")
    for folder in (partial / "data", partial / "done"):
        folder.mkdir(parents=True, exist_ok=True)
        remove_abandoned(folder)
    if begun:
        same_plan(partial, settled)
    else:
        write_json(partial / "plan.json", settled)


def _close(whole: Path, out: Path, settled: dict, source: IndexedRows) -> dict:
    """Turn whole shards into the set in its place. Each step may be repeated."""
    same_plan(whole, settled)
    manifest = finished(whole, settled)
    if not manifest:
        tallies = _tallies(whole)
        manifest = check_whole(whole, settled, tallies, source.skipped)
        ours = {tally.file for tally in tallies}
        for file in (*(whole / "data").iterdir(), *whole.glob("*.partial")):
            if file.name not in ours and LEFT_BEHIND.fullmatch(file.name) and file.is_file():
                file.unlink()
        with atomic_file(whole / "contact_sheet.png") as sheet:
            if source.sheet:
                source.sheet(whole, Path(sheet.name))
            else:
                contact_sheet(sample_rows(whole), sheet.name)
        write_json(whole / "manifest.json", manifest)
    marks = (file.name for file in sorted((whole / "done").glob("[0-9]*.json*")))
    remove_listed(whole / "done", list(marks))
    (whole / "plan.json").unlink(missing_ok=True)
    put_in_place(whole, out)
    return manifest
