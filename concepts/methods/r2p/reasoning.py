"""Which of several descriptions fits an image: reading what a policy reasoned, attribute by
attribute."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from string import ascii_uppercase
from typing import Any

from concepts.methods.r2p.fingerprints import without_article
from concepts.methods.r2p.replies import UnreadableReply, plain_text, plain_texts, read_object

MOST_OPTIONS = 10
"""Options have the letters A to J."""

MOST_ATTRIBUTES = 10
"""Attributes per option that are verified."""

LETTERS = ascii_uppercase[:MOST_OPTIONS]

ANSWER = "answer"

_LETTER = re.compile(r"\W*(?:option\W+)?([a-z])(?:\W*|[.):]\s.*)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class Choice:
    """What a policy reasoned about N options.

    Attributes:
        option: the one that it answers, 0 to N - 1.
        shared: for each option, the attributes that it found both there and in the image.
    """

    option: int
    shared: tuple[tuple[str, ...], ...]


def read_choice(reply: str, names: Sequence[str]) -> Choice:
    """The answer of a policy to N options, and its reasons.

    Args:
        reply: a JSON object with ``Answer`` (a letter, or an option's name) and, for each letter,
            the shared attributes, ``None`` where there are none.
        names: the options' names, bare.

    Raises:
        UnreadableReply: it holds no such object, or answers with none of the options.
    """
    said = read_object(reply, ANSWER)
    shared = tuple(
        plain_texts(said.get(letter.casefold()), MOST_ATTRIBUTES)
        for letter, _ in zip(LETTERS, names, strict=False)
    )
    return Choice(_option(said[ANSWER], names), shared)


def consistent(choice: Choice, descriptions: Sequence[Sequence[str]]) -> Choice:
    """A choice held to its own words. What it found in the image for one option is shared by every
    option whose description has it, and by no other; the option that shares most is the answer. Of
    several that do, the one that was answered is, or else the first.

    Small policies see rightly what an image shows, and then write it down for the option that they
    prefer, whatever its description says.

    Args:
        descriptions: of the N options, as attributes.
    """
    seen = dict.fromkeys(attribute for of in choice.shared for attribute in of)
    shared = tuple(
        tuple(attribute for attribute in seen if _has(description, attribute))
        for description in descriptions
    )
    most = max(map(len, shared))
    best = [option for option, of in enumerate(shared) if len(of) == most]
    kept = not most or choice.option in best
    return replace(choice, shared=shared, option=choice.option if kept else best[0])


def _has(description: Sequence[str], attribute: str) -> bool:
    """Whether one attribute of a description has all the words of ``attribute``."""
    words = set(without_article(attribute).casefold().split())
    return any(words <= set(described.casefold().split()) for described in description)


def _option(answer: Any, names: Sequence[str]) -> int:
    text = plain_text(answer)
    by_name = [
        i for i, name in enumerate(names) if text.strip(" .<>").casefold() == name.casefold()
    ]
    if len(by_name) == 1:
        return by_name[0]
    letter = _LETTER.fullmatch(text)
    if not letter:
        raise UnreadableReply("an answer that is no letter")
    option = ascii_uppercase.index(letter[1].upper())
    if option >= len(names):
        raise UnreadableReply("a letter that is no option")
    return option
