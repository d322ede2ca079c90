"""A fingerprint: what a concept is, and what tells it from others of its category, in words."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from concepts.concept import Concept
from concepts.methods.r2p.replies import UnreadableReply, plain_text, plain_texts, read_object

GENERAL, CATEGORY, FEATURES = "general", "category", "distinct features"
"""Keys of the JSON that a policy writes."""

MOST_FEATURES = 12

_ARTICLE = re.compile(r"(?:an?|the)(?:\s+|$)", re.IGNORECASE)
_TAG = re.compile(r"<([^<>]*)>")


@dataclass(frozen=True)
class Fingerprint:
    """A concept in words. It holds no name, so it stays good when the concept is renamed.

    Attributes:
        general: what it is, a noun phrase without article: ``red dog``.
        category: ``dog``; empty where unknown.
        features: what distinguishes it: ``white stripes``.
    """

    general: str
    category: str = ""
    features: tuple[str, ...] = ()

    def shown(self, leave_out: Iterable[str] = ()) -> tuple[str, ...]:
        """The features without those that hold one of the words ``leave_out``."""
        words = set(leave_out)
        return tuple(f for f in self.features if not words & set(f.casefold().split()))


def read_fingerprint(reply: str, name: str, category: str = "") -> Fingerprint:
    """The fingerprint that a policy wrote of the concept ``name``.

    Args:
        reply: a JSON object with a general sentence, a category and the distinct features (a list,
            or a text with commas). Further texts, such as ``pattern``, count as features.
        name: bare.
        category: the one that the concept's owner gave, which wins.

    Raises:
        UnreadableReply: it is none.
    """
    said = read_object(reply, GENERAL, CATEGORY, FEATURES)
    general = noun_phrase(plain_text(said[GENERAL]), name)
    if not general:
        raise UnreadableReply(f"JSON without {GENERAL!r}")
    features = plain_texts(said[FEATURES], MOST_FEATURES)
    if not features:
        raise UnreadableReply(f"JSON without {FEATURES!r}")
    more = [
        f"{key}: {text}"
        for key, value in said.items()
        if key not in (GENERAL, CATEGORY, FEATURES)
        and (text := plain_text(value))
        and text.casefold() != "none"
    ]
    return Fingerprint(
        general,
        category or without_tags(plain_text(said[CATEGORY])),
        tuple(without_tags(f) for f in (*features, *more))[:MOST_FEATURES],
    )


def owners_words(concept: Concept) -> Fingerprint:
    """What a concept's owner says of it, in the place of a fingerprint that could not be read."""
    general = noun_phrase(plain_text(concept.info), concept.name) or concept.category
    return Fingerprint(general, concept.category, tuple(concept.attributes)[:MOST_FEATURES])


def noun_phrase(sentence: str, name: str) -> str:
    """``<bo> is a red dog.`` -> ``red dog``; other sentences lose their tags alone."""
    # A policy may miswrite the name, and still say the rest rightly.
    start = re.compile(
        rf"(?:<[^<>]*>|{re.escape(name)}|it)\s*(?:is\b|:|$)\s*", re.IGNORECASE
    ).match(sentence)
    rest = sentence[start.end() :] if start else sentence
    return without_article(without_tags(rest).strip(" ."))


def without_article(phrase: str) -> str:
    """``a red hat`` -> ``red hat``."""
    article = _ARTICLE.match(phrase)
    return phrase[article.end() :] if article else phrase


def without_tags(text: str) -> str:
    """A text without angle brackets: a tag that a policy wrote may be the name of another concept,
    or the place of an image."""
    return _TAG.sub(r"\1", text).replace("<", "").replace(">", "")
