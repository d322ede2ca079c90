"""Read JSON of others, as a whole or item by item: the annotations of a detection set are several
GB.

One bad entry does not stop the reading. Bytes that are not UTF-8 become lone surrogates, which
:func:`is_text` finds; a number of too many digits becomes infinite; and what is nested too deeply
becomes null.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn, TextIO, TypeGuard

from data_gen.files.errors import SourceError
from data_gen.files.files import refuse_pipe

CHUNK = 1 << 20
"""Characters read at a time."""

MAX_LINE = 1 << 26
"""Longest first line, in characters, of a file of JSON lines."""

MAX_DIGITS = 40
"""Longest whole number that is read exactly; a longer one is read as a float, infinite above 1e308.
Python itself reads no more than 4,300 digits, and makes floats of no more than 308."""

MAX_DEPTH = 100
"""Lists and objects inside one another; what is nested more deeply is read as null."""

SPACE = re.compile(r"[ \t\r\n]*")
_NUMBER_GOES_ON = re.compile(r"[-+.0-9eE]*")
_MARKS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}"]', re.DOTALL)
_LONGEST_WORD = 32
"""Characters before the end of a buffer in which an error may only mean that more is to come."""


def json_items(path: str | Path) -> Iterator[tuple[str, Any]]:
    """Every item of every top-level list of a JSON file, with the key of its list (``""`` where the
    file is one list, or JSON lines); other top-level values come whole.

    Raises:
        SourceError: the file is missing or is no JSON, with the line.
    """
    try:
        refuse_pipe(path)
        with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
            yield from _Reader(file, path).top()
    except OSError as error:
        raise SourceError(f"{path} cannot be read ({error.strerror})") from None


def from_json(text: str, **options: Any) -> Any:
    """A JSON text as Python values, as :func:`json.loads` with these ``options`` gives them, with
    long numbers and deep nesting as the module says.

    Raises:
        ValueError: it is no JSON.
    """
    try:
        return json.loads(text, parse_int=_whole_number, **options)
    except RecursionError:
        pass
    try:  # out of the handler above, in which the stack is still deep
        return json.loads(_shallow(text), parse_int=_whole_number, **options)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def is_text(value: Any) -> TypeGuard[str]:
    """Whether a value is text that is not blank and was UTF-8 in its file."""
    return (
        isinstance(value, str)
        and bool(value.strip())
        and not any("\ud800" <= char <= "\udfff" for char in value)
    )


def _whole_number(digits: str) -> int | float:
    return int(digits) if len(digits) <= MAX_DIGITS else float(digits)


def _shallow(text: str) -> str:
    """A JSON text with null in the place of what is nested more deeply than :data:`MAX_DEPTH`."""
    kept, start, depth = [], 0, 0
    for mark in _MARKS.finditer(text):
        if mark[0] in ("[", "{"):
            depth += 1
            if depth == MAX_DEPTH + 1:
                kept.append(text[start : mark.start()])
        elif mark[0] in ("]", "}"):
            if depth == MAX_DEPTH + 1:
                kept.append("null")
                start = mark.end()
            depth -= 1
    return "".join([*kept, text[start:]])


def _end_of_value(text: str, at: int) -> int | None:
    """Where the list or object that begins at ``at`` ends; ``None`` where its end is not there."""
    depth = 0
    for mark in _MARKS.finditer(text, at):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(mark[0], 0)
        if depth == 0 or mark[0] == '"':
            return mark.end() if depth == 0 else None
    return None


class _Reader:
    """Reads values from a buffer that holds the current value and little more."""

    def __init__(self, file: TextIO, path: str | Path):
        self.file, self.path = file, path
        self.text, self.at, self.lines, self.ended = "", 0, 1, False
        self.decode = json.JSONDecoder(parse_int=_whole_number).raw_decode

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
            from_json(line)
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
                goes_on = _NUMBER_GOES_ON.match(self.text, end)
                if self.ended or (goes_on and goes_on.end() < len(self.text)):
                    self.at = end
                    return value
            except json.JSONDecodeError as error:
                # Not to read gigabytes more after a mistake: only what is cut off may be whole yet.
                cut_off = error.msg.startswith("Unterminated string")
                if self.ended or not (cut_off or error.pos > len(self.text) - _LONGEST_WORD):
                    self.at = error.pos
                    self.fail(error.msg)
            except RecursionError:
                end = _end_of_value(self.text, self.at)
                if end is not None:
                    value, self.at = from_json(self.text[self.at : end]), end
                    return value
                if self.ended:
                    self.fail("nested too deeply")
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
