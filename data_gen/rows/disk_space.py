"""Check that the disk has room before rows are made, and recognise a full disk."""

import errno
import shutil
from itertools import islice
from pathlib import Path

from data_gen.files.errors import InputError
from data_gen.rows.indexed import IndexedRows, Skipped
from data_gen.rows.shards import all_features, stored

SAMPLE = 8
"""Rows, spread over the set, from which the size of a row is estimated."""

SPARE = 1.1
"""Rows differ in size: this many times the estimate must be free."""


class NoRoomError(InputError):
    """The disk is too small, or full. The message says how much is needed and what is kept."""


def check_room(source: IndexedRows, folder: Path, rows: int, where: str) -> None:
    """Refuse to start on ``rows`` rows that will not fit on the disk of ``folder``; ``where``, the
    generator, is for messages.

    Raises:
        NoRoomError: they will not.
        RowError: a row breaks the contract.
    """
    needed = SPARE * rows * row_bytes(source, where)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise NoRoomError(
            f"{rows} rows need about {megabytes(needed)} and the disk of {folder} "
            f"has {megabytes(free)} left; make room, lower counts, or name another "
            "--out"
        )


def row_bytes(source: IndexedRows, where: str) -> float:
    """About how many bytes a row takes on disk, estimated from a few rows."""
    if source.row_bytes is not None:
        return source.row_bytes
    total = sum(source.counts.values())
    step = max(1, total // SAMPLE)
    places = islice(source.order(source.counts), 0, None, step)
    rows = [source.encoded(*place) for place in islice(places, SAMPLE)]
    features = all_features(source.columns)
    made = [stored(row, features, where) for row in rows if not isinstance(row, Skipped)]
    sizes = [
        sum(len(image["bytes"] or b"") for image in row.pop("images")) + len(str(row))
        for row in made
    ]
    return sum(sizes) / len(sizes) if sizes else 0.0


def megabytes(size: float) -> str:
    """A number of bytes as people write it: ``3 MB``."""
    return f"{size / 1e6:,.0f} MB" if size < 1e10 else f"{size / 1e9:,.0f} GB"


def is_full(error: OSError) -> bool:
    """Whether a file could not be written because the disk, or the user's quota of it, is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
