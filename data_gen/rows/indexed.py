"""Index-addressable row source: row ``i`` of a task depends on ``i`` and the seed only.

Such a row can be made by any process at any time and comes out the same. Sharding, resuming and
splitting the work over machines rest on that and on nothing else.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from heapq import merge
from pathlib import Path
from typing import NamedTuple

from data_gen.files.skipped import SkippedItems
from data_gen.rows.contract import encode_image, image_problem


class Skipped(NamedTuple):
    """Stands in the place of a row that cannot be made. ``reason`` is counted in the manifest."""

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
class IndexedRows:
    """Rows by index; iterating gives them in their order, without those that are skipped.

    Args:
        counts: task -> number of rows; a generator of other things than rows may use any label.
        make: returns row ``index`` of a task, or :class:`Skipped`; the same at every call.
        order: in which order rows stand in the set.
        columns: ``datasets`` features of columns beyond the contract's.
        skipped: what was skipped before any row was made.
        fingerprint: what rows depend on besides the settings, such as a digest of the files read: a
            set is only resumed under the same fingerprint.
        schema: ``datasets`` features, where what is made are no rows of the contract: it is stored
            as it comes, without ``id`` and ``task``, in parquet.
        sheet: draws a contact sheet of such a set: its directory, the file to write.
        image_format: how rows' images are stored, a key of ``IMAGE_FORMATS``.
        row_bytes: about how large a row is on disk; ``None``: a few are made to estimate it.
    """

    counts: dict[str, int]
    make: Callable[[str, int], dict | Skipped]
    order: Callable[[dict[str, int]], Places] = one_after_the_other
    columns: dict = field(default_factory=dict)
    skipped: SkippedItems = field(default_factory=SkippedItems)
    fingerprint: str = ""
    schema: dict | None = None
    sheet: Callable[[Path, Path], None] | None = None
    image_format: str = "png"
    row_bytes: float | None = None

    def __iter__(self) -> Iterator[dict]:
        made = (self.make(task, index) for task, index in self.order(self.counts))
        return (row for row in made if not isinstance(row, Skipped))

    def encoded(self, task: str, index: int) -> dict | Skipped:
        """What ``make`` returns, with its images as they are stored. An image that breaks the
        contract stays as it is, for :func:`data_gen.rows.contract.check_row` to refuse."""
        row = self.make(task, index)
        if isinstance(row, Skipped) or self.schema:
            return row
        return row | {
            "images": [
                image if image_problem(image) else encode_image(image, self.image_format)
                for image in row["images"]
            ]
        }
