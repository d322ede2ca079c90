"""What a source can be asked for, and its rows as the writer wants them."""

from collections.abc import Mapping

from data_gen.files.errors import SourceError
from data_gen.files.files import stamp_of
from data_gen.rows import VLT
from data_gen.rows.contract import PICTURE_FORMATS
from data_gen.rows.indexed import RowMaker, interleaved
from data_gen.tasks.builder import SourceRows
from data_gen.tasks.sampling import NEGATIVES


def row_maker(rows: SourceRows, counts: Mapping[str, int], left_out: Mapping[str, int],
              stamp: str, picture: str = "jpeg") -> RowMaker:
    """``counts[task]`` rows of each task of one source, the tasks interleaved.

    Args:
        rows: of the source.
        counts: task -> number of rows.
        left_out: what the source left out before any row was made, reason -> count.
        stamp: a digest of what the source was read from.
        picture: how pictures are stored.

    Raises:
        SourceError: what the source cannot give, with what it lacks and what to do.
    """
    name, index = rows.source.name, rows.choose.index
    check_counts(counts, rows.tasks, name)
    boxed, pairs, things = bool(index.boxed), bool(rows.choose.pairs), len(rows.things)
    if any(n and not pairs and not (task == VLT and boxed) for task, n in counts.items()):
        raise SourceError(f"{name}: none of {things} things can be both reference and query: add "
                          f"pictures, or loosen the filters")
    if things < 2 and any(n and not (task == VLT and boxed) for task, n in counts.items()):
        raise SourceError(f"{name}: one thing only; rows need another to tell it from: add some")
    if index.has_boxes and not boxed and counts.get(VLT):
        raise SourceError(f"{name}: no thing with a box has another view, or words that tell it; "
                          f"take {VLT} out of counts")
    return RowMaker(dict(counts), rows.make, order=interleaved, left_out=dict(left_out),
                    stamp=stamp_of(stamp, str(rows.templates)), picture=picture)


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


def check_pictures(size: int, side: str, picture: str) -> None:
    """Refuse impossible bounds of pictures, and formats that there are not."""
    if picture not in PICTURE_FORMATS:
        raise SourceError(f"picture must be {' or '.join(PICTURE_FORMATS)}, not {picture!r}")
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
