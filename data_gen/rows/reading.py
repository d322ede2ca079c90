"""Read row sets, of any origin: parquet or WebDataset tar, checked row by row.

Memory holds a few rows at a time.
"""

import json
import tarfile
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from glob import has_magic
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, Features

from data_gen.files.files import digest, is_file
from data_gen.files.json_stream import from_json
from data_gen.files.system_files import is_system_path
from data_gen.images.photos import is_known
from data_gen.rows.build_plan import is_there, manifest_of
from data_gen.rows.contract import FEATURES, RowError, check_row, image_bytes
from data_gen.rows.parquet_pages import (
    MAX_RATIO,
    MAX_UNFOLDED,
    DamagedPagesError,
    unfolding,
)

ENDINGS = (".parquet", ".tar")

PACKED = (".gz", ".tgz", ".bz2", ".xz", ".zst", ".zip", ".7z")
"""Endings of files that may hold rows and must be unpacked first."""

BATCH = 32
"""Rows of a parquet file that are read at a time; in a foreign file one row group may hold all."""

MAX_BATCH = 256 * 2**20
"""Bytes of a batch that may come from a file's dictionaries: of large ones fewer rows are read."""

MAX_MEMBER = 256 * 2**20
"""Largest member of a tar, in bytes; a sparse one of a few bytes may claim any size."""


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
    if changed := changed_shards(path):
        raise RowError(
            f"{path}: {changed[0]} is not as its manifest says; make or fetch it again, or take "
            f"manifest.json away if it was changed on purpose"
        )
    ids, loose, extra = array("Q"), False, None
    for file in files:
        for row in stored_rows(file):
            if isinstance(row, RowError):
                raise row
            check_row(row, str(file), folder_of(path))
            ids.append(digest(row["id"]))
            loose |= any(image["bytes"] is None for image in row["images"] or [])
            extra = _narrowed(extra, row) if file.suffix == ".tar" else extra
    if not ids:
        raise RowError(f"{path}: holds no row")
    twice = repeated_id(path, ids)
    if twice is not None:
        raise RowError(f"{path}: row {twice!r}: column 'id': is used twice")
    return _opened(files, loose, extra)


def folder_of(path: str | Path) -> Path:
    """The folder of the row set at ``path``, in which all files of its rows lie."""
    return Path(path) if Path(path).is_dir() else Path(path).parent


def files_of(path: str | Path) -> list[Path]:
    """The files that hold the rows at ``path``.

    Raises:
        FileNotFoundError: there are none.
        RowError: one is a pipe, a device, or a link that leads nowhere.
    """
    path = Path(path)
    if path.is_file():
        _refuse_packed([path])
        return [path]
    partial = path.absolute().with_name(path.absolute().name + ".partial")
    if not path.exists() and partial.exists():
        raise FileNotFoundError(
            f"no rows at {path}; a half-made set is at {partial}: run the "
            "command that made it again"
        )
    there = sorted(f for f in path.rglob("*") if not is_system_path(f, path))
    files = [f for f in there if f.suffix in ENDINGS and not f.is_dir()]
    if not files:
        _refuse_packed(there)
        raise FileNotFoundError(
            f"no rows at {path}: it holds no parquet and no tar file; make some with "
            f"`byname generate --config configs/data/toybox.yaml`"
        )
    for file in files:
        if not is_file(file):  # before opening: reading a named pipe would wait for ever
            raise RowError(f"{file} is no file; put one of rows there, or take it away")
    return files


def _refuse_packed(files: list[Path]) -> None:
    for file in files:
        if file.suffix in PACKED:
            raise FileNotFoundError(
                f"{file} is packed, and rows are read from parquet and tar files only; unpack it, "
                "a .tar.gz with gunzip, and give what comes out"
            )


def lost_shards(path: str | Path) -> list[str]:
    """Shards that the manifest at ``path`` lists, if there is one, and that are not there."""
    try:
        file = Path(path) / "manifest.json"
        manifest = from_json(file.read_text(encoding="utf-8")) if is_file(file) else {}
        listed = [str(shard["file"]) for shard in manifest.get("shards", [])]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []  # somebody else's
    return [name for name in listed if not is_file(Path(path) / "data" / name)]


def changed_shards(path: str | Path) -> list[str]:
    """Shards whose contents are not those that the manifest at ``path`` has digests of."""
    manifest = manifest_of(Path(path)) or {"shards": []}
    return [
        shard["file"]
        for shard in manifest["shards"]
        if not is_there(Path(path), shard, contents=True)
    ]


def stored_rows(file: Path, columns: Iterable[str] | None = None) -> Iterator[dict | RowError]:
    """The rows of a file as they are stored, images as ``{"bytes", "path"}``.

    Args:
        file: a parquet file, or a tar.
        columns: of parquet files, which columns; all of them when ``None``.

    Yields:
        A row, or in its place a :class:`RowError` that says why it cannot be read. One that stands
        for the whole file is the only subject yielded, or the last.
    """
    kind = "tar" if file.suffix == ".tar" else "parquet"
    try:
        yield from _tar_rows(file) if file.suffix == ".tar" else _parquet_rows(file, columns)
    except (pa.ArrowException, tarfile.TarError, OSError) as error:
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
    counts = Counter(_task(row) for file in files for row in stored_rows(file, ["task"]))
    del counts[""]
    quota: Counter[str] = Counter()
    while quota.total() < min(limit, counts.total()):
        for task in counts:
            if quota[task] < counts[task] and quota.total() < limit:
                quota[task] += 1
    picked = []
    for file in files:
        if not +quota:
            break
        tasks = {_task(row) for row in stored_rows(file, ["task"])}
        for row in stored_rows(file) if tasks & set(+quota) else []:
            if isinstance(row, dict) and quota[_task(row)] > 0 and good(row):
                quota[_task(row)] -= 1
                picked.append(row)
    return picked


def _task(row: dict | RowError) -> str:
    """A row's task; empty where it has none that is text."""
    task = row.get("task") if isinstance(row, dict) else None
    return task if isinstance(task, str) else ""


def repeated_id(path: str | Path, digests: Iterable[int]) -> str | None:
    """An id that two rows at ``path`` share, given the digests of all ids; ``None`` where none is.

    Memory holds 8 bytes per row; ids themselves are only read where two digests agree.
    """
    digests = np.sort(np.frombuffer(array("Q", digests), dtype=np.uint64))
    suspects = set(digests[1:][digests[1:] == digests[:-1]].tolist())
    seen: set[str] = set()
    for file in files_of(path) if suspects else []:
        for row in stored_rows(file, ["id"]):
            row_id = row.get("id") if isinstance(row, dict) else None
            if isinstance(row_id, str) and digest(row_id) in suspects:
                if row_id in seen:
                    return row_id
                seen.add(row_id)
    return None


def _parquet_rows(file: Path, columns: Iterable[str] | None) -> Iterator[dict | RowError]:
    # Absolute: in a relative path, what stands before a colon would be taken for a scheme.
    with pq.ParquetFile(file.absolute()) as parquet:
        found = parquet.schema_arrow.names
        missing = [c for c in columns or FEATURES if c not in found]
        if missing:
            yield RowError(
                f"{file}: column '{missing[0]}' is missing (found: {', '.join(found)}); "
                f"a row has {', '.join(FEATURES)}",
                kind=f"{missing[0]}: is missing",
            )
            return
        try:
            whole = unfolding(file, parquet)
        except DamagedPagesError as error:
            yield RowError(f"{file}: {error}; write it again", kind="damaged pages")
            return
        if whole.too_much:
            yield _too_large(file, whole.too_much)
            return
        number, size = 0, 0
        at_once = max(1, min(BATCH, MAX_BATCH // max(1, whole.dictionaries)))
        most = max(MAX_UNFOLDED, MAX_RATIO * file.stat().st_size)
        wanted = list(columns) if columns else None
        for batch in parquet.iter_batches(at_once, columns=wanted):
            size += batch.nbytes
            if size > most:
                yield _too_large(file, size)
                return
            try:
                yield from (_with_paths(row, file) for row in batch.to_pylist())
            except UnicodeDecodeError:  # rare: look for it row by row
                for i in range(len(batch)):
                    yield _python(batch, i, f"{file}: row {number + i}")
            number += len(batch)


def _with_paths(row: dict, file: Path) -> dict:
    """A row whose images, where they are files of their own, are told from its file's folder or
    the one above, whatever folder the program runs in."""
    for image in row.get("images") or []:
        if not isinstance(image, dict) or image.get("bytes") is not None:
            continue
        path = image.get("path")
        if isinstance(path, str) and not Path(path).is_absolute():
            path = path.replace("\\", "/")
            near = (folder / path for folder in (file.parent, file.absolute().parent.parent))
            image["path"] = next((str(p.absolute()) for p in near if is_file(p)), path)
    return row


def _too_large(file: Path, size: int) -> RowError:
    return RowError(
        f"{file}: unfolds from {file.stat().st_size / 1e6:,.2f} MB to {size / 1e9:,.1f} GB or "
        "more; take it away, or write its rows anew without long texts that repeat",
        kind="unfolds to too many bytes",
    )


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
            if not member.isfile() or is_system_path(member.name):
                continue
            folder, _, name = member.name.rpartition("/")
            stem, _, ending = name.partition(".")
            if member.size > MAX_MEMBER:
                yield RowError(
                    f"{file}: {member.name[:80]!r} is larger than {MAX_MEMBER >> 20} MB; "
                    "leave its row out",
                    kind="a member is too large",
                )
                continue
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
        row = from_json(parts.pop("json", b"null").decode("utf-8"))
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
    # A tar may hold texts and classes beside the pictures. 10.png comes after 9.png.
    pictures = [name for name, data in parts.items() if is_known(name, data)]
    names = sorted(pictures, key=lambda name: (len(name.partition(".")[0]), name))
    return {**row, "images": [{"bytes": parts[name], "path": None} for name in names]}


def _opened(files: list[Path], loose: bool, extra: dict[str, pa.DataType] | None) -> Dataset:
    """A memory-mapped data set: rows are converted once, to a file in the cache. Of further columns
    it has those that all files have, in one type.

    Args:
        loose: whether images are files of their own; they are then copied into the cache.
        extra: further columns that all rows of tars have; ``None`` where there is no tar.
    """
    names: list[Any] = [str(file.absolute()) for file in files]
    # A foreign file may store the same columns in other types, and images as mere structs.
    found = [
        Features.from_arrow_schema(pq.read_schema(name))
        for name in names
        if not name.endswith(".tar")
    ]
    if extra is not None:
        found.append(Features(FEATURES | Features.from_arrow_schema(pa.schema(extra))))
    features = Features(
        {
            column: FEATURES.get(column, kind)
            for column, kind in found[0].items()
            if column in FEATURES or all(schema.get(column) == kind for schema in found)
        }
    )
    pattern = any(has_magic(name) for name in names)  # datasets would take [album] for one
    if not (loose or pattern or extra is not None):
        return Dataset.from_parquet(names, columns=list(features), features=features)
    # datasets keys its cache by the arguments: a file that changed must not look the same.
    times = [file.stat().st_mtime_ns for file in files]
    return Dataset.from_generator(
        _all_rows,
        features=features,
        gen_kwargs={"files": names, "times": times, "columns": tuple(features)},
    )


def _narrowed(common: dict[str, pa.DataType] | None, row: dict) -> dict[str, pa.DataType]:
    """Further columns of a row, less those that earlier rows lack or have in another type."""
    schema = pa.Table.from_pylist([{k: v for k, v in row.items() if k not in FEATURES}]).schema
    kinds = dict(zip(schema.names, schema.types, strict=True))
    if common is None:
        return kinds
    for column, kind in list(common.items()):
        other = kinds.get(column)
        if other is not None and pa.types.is_null(kind):
            common[column] = other
        elif other is None or (other != kind and not pa.types.is_null(other)):
            del common[column]
    return common


def _all_rows(files: list[str], times: list[int], columns: tuple[str, ...]) -> Iterator[dict]:
    """The rows of files that were checked before, so that none of them is an error."""
    for file in files:
        for row in stored_rows(Path(file)):
            if isinstance(row, dict):
                images = [{"bytes": image_bytes(i), "path": None} for i in row["images"] or []]
                yield {name: images if name == "images" else row.get(name) for name in columns}
