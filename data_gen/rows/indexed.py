"""What a source of rows gives to the writer: rows that can be made one by one, by index.

A row that depends on nothing but its index can be made by any process, in any sitting, and comes
out the same. That is all that sharding, resuming and splitting work over machines rest on.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from heapq import merge
from pathlib import Path
from typing import NamedTuple

from data_gen.rows.contract import encode_image, picture_problem


class Skipped(NamedTuple):
    """In the place of a row that cannot be had. ``reason`` is counted in the manifest."""

    reason: str


Places = Iterator[tuple[str, int]]
"""Which rows a set has, in order: (task, index)."""


def one_after_the_other(counts: dict[str, int]) -> Places:
    """All rows of a task, then all of the next."""
    return ((task, index) for task, count in counts.items() for index in range(count))


def interleaved(counts: dict[str, int]) -> Places:
    """Tasks spread evenly, so that any stretch of the set has their proportions."""
    queues = [_spread(task, count) for task, count in sorted(counts.items())]
    return ((task, index) for _, task, index in merge(*queues))


def _spread(task: str, count: int) -> Iterator[tuple[float, str, int]]:
    return (((index + 0.5) / count, task, index) for index in range(count))


@dataclass
class RowMaker:
    """Rows by index.

    Args:
        counts: task -> number of rows; a source of several parts may use any label for them.
        make: row ``index`` of a task, or :class:`Skipped`. The same row whenever it is asked for.
        order: in which order rows stand in the set.
        columns: ``datasets`` features of columns beyond the contract's.
        left_out: what was left out before any row was made, reason -> count.
        stamp: what rows depend on beside the settings, such as a digest of the files read: a
            half-made set is only gone on with under the same stamp.
        schema: ``datasets`` features, where what is made are no rows of the contract: it is stored
            as it comes, without ``id`` and ``task``, in parquet.
        sheet: draws a contact sheet of such a set: its directory, the file to write.
        picture: how rows' pictures are stored, a key of ``PICTURE_FORMATS``.
        row_bytes: about how large a row is on disk; ``None``: a few are made to see.
    """

    counts: dict[str, int]
    make: Callable[[str, int], dict | Skipped]
    order: Callable[[dict[str, int]], Places] = one_after_the_other
    columns: dict = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    stamp: str = ""
    schema: dict | None = None
    sheet: Callable[[Path, Path], None] | None = None
    picture: str = "png"
    row_bytes: float | None = None

    def encoded(self, task: str, index: int) -> dict | Skipped:
        """What ``make`` gives, its pictures as they are stored; one that breaks the contract stays
        as it is, for :func:`data_gen.rows.contract.check_row` to say so."""
        row = self.make(task, index)
        if isinstance(row, Skipped) or self.schema:
            return row
        return row | {"images": [image if picture_problem(image)
                                 else encode_image(image, self.picture) for image in row["images"]]}


def all_rows(maker: RowMaker) -> Iterator[dict]:
    """The rows of a maker in their order, without those that are skipped."""
    made = (maker.make(task, index) for task, index in maker.order(maker.counts))
    return (row for row in made if not isinstance(row, Skipped))
