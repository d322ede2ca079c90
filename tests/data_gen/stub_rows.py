"""Rows that cost nothing to make, for tests of writing and reading."""

from pathlib import Path

from PIL import Image

from data_gen.rows import ICT, OCT
from data_gen.rows.building import build_rows
from data_gen.rows.indexed import IndexedRows


def stub_row(task: str = ICT, index: int = 0, **changes) -> dict:
    """A good row with one picture of 8 by 8 pixels, another one for each index."""
    parts = [{"type": "image", "text": None}, {"type": "text", "text": "This is <bo>."}]
    picture = Image.new("RGB", (8, 8), (index % 256, index // 256 % 256, 7))
    return {
        "id": f"{task}-{index}",
        "task": task,
        "prompt": [{"role": "user", "content": parts}],
        "images": [picture],
        "answer": "yes" if task == OCT else None,
        "box": None,
        "names": ["bo"],
        "absent_names": [],
        "source": "stub: one",
    } | changes


def stub_source(rows: int = 20, **more) -> IndexedRows:
    """Half of the rows captions, half of them questions."""
    return IndexedRows({ICT: rows // 2, OCT: rows - rows // 2}, stub_row, **more)


def make(out: Path, source: IndexedRows | None = None, **more) -> dict | None:
    """Make a set of stub rows, three to a shard."""
    settings = {"seed": 1, "generator": "stub", "rows_per_shard": 3, **more}
    return build_rows(source or stub_source(), out, **settings)


def contents(out: Path) -> dict[str, bytes]:
    """Every file of a set."""
    return {str(f.relative_to(out)): f.read_bytes() for f in out.rglob("*") if f.is_file()}
