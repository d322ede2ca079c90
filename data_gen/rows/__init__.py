"""The row contract: the one table that generators write and that training and evaluation read.

A row set on disk is a directory that ``datasets.load_dataset`` opens as it stands::

    <set>/data/train-00000.parquet ...   the rows, images as PNG or JPEG bytes (or .tar, see shards)
    <set>/manifest.json                  counts per task, seed, versions, what was skipped and why
    <set>/contact_sheet.png              some of the rows, to look at

:mod:`data_gen.rows.contract` says what a row is, :mod:`data_gen.rows.shards` how rows are stored,
and :mod:`data_gen.rows.building` how a large set is made by several processes and resumed.
"""

from data_gen.rows.contract import (
    FEATURES,
    ICT,
    MAX_PIXELS,
    OCT,
    VLT,
    RowError,
    check_row,
    encode_image,
)
from data_gen.rows.reading import read_rows
from data_gen.rows.writing import write_rows

__all__ = [
    "FEATURES",
    "ICT",
    "MAX_PIXELS",
    "OCT",
    "VLT",
    "RowError",
    "check_row",
    "encode_image",
    "read_rows",
    "write_rows",
]
