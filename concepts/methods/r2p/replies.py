"""Read the JSON that a policy wrote: fences, prose around it and a second copy are forgiven.

What a policy writes is text of unknown origin. It is never evaluated, only so much of it is read,
and what is taken from it is short printable text.
"""

import json
import re
from typing import Any

from rewards.parsing import answer_part

MAX_REPLY = 20_000
"""Characters of a reply that may be read; a fingerprint has a few hundred."""

MAX_TEXT = 300
"""Characters of a text that is kept of a reply."""

_BRACES = re.compile(r"[{}]")


class UnreadableReply(ValueError):
    """A reply that does not hold what was asked for. The message is the reason in a few words,
    which do not quote the reply, so that reasons can be counted."""


def read_object(reply: str, *needed: str) -> dict[str, Any]:
    """The one JSON object of a reply that has all the ``needed`` keys.

    Only outermost objects count, wherever they stand. Two that say the same are one. Keys are
    compared in lower case, and a key that an object gives twice must say the same twice.

    Args:
        reply: any text.
        needed: keys, in lower case.

    Returns:
        Key in lower case -> value.

    Raises:
        UnreadableReply: it holds no such object, several that differ, or is too long.
    """
    if len(reply) > MAX_REPLY:
        raise UnreadableReply(f"more than {MAX_REPLY:,} characters")
    reply = answer_part(reply)  # what was drafted while reasoning is no answer
    decoder = json.JSONDecoder(object_pairs_hook=_object, strict=False)
    found, problem, end, depth = [], "no JSON object", 0, 0
    for brace in _BRACES.finditer(reply):
        if brace.start() < end:
            continue
        if brace[0] == "}":
            depth = max(0, depth - 1)
            continue
        if depth == 0:
            try:
                value, end = decoder.raw_decode(reply, brace.start())
                found.append(value)
                continue
            except _KeyTwiceError:
                problem = "a key is given twice"
            except RecursionError:
                problem = "JSON that is nested too deeply"
            except ValueError:  # also numbers of too many digits
                problem = "broken JSON"
        depth += 1
    whole = [value for value in found if all(key in value for key in needed)]
    if not whole and found:
        missing = next(key for key in needed if key not in found[0])
        raise UnreadableReply(f"JSON without {missing!r}")
    if not whole:
        raise UnreadableReply(problem)
    if any(value != whole[0] for value in whole):
        raise UnreadableReply("several JSON objects that differ")
    return whole[0]


def plain_text(value: Any) -> str:
    """A value as one line of printable text of at most :data:`MAX_TEXT` characters; ``""`` where it
    is no text."""
    if not isinstance(value, str):
        return ""
    return " ".join("".join(c if c.isprintable() else " " for c in value).split())[:MAX_TEXT]


def plain_texts(value: Any, most: int) -> tuple[str, ...]:
    """A list of texts, or one text split at commas and semicolons, as :func:`plain_text` each; at
    most ``most`` of them, each once. ``None``, in whatever case, stands for nothing."""
    parts = re.split(r"[,;\n]", value) if isinstance(value, str) else value
    texts = [plain_text(part).strip(" .") for part in parts] if isinstance(parts, list) else []
    return tuple(dict.fromkeys(t for t in texts if t and t.casefold() != "none"))[:most]


class _KeyTwiceError(ValueError):
    pass


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        key = key.strip().casefold()
        if found.setdefault(key, value) != value:
            raise _KeyTwiceError
    return found
