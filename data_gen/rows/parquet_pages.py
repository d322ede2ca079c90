"""What the pages of a parquet file unfold to, read from the pages themselves: a footer may lie.

A column chunk is a run of pages, each behind a header in Thrift's compact protocol, which says how
long the page is in the file and unfolded. The reader makes room for what the header says, so a
file of some kilobytes can take gigabytes before its first row is there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow.parquet as pq

MAX_UNFOLDED = 2 * 2**30
"""Most bytes that a file's rows, or one value of them repeated, may take beyond what its size lets
expect: 10 KB of parquet can hold one long text a thousand times."""

MAX_RATIO = 100
"""How many times its size a file may unfold to, where that is more than :data:`MAX_UNFOLDED`."""

MAX_PLAIN = 64 * 2**20
"""A chunk of a parquet column that unfolds to more bytes, and to :data:`MAX_RATIO` times its own,
is not read."""

NULL = 4
"""Bytes that a value takes even where it is nothing; a few bytes can say that a billion are."""

MAX_HEADER = 1 << 20
"""Largest header of a page, in bytes; they have some dozens, and the extremes of a column."""

FIRST_READ = 1 << 12
"""Bytes in which a header is looked for first."""

MAX_DEPTH = 16
"""How deep a header's structures may stand in each other; the format's own stand three deep."""

DICTIONARY = 2
"""The type of a page of a dictionary."""

COUNTS = {0: 5, DICTIONARY: 7, 3: 8}
"""Type of a page (data, dictionary, data of the second version) -> field of its header whose first
field is the number of values; pages of other types are passed over by readers."""


class DamagedPagesError(ValueError):
    """The pages of a file cannot be followed. The message says which column's."""


@dataclass(frozen=True)
class Unfolding:
    """What reading a file takes.

    Attributes:
        too_much: bytes that a part of it unfolds to, where that is more than is read; else 0.
        dictionaries: most bytes that one row's values from dictionaries may take.
    """

    too_much: int
    dictionaries: int


@dataclass(frozen=True)
class Page:
    """A page's header: its type, its bytes in the file and unfolded, and how many values it has."""

    kind: int
    folded: int
    plain: int
    values: int


def unfolding(path: Path, parquet: pq.ParquetFile) -> Unfolding:
    """What reading a file takes, by its pages.

    A chunk of a column that is compressed many times over, as photos and prompts never are, may
    hold one long value that all rows repeat.

    Args:
        path: of the file.
        parquet: the same file, opened.

    Raises:
        DamagedPagesError: a page's header is not where it must be, or is none.
    """
    footer = parquet.metadata
    size, largest = path.stat().st_size, 0
    with path.open("rb") as file:
        for group in range(footer.num_row_groups):
            in_group = 0
            for place in range(footer.num_columns):
                chunk = footer.row_group(group).column(place)
                folded, plain, words, values = 0, 0, 0, 0
                try:
                    for page in _pages(file, size, chunk):
                        folded += page.folded
                        plain += page.plain
                        if page.kind == DICTIONARY:
                            words = max(words, page.plain)
                        else:
                            plain += NULL * page.values
                            values += page.values
                except ValueError as error:
                    raise DamagedPagesError(
                        f"the pages of column {chunk.path_in_schema[:80]!r} are damaged ({error})"
                    ) from None
                in_group += words
                if plain > max(MAX_PLAIN, MAX_RATIO * folded):
                    return Unfolding(plain, in_group)
                whole = plain * (values if words else 1)
                if plain > 20 * folded and whole > MAX_UNFOLDED:
                    return Unfolding(whole, in_group)
            largest = max(largest, in_group)
    return Unfolding(0, largest)


def _pages(file: BinaryIO, size: int, chunk: Any) -> Iterator[Page]:
    """The pages of a column chunk, as far as a reader goes: to its end, or its last value."""
    start = chunk.data_page_offset
    if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < start:
        start = chunk.dictionary_page_offset
    end = min(size, start + chunk.total_compressed_size)
    if start < 0 or chunk.total_compressed_size < 0:
        raise ValueError("they begin before the file")
    seen = 0
    while start < end and seen < chunk.num_values:
        page, length = _header(file, start)
        lengths = (page.folded, page.plain, page.values)
        if min(lengths) < 0 or max(lengths) >= 1 << 31 or page.folded > size:
            raise ValueError("a length is none")
        start += length + page.folded
        seen += page.values if page.kind != DICTIONARY else 0
        yield page


def _header(file: BinaryIO, start: int) -> tuple[Page, int]:
    """The page's header at a place of the file, and its length."""
    for most in (FIRST_READ, MAX_HEADER):
        file.seek(start)
        data = file.read(most)
        try:
            fields, length = _struct(data, 0, 0)
        except IndexError:
            continue
        kind = fields.get(1)
        if not isinstance(kind, int):
            raise ValueError("a header without a type")
        inner = fields.get(COUNTS.get(kind, 0))
        values = inner.get(1) if isinstance(inner, dict) else 0 if kind not in COUNTS else None
        numbers = [kind, fields.get(3), fields.get(2), values]
        if not all(isinstance(number, int) for number in numbers):
            raise ValueError("a header without lengths")
        return Page(*numbers), length
    raise ValueError("a header without an end")


# ---- Thrift's compact protocol: a structure is a run of fields, each with a number and a type ----


def _struct(data: bytes, at: int, depth: int) -> tuple[dict[int, Any], int]:
    """Field number -> value, and where the structure ends."""
    fields, number = {}, 0
    while (head := data[at]) != 0:
        at += 1
        if head >> 4:
            number += head >> 4
        else:
            number, at = _number(data, at)
        kind = head & 15
        if kind in (1, 2):  # of a field, the type is its truth
            fields[number] = kind == 1
        else:
            fields[number], at = _value(data, at, kind, depth)
    return fields, at + 1


def _value(data: bytes, at: int, kind: int, depth: int) -> tuple[Any, int]:
    if depth > MAX_DEPTH:
        raise ValueError("a header that is nested too deeply")
    if kind in (1, 2, 3):  # a truth in a list, a byte
        return data[at], at + 1
    if kind in (4, 5, 6):
        return _number(data, at)
    if kind == 7:
        return None, _within(data, at + 8)
    if kind == 8:
        length, at = _varint(data, at)
        return None, _within(data, at + length)
    if kind in (9, 10):
        count, of, at = data[at] >> 4, data[at] & 15, at + 1
        if count == 15:
            count, at = _varint(data, at)
        for _ in range(count):
            at = _value(data, at, of, depth + 1)[1]
        return None, at
    if kind == 12:
        return _struct(data, at, depth + 1)
    raise ValueError("a header of unknown types")


def _within(data: bytes, at: int) -> int:
    if at > len(data):
        raise IndexError
    return at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise ValueError("a number without an end")


def _number(data: bytes, at: int) -> tuple[int, int]:
    value, at = _varint(data, at)
    return (value >> 1) ^ -(value & 1), at
