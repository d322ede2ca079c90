"""Read row sets, of any origin: parquet or WebDataset tar, checked row by row.

Memory holds a few rows at a time.
"""

import json
import tarfile
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, Features

from data_gen.files.files import digest
from data_gen.rows.contract import FEATURES, RowError, check_row

ENDINGS = (".parquet", ".tar")

BATCH = 32
"""Rows of a parquet file that are read at a time; in a foreign file one row group may hold all."""


def read_rows(path: str | Path) -> Dataset:
    """Open a row set and check every row; of images the header is checked, they are not decoded.

    Args:
        path: a directory written by ``byname generate``, any directory of parquet or tar files
            with these columns, or one such file.

    Raises:
        FileNotFoundError: nothing to read there.
        RowError: at the first row that breaks the contract, with file, row id, column and reason.
    """
    files = files_of(path)
    lost = lost_shards(path)
    if lost:
        raise RowError(f"{path}: lacks {lost[0]}, which its manifest lists; make or fetch it again")
    ids = array("Q")
    for file in files:
        for row in stored_rows(file):
            if isinstance(row, RowError):
                raise row
            check_row(row, str(file))
            ids.append(digest(row["id"]))
    if not ids:
        raise RowError(f"{path}: holds no row")
    twice = repeated_id(path, ids)
    if twice is not None:
        raise RowError(f"{path}: row {twice!r}: column 'id': is used twice")
    return _opened(files)


def files_of(path: str | Path) -> list[Path]:
    """The files that hold the rows at ``path``.

    Raises:
        FileNotFoundError: there are none.
    """
    path = Path(path)
    if path.is_file():
        return [path]
    partial = path.with_name(path.name + ".partial")
    if not path.exists() and partial.exists():
        raise FileNotFoundError(
            f"no rows at {path}; a half-made set is at {partial}: run the "
            "command that made it again"
        )
    files = sorted(file for file in path.rglob("*") if file.suffix in ENDINGS)
    if not files:
        raise FileNotFoundError(
            f"no rows at {path}: it holds no parquet and no tar file; make some with "
            f"`byname generate --config configs/data/toybox.yaml`"
        )
    return files


def lost_shards(path: str | Path) -> list[str]:
    """Shards that the manifest at ``path`` lists, if there is one, and that are not there."""
    try:
        manifest = json.loads((Path(path) / "manifest.json").read_text(encoding="utf-8"))
        listed = [shard["file"] for shard in manifest.get("shards", [])]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []  # no manifest, or somebody else's
    return [name for name in listed if not (Path(path) / "data" / name).is_file()]


def stored_rows(file: Path, columns: Iterable[str] | None = None) -> Iterator[dict | RowError]:
    """The rows of a file as they are stored, images as ``{"bytes", "path"}``.

    Args:
        file: a parquet file, or a tar.
        columns: of parquet files, which columns; all of them when ``None``.

    Yields:
        A row, or in its place a :class:`RowError` that says why it cannot be read. One that stands
        for the whole file is the only subject yielded, or the last.
    """
    try:
        yield from _tar_rows(file) if file.suffix == ".tar" else _parquet_rows(file, columns)
    except (pa.ArrowException, tarfile.TarError, OSError) as error:
        kind = "tar" if file.suffix == ".tar" else "parquet"
        yield RowError(
            f"{file}: is not a readable {kind} file ({' '.join(str(error).split())}); "
            "fetch or make it again",
            kind=f"not a readable {kind} file",
        )


def sample_rows(
    path: str | Path, limit: int = 24, good: Callable[[dict], bool] = lambda row: True
) -> list[dict]:
    """The first ``good`` rows of each task, the tasks taking turns until ``limit``. Memory holds
    these rows only."""
    files = files_of(path)
    counts = Counter(
        row["task"]
        for file in files
        for row in stored_rows(file, ["task"])
        if isinstance(row, dict) and isinstance(row.get("task"), str)
    )
    quota: Counter[str] = Counter()
    while quota.total() < min(limit, counts.total()):
        for task in counts:
            if quota[task] < counts[task] and quota.total() < limit:
                quota[task] += 1
    picked = []
    for file in files:
        if not +quota:
            break
        tasks = {row.get("task") for row in stored_rows(file, ["task"]) if isinstance(row, dict)}
        for row in stored_rows(file) if tasks & set(+quota) else []:
            if isinstance(row, dict) and quota[row.get("task", "")] > 0 and good(row):
                quota[row["task"]] -= 1
                picked.append(row)
    return picked


def repeated_id(path: str | Path, digests: Iterable[int]) -> str | None:
    """An id that two rows at ``path`` share, given the digests of all ids; ``None`` where none is.

    Memory holds 8 bytes per row; ids themselves are only read where two digests agree.
    """
    digests = np.sort(np.frombuffer(array("Q", digests), dtype=np.uint64))
    suspects = set(digests[1:][digests[1:] == digests[:-1]].tolist())
    seen: set[str] = set()
    for file in files_of(path) if suspects else []:
        for row in stored_rows(file, ["id"]):
            if isinstance(row, dict) and digest(row["id"]) in suspects:
                if row["id"] in seen:
                    return row["id"]
                seen.add(row["id"])
    return None


def _parquet_rows(file: Path, columns: Iterable[str] | None) -> Iterator[dict | RowError]:
    with pq.ParquetFile(file) as parquet:
        found = parquet.schema_arrow.names
        missing = [c for c in columns or FEATURES if c not in found]
        if missing:
            yield RowError(
                f"{file}: column '{missing[0]}' is missing (found: {', '.join(found)}); "
                f"a row has {', '.join(FEATURES)}",
                kind=f"{missing[0]}: is missing",
            )
            return
        number = 0
        wanted = list(columns) if columns else None
        for batch in parquet.iter_batches(BATCH, columns=wanted):
            try:
                yield from batch.to_pylist()
            except UnicodeDecodeError:  # rare: look for it row by row
                for i in range(len(batch)):
                    yield _python(batch, i, f"{file}: row {number + i}")
            number += len(batch)


def _python(batch: pa.RecordBatch, i: int, where: str) -> dict | RowError:
    row = {}
    for column in batch.schema.names:
        try:
            row[column] = batch[column][i].as_py()
        except UnicodeDecodeError as error:
            return RowError(
                f"{where}: column '{column}': is not UTF-8 text (at byte "
                f"{error.start}); write it as UTF-8, or leave the row out",
                kind=f"{column}: is not UTF-8 text",
            )
    return row


def _tar_rows(file: Path) -> Iterator[dict | RowError]:
    with tarfile.open(file, "r:") as tar:
        key, parts = None, {}
        for member in tar:
            if not member.isfile():
                continue
            folder, _, name = member.name.rpartition("/")
            stem, _, ending = name.partition(".")
            if key not in (None, (folder, stem)):
                yield _assembled(parts, f"{file}: row '{key[1]}'")
                parts = {}
            key = (folder, stem)
            content = tar.extractfile(member)
            assert content  # members that are no files were skipped above
            parts[ending.lower()] = content.read()
        if not _has_end(file):  # else tarfile takes a file cut off anywhere for a whole one
            raise tarfile.ReadError("it ends too early")
        if key is not None:
            yield _assembled(parts, f"{file}: row '{key[1]}'")


def _has_end(file: Path) -> bool:
    """Whether a tar ends with the two empty blocks that mark its end."""
    with open(file, "rb") as tar:
        tar.seek(-1024, 2)
        return not any(tar.read())


def _assembled(parts: dict[str, bytes], where: str) -> dict | RowError:
    """A row from the members of a tar that share a key."""
    try:
        row = json.loads(parts.pop("json", b"null").decode("utf-8"))
    except UnicodeDecodeError as error:
        return RowError(
            f"{where}: its .json is not UTF-8 text (at byte {error.start}); write it "
            "as UTF-8, or leave the row out",
            kind="json: is not UTF-8 text",
        )
    except json.JSONDecodeError as error:
        return RowError(
            f"{where}: its .json is damaged ({error}); make it again, or leave the row out",
            kind="json: is damaged",
        )
    if not isinstance(row, dict):
        return RowError(
            f"{where}: has no .json with the row's columns; it holds {', '.join(sorted(parts))}",
            kind="json: is missing",
        )
    # 10.png comes after 9.png
    names = sorted(parts, key=lambda name: (len(name.partition(".")[0]), name))
    return {**row, "images": [{"bytes": parts[name], "path": None} for name in names]}


def _opened(files: list[Path]) -> Dataset:
    """A memory-mapped data set: rows are converted once, to a file in the cache."""
    names: list[Any] = [str(file) for file in files]
    if files[0].suffix == ".tar":
        row = next(_all_rows(names[:1], []))
        extra = pa.Table.from_pylist([{k: v for k, v in row.items() if k not in FEATURES}])
        features = Features({**FEATURES, **Features.from_arrow_schema(extra.schema)})
        # datasets keys its cache by the arguments: a file that changed must not look the same.
        times = [file.stat().st_mtime_ns for file in files]
        return Dataset.from_generator(
            _all_rows, features=features, gen_kwargs={"files": names, "times": times}
        )
    # A foreign file may store the same columns in other types, and images as mere structs.
    found = Features.from_arrow_schema(pq.read_schema(files[0]))
    return Dataset.from_parquet(
        names,
        features=Features({column: FEATURES.get(column, kind) for column, kind in found.items()}),
    )


def _all_rows(files: list[str], times: list[int]) -> Iterator[dict]:
    """The rows of files that were checked before, so that none of them is an error."""
    for file in files:
        yield from (row for row in stored_rows(Path(file)) if isinstance(row, dict))
