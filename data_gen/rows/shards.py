"""Store rows in shards of parquet or WebDataset tar, each written whole or not at all.

In a tar, row ``i`` of a shard is ``train-00000-00012.json`` (every column but the images) and
``train-00000-00012.0.png``, ``….1.png`` (the images in reading order): the WebDataset convention.
Members carry no time and no owner, so the same rows are the same bytes.

Shards are not compressed, as images are compressed already.
"""

import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Features

from data_gen.files.files import atomic_file, digest, sha256_of
from data_gen.rows.contract import (
    FEATURES,
    check_row,
    encode_image,
    open_image,
)
from data_gen.rows.indexed import Skipped

FORMATS = {"parquet": ".parquet", "webdataset": ".tar"}
"""Format -> how its file names end."""

ROWS_PER_SHARD = 256

ROWS_PER_GROUP = 256
BYTES_PER_GROUP = 32 * 2**20
"""A parquet row group ends at this many rows or bytes of images; writers and readers hold one row
group in memory."""


@dataclass
class Tally:
    """What a shard holds, as JSON can store it.

    Attributes:
        file: its name; ``None`` where all of its rows were skipped.
        rows, bytes: how many.
        sha256: of the file, in hex digits.
        tasks: task -> number of rows.
        skipped: reason -> number of rows that could not be made.
        ids: digests (:func:`digest`) of the rows' ids, to find ids that are used twice.
    """

    file: str | None = None
    rows: int = 0
    bytes: int = 0
    sha256: str | None = None
    tasks: Counter = field(default_factory=Counter)
    skipped: Counter = field(default_factory=Counter)
    ids: list[int] = field(default_factory=list)


class Spool(io.BytesIO):
    """Stands in for the parquet writer's file. The writer must not meet a full disk itself: it
    would try again to write the rest when it is garbage-collected."""

    gone = 0

    def drained(self) -> bytes:
        """What was written since the last call."""
        data = self.getvalue()
        self.gone += len(data)
        self.seek(0)
        self.truncate()
        return data

    def tell(self) -> int:
        """Where in the file the writer is, in bytes."""
        return self.gone + super().tell()


def write_shard(
    data: Path,
    number: int,
    made: Iterable[dict | Skipped],
    *,
    form: str,
    features: Features,
    where: str,
    contract: bool = True,
) -> Tally:
    """Write one shard, checking each row; write no file where no row is made.

    Args:
        data: directory of the shards.
        number: of the shard, from 0.
        made: its rows, and a :class:`Skipped` for each that could not be made.
        form: a key of :data:`FORMATS`.
        features: all columns, see :func:`all_features`.
        where: the generator, for messages.
        contract: whether these are rows of the contract; others are stored unchecked.

    Raises:
        RowError: at the first row that breaks the contract.
        OSError: the file cannot be written; nothing of it is left.
    """
    tally = Tally()

    def rows() -> Iterator[dict]:
        for row in made:
            if isinstance(row, Skipped):
                tally.skipped[row.reason] += 1
                continue
            yield stored(row, features, where) if contract else {c: row[c] for c in features}
            tally.rows += 1
            tally.tasks[row["task"]] += 1
            tally.ids.append(digest(row["id"]))

    stream = rows()
    first = next(stream, None)
    if first is None:
        return tally
    path = data / shard_name(number, form)
    with atomic_file(path) as file:
        (_write_parquet if form == "parquet" else _write_tar)(
            file, _chained(first, stream), features, path.stem
        )
    tally.file, tally.bytes = path.name, path.stat().st_size
    tally.sha256 = sha256_of(path)
    return tally


def shard_name(number: int, form: str) -> str:
    """``train-00000.parquet``, which ``datasets`` takes for the train split."""
    return f"train-{number:05d}{FORMATS[form]}"


def all_features(extra: dict | None) -> Features:
    """The contract's columns and further ones."""
    return Features({**FEATURES, **(extra or {})})


def stored(row: dict, features: Features, where: str) -> dict:
    """A row as it is stored: checked, images encoded, columns without a feature dropped.

    Raises:
        RowError: the row breaks the contract.
    """
    check_row(row, where)
    images = [encode_image(image) for image in row["images"]]
    return {column: images if column == "images" else row.get(column) for column in features}


def _chained(first: dict, rest: Iterator[dict]) -> Iterator[dict]:
    yield first
    yield from rest


def _write_parquet(file: IO[bytes], rows: Iterator[dict], features: Features, key: str) -> None:
    schema, spool = features.arrow_schema, Spool()
    group: list[dict] = []
    size = 0
    with pq.ParquetWriter(spool, schema, compression="none") as writer:
        for row in rows:
            group.append(row)
            images = row["images"] if "images" in row else [row["image"]]
            size += sum(len(image["bytes"] or b"") for image in images)
            if len(group) == ROWS_PER_GROUP or size >= BYTES_PER_GROUP:
                writer.write_table(pa.Table.from_pylist(group, schema=schema))
                file.write(spool.drained())
                group, size = [], 0
        if group:
            writer.write_table(pa.Table.from_pylist(group, schema=schema))
    file.write(spool.drained())


def _write_tar(file: IO[bytes], rows: Iterator[dict], features: Features, key: str) -> None:
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for i, row in enumerate(rows):
            text = json.dumps({k: v for k, v in row.items() if k != "images"})
            _add(tar, f"{key}-{i:05d}.json", text.encode())
            for j, image in enumerate(row["images"]):
                data = image["bytes"]
                data = Path(image["path"]).read_bytes() if data is None else data
                kind = (open_image(image).format or "").lower()  # png, jpeg, webp, ...
                _add(tar, f"{key}-{i:05d}.{j}.{kind}", data)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
