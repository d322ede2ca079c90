"""Read and fetch parquet files of image pairs in the schema of Subjects200K (hub id
``Yuanshi/Subjects200K``): the texts of all rows without images, and images one by one.

Columns: ``image`` (bytes), ``collection``, ``quality_assessment`` {compositeStructure,
objectConsistency, imageQuality: 0-5 or null} and ``description`` {item, description_0, ...,
category, description_valid}, whose keys vary by collection; the two structs may also be JSON text.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Image as ImageFeature
from datasets import IterableDataset, load_dataset
from PIL import Image
from tqdm import tqdm

from data_gen.files.errors import ImageError, SourceError
from data_gen.files.files import atomic_file, is_file
from data_gen.files.skipped import SkippedItems
from data_gen.files.system_files import is_system_path
from data_gen.images.photos import PhotoError, open_image_bytes
from data_gen.rows.disk_space import is_full
from data_gen.rows.parquet_pages import DamagedPagesError, unfolding

LIGHT = ("collection", "quality_assessment", "description")

CACHED_GROUPS = 4
"""Row groups whose images are held in memory, still encoded."""

OPEN_FILES = 4
"""Files that are kept open, with their footers' entry for every row group."""

MAX_GROUP_BYTES = 512 * 2**20
"""Largest row group that is read."""

PART_ROWS = 500
"""Rows in one file of the cache: 50 MB at 512 px."""

GROUP_ROWS = 100
"""Rows in one row group, all of which are read to get one image."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row lies: file, row group, row of the group."""

    file: Path
    group: int
    row: int


def parquet_files(path: str | Path) -> list[Path]:
    """The parquet files at or below ``path``, by name.

    Raises:
        SourceError: there is none.
    """
    path = Path(path)
    found = [path]
    if path.is_dir():
        found = sorted(f for f in path.rglob("*.parquet") if not is_system_path(f, path))
    files = [file for file in found if is_file(file)]
    if not files:
        raise SourceError(
            f"{path}: no parquet file there; give a file, a folder of them, or a hub "
            f"id such as Yuanshi/Subjects200K"
        )
    return files


def light_rows(file: Path, skipped: SkippedItems) -> Iterator[tuple[Place, dict]]:
    """Every row of a file without its image, with its place. Memory holds one row group's texts.

    Rows whose text is not UTF-8 are added to ``skipped``, and so is a file that is no readable
    parquet file.

    Raises:
        SourceError: a column is missing, or a row group is too large to be read.
    """
    try:
        parquet = _opened(file, _state(file))
        too_much = unfolding(file, parquet).too_much
    except (OSError, pa.ArrowException, DamagedPagesError):
        skipped.add("unreadable parquet file", str(file))
        return
    if too_much:
        skipped.add("parquet file that unfolds to too many bytes", str(file))
        return
    names = parquet.schema_arrow.names
    for column in ("image", "description"):
        if column not in names:
            raise SourceError(
                f"{file}: column '{column}' is missing (found: {', '.join(names)}); "
                f"give files in the schema of Yuanshi/Subjects200K"
            )
    for group in range(parquet.num_row_groups):
        size = parquet.metadata.row_group(group).total_byte_size
        if size > MAX_GROUP_BYTES:
            raise SourceError(
                f"{file}: row group {group} holds {size >> 20} MB, more than "
                f"{MAX_GROUP_BYTES >> 20}; write the file again with row groups of "
                f"100 rows"
            )
        try:
            table = parquet.read_row_group(group, columns=[c for c in LIGHT if c in names])
        except (OSError, pa.ArrowException):
            skipped.add("unreadable row group", f"{file} row group {group}")
            continue
        for row, light in enumerate(_dictionaries(table)):
            if light is None:
                skipped.add("text that is not UTF-8", f"{file} row group {group} row {row}")
                continue
            for column in ("quality_assessment", "description"):
                light[column] = _struct(light.get(column))
            yield Place(file, group, row), light


def _dictionaries(table: pa.Table) -> list[dict | None]:
    """The rows of a table; ``None`` for one with text that is not UTF-8."""
    try:
        return table.to_pylist()
    except UnicodeDecodeError:
        if table.num_rows == 1:
            return [None]
        return [row for i in range(table.num_rows) for row in _dictionaries(table.slice(i, 1))]


def footer_digest(file: Path) -> str:
    """A digest of a parquet file's size and footer, which holds the sizes and places of all its
    data: reading the images themselves would take long."""
    with open(file, "rb") as opened:
        length = opened.seek(-8, os.SEEK_END) + 8
        footer = int.from_bytes(opened.read(4), "little")
        opened.seek(max(0, length - 8 - footer))
        return f"{length} {hashlib.file_digest(opened, 'sha256').hexdigest()}"


def pair_image(place: Place) -> Image.Image:
    """The composite image of a row, RGB.

    Raises:
        ImageError: with the file, the row group and the row.
    """
    try:
        column = _images(place.file, place.group, _state(place.file))
        value = column[place.row]
        data = value["bytes"].as_py() if pa.types.is_struct(value.type) else value.as_py()
        if not data:
            raise PhotoError("no image in the row")
        return open_image_bytes(data)
    except (PhotoError, OSError, pa.ArrowException) as error:
        reason = str(error) if isinstance(error, PhotoError) else "unreadable row group"
        raise ImageError(f"{place.file} row group {place.group} row {place.row}", reason) from None


@lru_cache(CACHED_GROUPS)
def _images(file: Path, group: int, state: tuple) -> pa.ChunkedArray:
    return _opened(file, state).read_row_group(group, columns=["image"]).column("image")


@lru_cache(OPEN_FILES)
def _opened(file: Path, state: tuple) -> pq.ParquetFile:
    return pq.ParquetFile(file.absolute())  # a colon in a relative path would be a scheme


def _state(file: Path) -> tuple[int, int, int]:
    """Key under which an open file may be reused: it has not been written again, and the process
    is the same (a forked process would share its place in the file)."""
    now = os.stat(file)
    return os.getpid(), now.st_mtime_ns, now.st_size


def _struct(value: dict | str | None) -> dict:
    """A struct column's value; ``{}`` for null, and for text that is no JSON object."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    return value if isinstance(value, dict) else {}


def is_hub_id(path: str | Path) -> bool:
    """Whether ``path`` has the form ``owner/name`` and is no file or folder here."""
    return bool(re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", str(path))) and not Path(path).exists()


def fetch_pairs(hub_id: str, cache: str | Path, limit: int | None = None) -> Path:
    """Stream a data set of pairs into a folder of parquet files, once.

    A run that was stopped resumes after the last whole file. Only data is read: ``datasets`` runs
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
        # The libraries below load_dataset have errors of their own for a network that is down, a
        # missing name, a damaged file.
        if isinstance(error, OSError) and is_full(error):
            raise SourceError(
                f"the disk of {folder} is full; whole files of pairs are kept: make "
                f"room and run the same command again"
            ) from None
        raise SourceError(
            f"hub data set {hub_id} cannot be read ({(str(error) or repr(error)).splitlines()[0]});"
            f" check the name and the network, or give a folder of its parquet files"
        ) from None
    return folder


def keep_pairs(stream: IterableDataset, folder: Path, limit: int | None) -> None:
    """Write up to ``limit`` rows of a stream after those that ``folder`` holds, file by file; a
    file appears whole or not at all. Where the stream ends first, an empty file ``complete`` marks
    that."""
    folder.mkdir(parents=True, exist_ok=True)
    part = len(list(folder.glob("part-*.parquet")))
    # Store the bytes as they are: decoding and encoding would take time and change images.
    rows = iter(stream.cast_column("image", ImageFeature(decode=False)))
    bar = tqdm(total=limit, unit="pair", desc=str(folder), disable=None)
    left = limit
    while left is None or left > 0:
        want = PART_ROWS if left is None else min(PART_ROWS, left)
        chunk = list(islice(rows, want))
        if chunk:
            table = pa.Table.from_pylist(
                chunk, schema=stream.features.arrow_schema if stream.features else None
            )
            with atomic_file(folder / f"part-{part:05d}.parquet") as file:
                pq.write_table(table, file, row_group_size=GROUP_ROWS)
            part += 1
            bar.update(len(chunk))
            left = None if left is None else left - len(chunk)
        if len(chunk) < want:
            (folder / "complete").touch()
            break
    bar.close()
