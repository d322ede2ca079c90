"""Write and read neighbour tables: which subjects look most alike."""

from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data_gen.files.errors import SourceError
from data_gen.files.files import atomic_file, refuse_pipe
from data_gen.files.skipped import SkippedItems
from data_gen.tasks.subjects import Subject


def write_neighbours(path: str | Path, nearest: Mapping[str, Sequence[str]]) -> None:
    """Write a table as a parquet file.

    Args:
        path: of the file.
        nearest: key of a subject -> keys of its neighbours, the nearest first, without the subject
            itself and without what may be the same subject; columns ``subject`` and ``nearest``.
    """
    table = pa.table(
        {"subject": list(nearest), "nearest": [list(v) for v in nearest.values()]},
        schema=pa.schema({"subject": pa.string(), "nearest": pa.list_(pa.string())}),
    )
    with atomic_file(Path(path)) as file:
        pq.write_table(table, file)


def read_neighbours(
    path: str | Path, subjects: Sequence[Subject], skipped: SkippedItems | None = None
) -> dict[int, array]:
    """Read such a table for these subjects.

    Args:
        path: of the file.
        subjects: of the source.
        skipped: counts keys that the source does not hold.

    Returns:
        Place of a subject -> places of its neighbours, nearest first; subjects without any are
        missing.

    Raises:
        SourceError: the file is missing, has other columns, or knows none of the subjects.
    """
    place = {subjects[i].key: i for i in range(len(subjects))}
    found: dict[int, array] = {}
    unknown = 0
    try:
        refuse_pipe(path)
        for batch in pq.ParquetFile(path).iter_batches(4096, columns=["subject", "nearest"]):
            if batch.num_columns != 2:
                raise KeyError("subject, nearest")
            for row in batch.to_pylist():
                near = array("i", [place[k] for k in row["nearest"] or () if k in place])
                unknown += (row["subject"] not in place) + len(row["nearest"] or ()) - len(near)
                if row["subject"] in place and near:
                    found[place[row["subject"]]] = near
    except (OSError, pa.ArrowInvalid, KeyError, TypeError) as error:
        raise SourceError(
            f"neighbour table {path} cannot be read ({error}); it must be a parquet file with the "
            f"columns 'subject' and 'nearest'"
        ) from None
    if not found:
        raise SourceError(
            f"neighbour table {path} knows none of the {len(subjects)} subjects; "
            f"make it from the same source"
        )
    if skipped is not None and unknown:
        skipped.add("a neighbour table's key that the source lacks", None, unknown)
    return found
