"""A neighbour table: which subjects look most alike."""

from array import array
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data_gen.files.errors import SourceError
from data_gen.tasks.subjects import Thing


def write_neighbours(path: str | Path, nearest: dict[str, Sequence[str]]) -> None:
    """Write which things look most alike: a parquet file with columns ``thing`` (a key) and
    ``nearest`` (keys, the nearest first, without the thing itself and without what may be the same
    thing)."""
    table = pa.table({"thing": list(nearest), "nearest": [list(v) for v in nearest.values()]},
                     schema=pa.schema({"thing": pa.string(), "nearest": pa.list_(pa.string())}))
    pq.write_table(table, path)


def read_neighbours(
    path: str | Path, things: Sequence[Thing], skipped: Counter | None = None
) -> dict[int, array]:
    """Read such a table for these things.

    Returns:
        Place of a thing -> places of its neighbours, nearest first. Things without any are left
        out; keys that the source does not hold are counted in ``skipped``.

    Raises:
        SourceError: the file is missing, has other columns, or knows none of the things.
    """
    place = {things[i].key: i for i in range(len(things))}
    found: dict[int, array] = {}
    unknown = 0
    try:
        for batch in pq.ParquetFile(path).iter_batches(4096, columns=["thing", "nearest"]):
            if batch.num_columns != 2:
                raise KeyError("thing, nearest")
            for row in batch.to_pylist():
                near = array("i", [place[k] for k in row["nearest"] or () if k in place])
                unknown += (row["thing"] not in place) + len(row["nearest"] or ()) - len(near)
                if row["thing"] in place and near:
                    found[place[row["thing"]]] = near
    except (OSError, pa.ArrowInvalid, KeyError, TypeError) as error:
        raise SourceError(
            f"neighbour table {path} cannot be read ({error}); it must be a parquet file with the "
            f"columns 'thing' and 'nearest'"
        ) from None
    if not found:
        raise SourceError(f"neighbour table {path} knows none of the {len(things)} things; make it "
                          f"from the same source")
    if skipped is not None and unknown:
        skipped["a neighbour table's key that the source lacks"] += unknown
    return found
