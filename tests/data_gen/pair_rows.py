"""Files of image pairs for tests, and where the three real ones are."""

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.places import SHARED

SAMPLE = SHARED / "subjects200k"
needs_sample = pytest.mark.skipif(not SAMPLE.is_dir(), reason="no ../shared/data/subjects200k here")

FULL = {"compositeStructure": 5, "objectConsistency": 5, "imageQuality": 5}


def colour(i: int) -> tuple[int, int, int]:
    return 30 + 23 * (i % 9), 250 - 29 * (i % 7), (90 * i) % 256


def pair(i: int, side: int = 32, margin: int = 2) -> bytes:
    """Two squares of one colour on white, as PNG bytes."""
    image = Image.new("RGB", (2 * side + 3 * margin, side + 2 * margin), "white")
    for x in (margin, side + 2 * margin):
        image.paste(colour(i), (x, margin, x + side, margin + side))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def row(i: int, **changes) -> dict:
    return {
        "image": {"bytes": pair(i), "path": None},
        "collection": "collection_1",
        "quality_assessment": FULL,
        "description": {
            "item": f"Item {i} vase",
            "description_0": "here",
            "description_1": "there",
            "category": None,
            "description_valid": True,
        },
    } | changes


def write(path: Path, rows: list[dict], group: int = 4) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=group)
    return path
