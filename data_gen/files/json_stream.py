"""Read large JSON files item by item: the annotations of a detection set are several GB.

Bytes that are not UTF-8 do not stop the reading: they become lone surrogates, which :func:`is_text`
finds.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn, TextIO, TypeGuard

from data_gen.files.errors import SourceError

CHUNK = 1 << 20
"""Characters read at a time."""

MAX_LINE = 1 << 26
"""Longest first line, in characters, of a file of JSON lines."""

SPACE = re.compile(r"[ \t\r\n]*")


def json_items(path: str | Path) -> Iterator[tuple[str, Any]]:
    """Every item of every top-level list of a JSON file, with the key of its list (``""`` where the
    file is one list, or JSON lines); other top-level values come whole.

    Raises:
        SourceError: the file is missing or is no JSON, with the line.
    """
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
            yield from _Reader(file, path).top()
    except OSError as error:
        raise SourceError(f"{path} cannot be read ({error.strerror})") from None


def is_text(value: Any) -> TypeGuard[str]:
    """Whether a value is text that is not blank and was UTF-8 in its file."""
    return (
        isinstance(value, str)
        and bool(value.strip())
        and not any("\ud800" <= char <= "\udfff" for char in value)
    )


class _Reader:
    """Reads values from a buffer that holds the current value and little more."""

    def __init__(self, file: TextIO, path: str | Path):
        self.file, self.path = file, path
        self.text, self.at, self.lines, self.ended = "", 0, 1, False
        self.decode = json.JSONDecoder().raw_decode

    def top(self) -> Iterator[tuple[str, Any]]:
        first = self.peek()
        if first == "[":
            yield from (("", item) for item in self.items())
        elif first == "{":
            start = self.value() if self._is_line() else None
            if start is None:
                yield from self.members()
            else:
                yield "", start
                while self.peek():
                    yield "", self.value()
        else:
            self.fail("expected a list or an object")
        if self.peek():
            self.fail("more text after the end")

    def _is_line(self) -> bool:
        """Whether the file is JSON lines: an object on a line by itself, then another one."""
        while True:
            line, _, rest = self.text[self.at :].partition("\n")
            if rest.strip() or self.ended or len(self.text) > MAX_LINE:
                break
            self.more()
        try:
            json.loads(line)
        except ValueError:
            return False
        return rest.lstrip().startswith("{")

    def members(self) -> Iterator[tuple[str, Any]]:
        self.take("{")
        while self.peek() != "}":
            key = self.value()
            if not isinstance(key, str):
                self.fail("expected a key")
            self.take(":")
            if self.peek() == "[":
                yield from ((key, item) for item in self.items())
            else:
                yield key, self.value()
            if self.peek() != "}":
                self.take(",")
        self.take("}")

    def items(self) -> Iterator[Any]:
        self.take("[")
        while self.peek() != "]":
            yield self.value()
            if self.peek() != "]":
                self.take(",")
        self.take("]")

    def value(self) -> Any:
        self.peek()
        while True:
            try:
                value, end = self.decode(self.text, self.at)
                # A number may continue in what is not read yet: 1 of 1.5, of 12, of 1e9.
                if self.ended or self.text[end : end + 1] in tuple(" \t\r\n,:]}"):
                    self.at = end
                    return value
            except ValueError as error:
                if self.ended:
                    self.fail(getattr(error, "msg", "not JSON"))
            self.more()

    def peek(self) -> str:
        """The next character that is no space; ``""`` at the end."""
        while True:
            match = SPACE.match(self.text, self.at)
            self.at = match.end() if match else self.at
            if self.at < len(self.text):
                return self.text[self.at]
            if self.ended:
                return ""
            self.more()

    def take(self, char: str) -> None:
        if self.peek() != char:
            self.fail(f"expected {char!r}")
        self.at += 1

    def more(self) -> None:
        # Doubles what is held: a value of n characters is tried log n times.
        chunk = self.file.read(max(CHUNK, len(self.text) - self.at))
        self.ended = not chunk
        self.lines += self.text.count("\n", 0, self.at)
        self.text, self.at = self.text[self.at :] + chunk, 0

    def fail(self, reason: str) -> NoReturn:
        line = self.lines + self.text.count("\n", 0, self.at)
        raise SourceError(
            f"{self.path}, line {line}: is not readable JSON ({reason}); is the file whole?"
        )
