"""Sets of rows that can be had one by one, and what a source can be asked for."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from data_gen.choosing import NEGATIVES
from data_gen.row_making import RowMaker
from data_gen.rows import VLT
from data_gen.showing import Shares
from data_gen.sources import SourceError

SHARES = tuple(f"{name}_share" for name in Shares.__dataclass_fields__)
"""Settings of every source whose rows :class:`RowMaker` makes."""


class RowSet:
    """``counts[task]`` rows of each task, the tasks interleaved: a sequence whose rows are made
    when they are asked for, in any order, by any process.

    Args:
        counts: task -> number of rows.
        make: makes row ``i`` of a task from both.
    """

    def __init__(self, counts: Mapping[str, int], make: Callable[[str, int], dict]):
        self.counts, self.make = dict(counts), make
        self.tasks = sorted(self.counts)
        numbers = [self.counts[task] for task in self.tasks]
        # Row i of n stands at (i + 1/2) / n of the way; ties go by task.
        place = np.concatenate([(np.arange(n) + 0.5) / n for n in numbers] or [np.zeros(0)])
        code = np.repeat(np.arange(len(numbers), dtype=np.int16), numbers)
        index = np.concatenate([np.arange(n, dtype=np.int32) for n in numbers] or [np.zeros(0)])
        order = np.lexsort((code, place))
        self.code, self.index = code[order], index[order]

    def __len__(self) -> int:
        return len(self.code)

    def key(self, n: int) -> tuple[str, int]:
        """Task of the ``n``-th row, and its number in the task."""
        return self.tasks[self.code[n]], int(self.index[n])

    def __getitem__(self, n: int) -> dict:
        return self.make(*self.key(n))

    def __iter__(self) -> Iterator[dict]:
        return (self[n] for n in range(len(self)))


def row_set(maker: RowMaker, counts: Mapping[str, int]) -> RowSet:
    """The rows of one source.

    Raises:
        SourceError: what the source cannot give, with what it lacks and what to do.
    """
    name, index = maker.source.name, maker.choose.index
    check_counts(counts, maker.tasks, name)
    boxed, pairs, things = bool(index.boxed), bool(maker.choose.pairs), len(maker.things)
    if any(n and not pairs and not (task == VLT and boxed) for task, n in counts.items()):
        raise SourceError(f"{name}: none of {things} things can be both reference and query: add "
                          f"pictures, or loosen the filters")
    if things < 2 and any(n and not (task == VLT and boxed) for task, n in counts.items()):
        raise SourceError(f"{name}: one thing only; rows need another to tell it from: add some")
    if index.has_boxes and not boxed and counts.get(VLT):
        raise SourceError(f"{name}: no thing with a box has another view, or words that tell it; "
                          f"take {VLT} out of counts")
    return RowSet(counts, maker.make)


def check_counts(counts: Mapping[str, int], tasks: tuple[str, ...], name: str) -> None:
    """Refuse tasks that ``name`` does not make, and numbers that are none.

    Raises:
        SourceError: naming the task.
    """
    for task, n in counts.items():
        if task not in tasks:
            raise SourceError(f"{name} gives {', '.join(tasks)}; there is no {task!r}: take it out "
                              f"of counts")
        if type(n) is not int or n < 0:
            raise SourceError(f"counts: {task}: must be a whole number from 0, not {n!r}")


def check_pictures(size: int, side: str) -> None:
    """Refuse impossible bounds of pictures."""
    if type(size) is not int or size < 16:
        raise SourceError(f"size must be a whole number of pixels from 16, not {size!r}")
    if side not in ("long", "short"):
        raise SourceError(f"side must be 'long' or 'short', not {side!r}")


def check_negatives(negatives: str, neighbours: str | None) -> None:
    """Refuse a choice of negatives that is not there, and a table missing or for nothing."""
    if negatives not in NEGATIVES:
        raise SourceError(f"negatives must be one of {', '.join(NEGATIVES)}, not {negatives!r}")
    if (negatives == "nearest") != bool(neighbours):
        raise SourceError("negatives: nearest and a table in 'neighbours' go together")
