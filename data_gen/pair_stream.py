"""Picture pairs from the hub, kept on disk as they come."""

import re
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Image, IterableDataset, load_dataset
from tqdm import tqdm

from data_gen.disk import is_full
from data_gen.shards import atomic_file
from data_gen.sources import SourceError

PART_ROWS = 500
"""Rows in one file of the cache: 50 MB at 512 px."""

GROUP_ROWS = 100
"""Rows in one row group, which is the least that is read to get at one picture."""


def is_hub_id(path: str | Path) -> bool:
    """Whether ``path`` has the form ``owner/name`` and is no file or folder here."""
    return bool(re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", str(path))) and not Path(path).exists()


def fetch_pairs(hub_id: str, cache: str | Path, limit: int | None = None) -> Path:
    """Stream a data set of pairs into a folder of parquet files, once.

    A run that was cut off goes on behind the last whole file. Only data is read: ``datasets`` runs
    no code that comes with a data set.

    Args:
        hub_id: such as ``Yuanshi/Subjects200K``.
        cache: directory that holds a folder for each data set.
        limit: number of rows wanted, ``None`` for all.

    Returns:
        The folder, with at least ``limit`` rows, or all that there are.

    Raises:
        SourceError: the hub cannot be reached, or has no such data set.
    """
    folder = Path(cache) / hub_id.replace("/", "--")
    have = sum(pq.read_metadata(file).num_rows for file in folder.glob("part-*.parquet"))
    if (folder / "complete").exists() or (limit is not None and have >= limit):
        return folder
    try:
        stream = load_dataset(hub_id, split="train", streaming=True)
        keep_pairs(stream.skip(have), folder, None if limit is None else limit - have)
    except Exception as error:
        # Below load_dataset lie several libraries, each with its own errors for a network that is
        # down, a name that is not there, a file that is damaged.
        if isinstance(error, OSError) and is_full(error):
            raise SourceError(f"the disk of {folder} is full; whole files of pairs are kept: make "
                              f"room and give the same command again") from None
        raise SourceError(
            f"hub data set {hub_id} cannot be read ({(str(error) or repr(error)).splitlines()[0]});"
            f" check the name and the network, or give a folder of its parquet files"
        ) from None
    return folder


def keep_pairs(stream: IterableDataset, folder: Path, limit: int | None) -> None:
    """Write up to ``limit`` rows of a stream behind what ``folder`` holds, file by file; a file
    appears whole or not at all. Where the stream ends first, an empty file ``complete`` says so."""
    folder.mkdir(parents=True, exist_ok=True)
    part = len(list(folder.glob("part-*.parquet")))
    # The bytes as they are: decoding and encoding again would cost time and change pictures.
    rows = iter(stream.cast_column("image", Image(decode=False)))
    bar = tqdm(total=limit, unit="pair", desc=str(folder), disable=None)
    left = limit
    while left is None or left > 0:
        want = PART_ROWS if left is None else min(PART_ROWS, left)
        chunk = list(islice(rows, want))
        if chunk:
            table = pa.Table.from_pylist(chunk, schema=stream.features.arrow_schema
                                         if stream.features else None)
            with atomic_file(folder / f"part-{part:05d}.parquet") as file:
                pq.write_table(table, file, row_group_size=GROUP_ROWS)
            part += 1
            bar.update(len(chunk))
            left = None if left is None else left - len(chunk)
        if len(chunk) < want:
            (folder / "complete").touch()
            break
    bar.close()
