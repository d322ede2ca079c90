"""What a parquet file unfolds to is told by its pages, whatever its footer says."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_gen.rows import reading
from data_gen.rows.contract import RowError
from data_gen.rows.parquet_pages import DamagedPagesError, unfolding
from data_gen.rows.reading import stored_rows

LONG = "x" * (66 * 2**20)


def written(path: Path, table: pa.Table, **options) -> Path:
    pq.write_table(table, path, **({"compression": "zstd"} | options))
    return path


def varint(value: int, length: int = 0) -> bytes:
    """A number as a footer writes it, of at least so many bytes."""
    out, value = [], value << 1
    while value or not out or len(out) < length:
        out.append(value & 127)
        value >>= 7
    return bytes(byte | 128 for byte in out[:-1]) + bytes(out[-1:])


def lying(path: Path) -> Path:
    """The file with a footer that says of every large chunk that it unfolds to one byte."""
    data = path.read_bytes()
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    head, foot = data[:footer], data[footer:]
    for column in range((meta := pq.read_metadata(path)).num_columns):
        size = varint(meta.row_group(0).column(column).total_uncompressed_size)
        if len(size) > 3:
            assert size in foot
            foot = foot.replace(size, varint(1, len(size)))
    path.write_bytes(head + foot)
    assert pq.read_metadata(path).row_group(0).column(0).total_uncompressed_size < 1000
    return path


@pytest.mark.parametrize(("version", "dictionary"), [("1.0", True), ("2.0", False)])
def test_a_footer_that_lies_is_not_believed(tmp_path, version, dictionary):
    table = pa.table({"id": [LONG], "task": ["t"]})
    options = {"data_page_version": version, "use_dictionary": dictionary}
    path = lying(written(tmp_path / "a.parquet", table, **options))
    before = pa.total_allocated_bytes()
    peak = pa.default_memory_pool().max_memory()
    (error,) = stored_rows(path, ["id", "task"])
    assert isinstance(error, RowError) and "unfolds from 0.00 MB to 0.1 GB" in str(error)
    assert pa.total_allocated_bytes() <= before + 2**20
    assert pa.default_memory_pool().max_memory() <= max(peak, before + 2**20)


def test_a_value_that_many_rows_share_is_counted_for_each(tmp_path):
    shared = pa.DictionaryArray.from_arrays(
        pa.array([0] * 400, pa.int16()), pa.array([LONG[: 2**23]])
    )
    path = written(tmp_path / "a.parquet", pa.table({"id": shared}))
    assert unfolding(path, pq.ParquetFile(path)).too_much > 400 * 2**23


def test_a_few_bytes_that_say_nothing_a_million_times(tmp_path):
    nothing = pa.array([[None] * 17_000_000], pa.list_(pa.int8()))
    path = written(tmp_path / "a.parquet", pa.table({"names": nothing}))
    assert path.stat().st_size < 2000
    assert unfolding(path, pq.ParquetFile(path)).too_much > 68_000_000


def test_of_large_values_few_rows_are_read_at_a_time(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(reading, "MAX_BATCH", 2**25)
    batches = pq.ParquetFile.iter_batches
    monkeypatch.setattr(
        pq.ParquetFile,
        "iter_batches",
        lambda self, rows, **more: asked.append(rows) or batches(self, rows, **more),
    )
    texts = [bytes(i * k % 94 + 32 for k in range(4096)).decode() * 512 for i in range(1, 5)]
    written(tmp_path / "a.parquet", pa.table({"id": texts, "task": ["t"] * 4}), compression="none")
    rows = list(stored_rows(tmp_path / "a.parquet", ["id", "task"]))
    assert [row["id"] for row in rows] == texts and asked == [3]  # the dictionary has 8 MB
    written(tmp_path / "b.parquet", pa.table({"id": ["a", "b"], "task": ["t"] * 2}))
    assert len(list(stored_rows(tmp_path / "b.parquet", ["id", "task"]))) == 2 and asked[1] == 32


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "zstd", "brotli", "lz4"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_ordinary_files_pass_whoever_compressed_them(tmp_path, compression, version):
    n = 600
    table = pa.table(
        {
            "id": [f"row-{i}" for i in range(n)],
            "names": [["bo", "小明"][: i % 3] for i in range(n)],
            "box": pa.array([None] * n, pa.list_(pa.float64())),
            "images": [
                [{"bytes": bytes([i % 251]) * 50, "path": None}] * (i % 2) for i in range(n)
            ],
            "flag": [i % 2 == 0 for i in range(n)],
        }
    )
    for size in (64, 1 << 20):
        options = {"data_page_version": version, "data_page_size": size, "write_page_index": True}
        written(
            tmp_path / "a.parquet", table, compression=compression, row_group_size=99, **options
        )
        found = unfolding(tmp_path / "a.parquet", pq.ParquetFile(tmp_path / "a.parquet"))
        assert found.too_much == 0 and 0 < found.dictionaries < 100_000


@pytest.mark.parametrize(
    "damage", [b"\xff" * 30, b"\x19" * 30, b"\x1c" * 30, b"\x1c" + b"\0" * 29, b"\0" * 30]
)
def test_pages_that_cannot_be_followed_are_named(tmp_path, damage):
    path = written(tmp_path / "a.parquet", pa.table({"id": ["a"] * 9, "task": ["t"] * 9}))
    start = pq.read_metadata(path).row_group(0).column(0).dictionary_page_offset
    data = bytearray(path.read_bytes())
    data[start : start + len(damage)] = damage
    path.write_bytes(data)
    with pytest.raises(DamagedPagesError, match="pages of column 'id' are damaged"):
        unfolding(path, pq.ParquetFile(path))
    (error,) = stored_rows(path, ["id", "task"])
    assert isinstance(error, RowError) and "write it again" in str(error)
