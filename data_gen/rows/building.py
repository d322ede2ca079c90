"""Making a row set from rows by index: by one process or many, in one sitting or several.

Shard ``k`` holds places ``k * rows_per_shard`` and on of the maker's order and is made by process
``k`` modulo their number. While it is being made a set lies beside its place::

    <set>.partial/plan.json          what it is made from
    <set>.partial/data/              shards, each renamed to its name when it is whole
    <set>.partial/done/00012.json    written after a shard: what it holds, what was skipped

Whoever writes the last mark in ``done/`` closes the set: it renames the directory to
``<set>.whole``, which only one process can, draws the contact sheet, writes the manifest, and
renames it to ``<set>``. A process may die between any two of these steps; the same command given
again goes on from there, and what it makes is the same, byte for byte. No process waits for
another: a cluster may run them as separate jobs, as long as they share a file system.

A half-made set of other settings, code or versions is refused: it may hold days of work. A whole
one is replaced, once the new one is whole, and one that is up to date is left as it is.
"""

import json
import shutil
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from datasets import Features
from tqdm import tqdm

from data_gen.files.files import atomic_file, remove_abandoned, write_json
from data_gen.rows.build_plan import (
    PlanError,
    code_digest,
    finished,
    is_there,
    plan,
    same_plan,
)
from data_gen.rows.contact_sheet import contact_sheet
from data_gen.rows.disk_space import NoRoomError, check_room, is_full
from data_gen.rows.indexed import RowMaker, Skipped
from data_gen.rows.reading import sample_rows
from data_gen.rows.shards import (
    ROWS_PER_SHARD,
    Tally,
    all_features,
    write_shard,
)
from data_gen.rows.writing import check_whole, put_in_place, refuse_foreign

Shards = Iterator[tuple[int, list[tuple[str, int]]]]


def make_rows(
    maker: RowMaker,
    out: str | Path,
    *,
    seed: int,
    generator: str,
    settings: dict | None = None,
    form: str = "parquet",
    rows_per_shard: int = ROWS_PER_SHARD,
    rank: int = 0,
    world: int = 1,
) -> dict | None:
    """Make this process's share of a set, and close it if that was all that was missing.

    Args:
        maker: gives the rows.
        out: directory of the set; an earlier set is replaced.
        seed: recorded in the manifest, as are ``generator`` and ``settings``.
        generator: what made the rows, also for messages.
        form: ``parquet`` or ``webdataset``.
        rows_per_shard: rows are shared out, and lost to a kill, a shard at a time.
        rank: which process this is, from 0 to ``world`` - 1.
        world: how many processes make the set.

    Returns:
        The manifest, or ``None`` while other processes' shards are missing.

    Raises:
        RowError: a row breaks the contract, an id is used twice, or no row could be made.
        PlanError: a half-made set of something else is in the way.
        FileExistsError: ``out`` exists and is not a row set.
        NoRoomError: the disk is too small, or full; whole shards are kept.
    """
    out = Path(out)
    if maker.schema and form != "parquet":
        raise PlanError(f"{generator}: its sets are parquet; leave 'format' out")
    settled = plan(seed=seed, generator=generator, settings=settings or {}, form=form,
                   rows_per_shard=rows_per_shard, stamp=maker.stamp, code=code_digest())
    partial, whole = (out.with_name(out.name + end) for end in (".partial", ".whole"))
    manifest = finished(out, settled)
    if manifest:
        return manifest
    refuse_foreign(out)
    try:
        if not whole.exists():
            if not _shards_are_whole(maker, partial, whole, out, settled, rank, world):
                return None
        elif rank > 0:
            return None  # an earlier run died while it closed the set: one process does the rest
        return _close(whole, out, settled, maker)
    except OSError as error:
        if not is_full(error):
            raise
        kept = whole if whole.exists() else partial
        held = sum(tally.rows for tally in _tallies(kept))
        raise NoRoomError(
            f"the disk of {out.parent} is full; {held} rows in whole shards are kept in {kept}: "
            "make room and give the same command again") from None


def _shards_are_whole(
    maker: RowMaker, partial: Path, whole: Path, out: Path, settled: dict, rank: int, world: int
) -> bool:
    """Make this process's share. Whether it was the last, so that ``whole`` is ours to close."""

    def closed_by_another() -> bool:
        return whole.exists() or finished(out, settled) is not None

    try:
        _begin(partial, settled)
        if closed_by_another():  # just before: what we began is a new, empty directory
            shutil.rmtree(partial)
            return False
        _make_share(maker, partial, settled, rank, world)
        if _missing(partial, maker, settled["rows_per_shard"]):
            return False
        check_whole(partial, settled, _tallies(partial), maker.left_out)
        partial.rename(whole)
    except FileNotFoundError:  # or while we made shards that somebody else made, too
        if closed_by_another():
            return False
        raise
    return True


def _make_share(maker: RowMaker, partial: Path, settled: dict, rank: int, world: int) -> None:
    size = settled["rows_per_shard"]
    missing = _missing(partial, maker, size)
    own = {number for number in missing if number % world == rank}
    if not own:
        return
    total = sum(maker.counts.values())

    def rows_in(shards: Iterable[int]) -> int:
        return sum(min(size, total - number * size) for number in shards)

    check_room(maker, partial, rows_in(missing), settled["generator"])
    features = Features(maker.schema) if maker.schema else all_features(maker.columns)
    share = rows_in(range(rank, -(-total // size), world))
    label = partial.name.removesuffix(".partial") + (f" 1/{world}" if world > 1 else "")
    with tqdm(total=share, initial=share - rows_in(own), unit="row", desc=label, mininterval=1,
              disable=rank > 0) as bar:
        for number, places in _shards(maker, size):
            if number not in own:
                continue
            made = _with_progress((maker.encoded(*place) for place in places), bar)
            tally = write_shard(partial / "data", number, made, form=settled["form"],
                                features=features, where=settled["generator"],
                                contract=maker.schema is None)
            write_json(partial / "done" / f"{number:05d}.json", vars(tally))


def _shards(maker: RowMaker, size: int) -> Shards:
    places = maker.order(maker.counts)
    number = 0
    while chunk := list(islice(places, size)):
        yield number, chunk
        number += 1


def _with_progress(made: Iterator[dict | Skipped], bar: tqdm) -> Iterator[dict | Skipped]:
    for row in made:
        yield row
        bar.update()


def _missing(partial: Path, maker: RowMaker, size: int) -> list[int]:
    """Numbers of the shards that are not there, or not as they were left."""
    whole = {int(file.stem) for file, tally in _marks(partial)
             if tally["file"] is None or is_there(partial, tally)}
    return [number for number in range(-(-sum(maker.counts.values()) // size))
            if number not in whole]


def _marks(partial: Path) -> Iterator[tuple[Path, dict]]:
    for file in sorted((partial / "done").glob("*.json")):
        yield file, json.loads(file.read_bytes())


def _tallies(partial: Path) -> list[Tally]:
    return [Tally(**tally) for _, tally in _marks(partial)]


def _begin(partial: Path, settled: dict) -> None:
    for folder in (partial / "data", partial / "done"):
        folder.mkdir(parents=True, exist_ok=True)
        remove_abandoned(folder)
    if (partial / "plan.json").exists():
        same_plan(partial, settled)
    else:
        write_json(partial / "plan.json", settled)


def _close(whole: Path, out: Path, settled: dict, maker: RowMaker) -> dict:
    """From all shards to the set in its place. Each step may be done again."""
    same_plan(whole, settled)
    manifest = finished(whole, settled)
    if not manifest:
        tallies = _tallies(whole)
        manifest = check_whole(whole, settled, tallies, maker.left_out)
        ours = {tally.file for tally in tallies}
        for file in (*(whole / "data").iterdir(), *whole.glob("*.partial")):
            if file.name not in ours:  # what processes that were killed left
                file.unlink()
        with atomic_file(whole / "contact_sheet.png") as sheet:
            if maker.sheet:
                maker.sheet(whole, sheet.name)
            else:
                contact_sheet(sample_rows(whole), sheet.name)
        write_json(whole / "manifest.json", manifest)
    shutil.rmtree(whole / "done", ignore_errors=True)
    (whole / "plan.json").unlink(missing_ok=True)
    put_in_place(whole, out)
    return manifest
