"""The row contract: the one table that generators write and that training and evaluation read.

A row set on disk is a directory that ``datasets.load_dataset`` opens as it stands::

    <set>/data/train-00000.parquet ...   the rows, images as PNG or JPEG bytes
    <set>/manifest.json                  counts per task, seed, versions, what was left out and why
    <set>/contact_sheet.png              some of the rows, to be looked at

Rows are checked when they are written and again when they are read, because a row set may come
from somebody else's program. Left out: sharding by process and resuming a half-written set.
"""

import io
import json
import math
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as PILImage

OCT = "object_consistency"
VLT = "visual_localization"
ICT = "identity_consistency"

FEATURES = Features(
    {
        "id": Value("string"),
        "task": Value("string"),
        "prompt": List(
            {
                "role": Value("string"),
                "content": List({"type": Value("string"), "text": Value("string")}),
            }
        ),
        "images": List(Image()),
        "answer": Value("string"),
        "box": List(Value("float64")),
        "names": List(Value("string")),
        "absent_names": List(Value("string")),
        "source": Value("string"),
    }
)

MAX_PIXELS = 4096 * 4096
"""Largest picture a row may hold, in pixels: a decompression bomb is not training data."""

ROWS_PER_SHARD = 2048


class RowError(ValueError):
    """A row that breaks the contract. The message names the place, the row id, the column, why."""


def check_row(row: dict, where: str = "row", *, n_images: int | None = None) -> None:
    """Refuse a row that breaks the contract.

    Args:
        row: columns as in :data:`FEATURES`; further columns are not looked at.
        where: file or generator, for the message.
        n_images: number of pictures, where ``row`` does not carry ``images``.

    Raises:
        RowError: naming ``where``, the row's id, the column and the reason.
    """

    def refuse(column: str, reason: str):
        raise RowError(f"{where}: row {row.get('id')!r}: column '{column}': {reason}")

    for column in FEATURES:
        if column not in row and not (column == "images" and n_images is not None):
            refuse(column, "is missing")
    for column in ("id", "task"):
        if not isinstance(row[column], str) or not row[column].strip():
            refuse(column, f"must be a non-empty string, not {row[column]!r}")

    placeholders = 0
    if not isinstance(row["prompt"], list) or not row["prompt"]:
        refuse("prompt", "must be a non-empty list of messages")
    for message in row["prompt"]:
        if message.get("role") not in ("system", "user", "assistant"):
            refuse("prompt", f"unknown role {message.get('role')!r}")
        for part in message.get("content") or []:
            if part.get("type") == "image":
                placeholders += 1
            elif part.get("type") != "text" or not isinstance(part.get("text"), str):
                refuse("prompt", f"a content part must be an image or a text, not {part!r}")
    if n_images is None:
        n_images = len(row["images"] or [])
        for i, image in enumerate(row["images"] or []):
            if not isinstance(image, PILImage.Image):
                continue
            w, h = image.size
            if not 0 < w * h <= MAX_PIXELS:
                refuse("images", f"picture {i} is {w}x{h}; the limit is {MAX_PIXELS} pixels")
    if placeholders != n_images:
        refuse("images", f"{n_images} pictures for {placeholders} placeholders in the prompt")

    if row["answer"] not in (None, "yes", "no"):
        refuse("answer", f"must be 'yes', 'no' or null, not {row['answer']!r}")
    if row["task"] == OCT and row["answer"] is None:
        refuse("answer", "is null in an object_consistency row")
    box = row["box"]
    if box is not None:
        if len(box) != 4 or not all(isinstance(v, (int, float)) and math.isfinite(v) for v in box):
            refuse("box", f"must be 4 finite numbers, not {box!r}")
        if not (0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1):
            refuse("box", f"must be x1 y1 x2 y2 in 0-1 with x1 < x2 and y1 < y2, not {box!r}")
    if row["task"] == VLT and box is None:
        refuse("box", "is null in a visual_localization row")

    seen: set[str] = set()
    for column in ("names", "absent_names"):
        if not isinstance(row[column], list):
            refuse(column, f"must be a list of strings, not {row[column]!r}")
        for name in row[column]:
            if not isinstance(name, str) or not name.strip() or set(name) & set("<>"):
                refuse(column, f"{name!r} is not a bare name (write bo, not <bo>)")
            if name.casefold() in seen:
                refuse(column, f"{name!r} is listed twice")
            seen.add(name.casefold())


def encode_image(image: PILImage.Image | dict) -> dict:
    """A picture as the ``{"bytes", "path"}`` struct of ``datasets.Image``; PNG, lossless."""
    if isinstance(image, dict):
        return image
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=1)
    return {"bytes": buffer.getvalue(), "path": None}


def write_rows(
    rows: Iterable[dict],
    out: str | Path,
    *,
    seed: int,
    generator: str,
    settings: dict | None = None,
    skipped: dict[str, int] | None = None,
    extra_features: dict | None = None,
) -> dict:
    """Write a row set, checking each row. Memory holds one shard of rows at a time.

    The set appears at ``out`` whole or not at all: it is written beside it and renamed.

    Args:
        rows: rows as in :data:`FEATURES`, plus the columns named in ``extra_features``.
        out: directory of the set; one that holds an earlier set is replaced.
        seed: recorded in the manifest.
        generator: program that made the rows, recorded and used in error messages.
        settings: the generator's settings, recorded.
        skipped: what the generator left out, reason -> count; read after the last row.
        extra_features: ``datasets`` features of custom columns, which pass through to rewards.

    Returns:
        The manifest that was written.

    Raises:
        RowError: at the first row that breaks the contract, at a repeated id, or for no row.
        FileExistsError: where ``out`` exists and is not a row set.
    """
    out = Path(out)
    if out.exists() and any(out.iterdir()) and not (out / "manifest.json").exists():
        raise FileExistsError(f"{out} is not empty and is no row set; give another directory")
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "data").mkdir(parents=True)

    features = Features({**FEATURES, **(extra_features or {})})
    schema = features.arrow_schema
    tasks: Counter[str] = Counter()
    ids: set[str] = set()

    def encoded() -> Iterator[dict]:
        for row in rows:
            check_row(row, generator)
            if row["id"] in ids:
                raise RowError(f"{generator}: row {row['id']!r}: column 'id': is used twice")
            ids.add(row["id"])
            tasks[row["task"]] += 1
            yield {**row, "images": [encode_image(image) for image in row["images"]]}

    stream = encoded()
    for shard in range(10**5):
        chunk = list(islice(stream, ROWS_PER_SHARD))
        if not chunk:
            break
        table = pa.Table.from_pylist(chunk, schema=schema)
        pq.write_table(table, partial / "data" / f"train-{shard:05d}.parquet", compression="none",
                       row_group_size=256)
    if not ids:
        raise RowError(f"{generator}: made no row; left out: {dict(skipped or {})}")

    manifest = {
        "generator": generator,
        "seed": seed,
        "rows": len(ids),
        "tasks": dict(sorted(tasks.items())),
        "skipped": dict(sorted((skipped or {}).items())),
        "settings": settings or {},
        "versions": {name: version(name) for name in ("byname", "datasets", "pillow", "numpy")},
    }
    (partial / "manifest.json").write_text(json.dumps(manifest, indent=2, default=str) + "\n")
    if out.exists():
        shutil.rmtree(out)
    partial.rename(out)
    return manifest


def read_rows(path: str | Path) -> Dataset:
    """Open a row set and check every row (pictures are counted, not decoded).

    Args:
        path: a directory written by :func:`write_rows`, any directory of parquet files with these
            columns, or one parquet file.

    Raises:
        FileNotFoundError: nothing to read there.
        RowError: at the first row that breaks the contract, with file, row id, column and reason.
    """
    path = Path(path)
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path] if path.is_file() else []
    if not files:
        raise FileNotFoundError(
            f"no rows at {path}: it holds no parquet file; make some with "
            f"`python launch/generate.py --config configs/data/toybox.yaml`"
        )
    seen: set[str] = set()
    for file in files:
        try:
            parquet = pq.ParquetFile(file)
            missing = [c for c in FEATURES if c not in parquet.schema_arrow.names]
            if missing:
                raise RowError(f"{file}: column '{missing[0]}' is missing (found: "
                               f"{', '.join(parquet.schema_arrow.names)})")
            light = [c for c in FEATURES if c != "images"]
            for group in range(parquet.num_row_groups):
                counts = _images_per_row(parquet, group)
                for row, n in zip(parquet.read_row_group(group, columns=light).to_pylist(), counts,
                                  strict=True):
                    check_row(row, str(file), n_images=n)
                    if row["id"] in seen:
                        raise RowError(f"{file}: row {row['id']!r}: column 'id': is used twice")
                    seen.add(row["id"])
        except pa.ArrowInvalid as error:
            raise RowError(f"{file}: is not a readable parquet file ({error})") from None
    if not seen:
        raise RowError(f"{path}: holds no row")
    # keep_in_memory=False: the parquet is converted once to a memory-mapped file in the cache.
    return Dataset.from_parquet([str(file) for file in files])


def _images_per_row(parquet: pq.ParquetFile, group: int) -> list[int]:
    column = parquet.read_row_group(group, columns=["images"]).column("images")
    return [len(value) if value.is_valid else 0 for chunk in column.chunks for value in chunk]
