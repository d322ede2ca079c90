"""Room on the disk: asked before rows are made, and noticed when it ends."""

import errno
import shutil
from itertools import islice
from pathlib import Path

from data_gen.rows.indexed import RowMaker, Skipped
from data_gen.rows.shards import all_features, stored

SAMPLE = 8
"""So many rows, spread over the set, tell how large a row is."""

SPARE = 1.1
"""Rows differ: room for so many times the estimate is asked for."""


class NoRoomError(RuntimeError):
    """The disk is too small, or full; the message says how much is needed and what is kept."""


def check_room(maker: RowMaker, folder: Path, rows: int, where: str) -> None:
    """Refuse to start on ``rows`` rows that will not fit on the disk of ``folder``; ``where``, the
    generator, is for messages.

    Raises:
        NoRoomError: they will not.
        RowError: a row breaks the contract.
    """
    needed = SPARE * rows * row_bytes(maker, where)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise NoRoomError(f"{rows} rows need about {megabytes(needed)} and the disk of {folder} "
                          f"has {megabytes(free)} left; make room, lower counts, or name another "
                          "--out")


def row_bytes(maker: RowMaker, where: str) -> float:
    """About how many bytes a row takes on disk, from a few rows."""
    if maker.row_bytes is not None:
        return maker.row_bytes
    total = sum(maker.counts.values())
    step = max(1, total // SAMPLE)
    places = islice(maker.order(maker.counts), 0, None, step)
    rows = [maker.encoded(*place) for place in islice(places, SAMPLE)]
    features = all_features(maker.columns)
    made = [stored(row, features, where) for row in rows if not isinstance(row, Skipped)]
    sizes = [sum(len(image["bytes"] or b"") for image in row.pop("images")) + len(str(row))
             for row in made]
    return sum(sizes) / len(sizes) if sizes else 0.0


def megabytes(size: float) -> str:
    """A number of bytes as people write it: ``3 MB``."""
    return f"{size / 1e6:,.0f} MB" if size < 1e10 else f"{size / 1e9:,.0f} GB"


def is_full(error: OSError) -> bool:
    """Whether a file could not be written for want of room, or of the user's share of it."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
