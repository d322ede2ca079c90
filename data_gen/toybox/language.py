"""Write true captions of a scene, in three lengths and three voices, with or without names.

A name comes after the appearance of its toy: a model that writes from left to right has then
written down what to look for among the references. Every sentence is true of the scene.
:func:`read_caption` is the inverse: it reads from a caption what it claims about each toy, so that
captions can be scored attribute by attribute. :func:`read_descriptions` also reads which names
stand on what is described, in the order of this module's captions and in that of others.
"""

import random
import re
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass

from data_gen.toybox.draw import Placed
from data_gen.toybox.identity import (
    ACCESSORIES,
    CATEGORY_FACTS,
    COLOURS,
    KINDS,
    MARKS,
    mark,
    worn,
)
from data_gen.toybox.scene import Scene
from rewards.names import Mention, find_mentions
from rewards.unicode_text import normalise

LENGTHS = ("short", "medium", "long")
VOICES = ("plain", "spoken", "story")
COUNTS = {1: "one toy", 2: "two toys", 3: "three toys", 4: "four toys"}

OPENERS = {
    "plain": "The picture shows {count}.",
    "spoken": "I can see {count} here.",
    "story": "Look, {count} came to play.",
}
STANDS = {"plain": "stands", "spoken": "is standing", "story": "waits"}
GROUND_WORDS = {
    "plain": "plain",
    "gradient": "shaded from top to bottom",
    "dotted": "covered with dots",
    "lined": "covered with lines",
    "cluttered": "full of small things",
}
STYLE_WORDS = {
    "flat": "in flat colours",
    "outlined": "with dark outlines",
    "shaded": "with soft shades",
    "crayon": "with crayons",
}


def caption(
    rng: random.Random,
    scene: Scene,
    names: list[str | None],
    length: str,
    voice: str | None = None,
) -> str:
    """A caption of the scene.

    Args:
        names: for each toy of the scene its bare name, written ``<bo>``, or ``None`` to describe
            it without one.
        length: ``short`` (a phrase per toy), ``medium`` (a sentence per toy) or ``long``
            (everything known; 100 tokens or more for the shipped tokenizer).
        voice: ``plain``, ``spoken`` or ``story``; drawn at random when ``None``.
    """
    voice = voice or rng.choice(VOICES)
    pairs = list(zip(scene.toys, names, strict=True))
    if length == "short":
        phrases = [
            f"a {toy.identity.colour} {toy.identity.kind}" + (f", <{name}>" if name else "")
            for toy, name in pairs
        ]
        said = _and(phrases)
        return _sentence(
            {
                "plain": f"{said}.",
                "spoken": f"I see {said}.",
                "story": f"Here come {said}." if len(pairs) > 1 else f"Here comes {said}.",
            }[voice]
        )
    opener = OPENERS[voice].format(count=COUNTS[len(pairs)])
    if length == "medium":
        return " ".join([*(_one_sentence(toy, name, voice) for toy, name in pairs), _wall(scene)])
    sentences = [opener]
    for toy, name in pairs:
        if len(pairs) >= 3:
            sentences.append(_one_sentence(toy, name, voice))
        else:
            sentences += _paragraph(toy, name, voice, full=len(pairs) == 1)
    sentences += [_wall(scene), _light(scene), _style(scene), _hidden(scene)]
    sentences.append(
        "No other toy is in the picture."
        if len(pairs) == 1
        else "That is all there is to see in this picture."
    )
    return " ".join(sentences)


def read_caption(text: str) -> list[dict[str, str]]:
    """What a caption claims: one ``{attribute: value}`` per toy it describes, in its order.

    A toy begins where a kind follows a colour; marks and accessories belong to the toy that began
    last. Text that claims nothing gives ``[]``; no text raises.
    """
    toys: list[dict[str, str]] = []
    for match in _CLAIM.finditer(text.lower()):
        _take(match, toys)
    return toys


@dataclass(frozen=True)
class Description:
    """What a caption claims about a toy, as in :func:`read_caption`, and the names that it puts
    there; an unlisted tag is one, too (:class:`rewards.names.Mention`)."""

    attributes: dict[str, str]
    names: frozenset[str]


def read_descriptions(text: str, names: Iterable[str]) -> list[Description]:
    """The toys that a caption describes, in its order, and which names stand on which.

    Names in a row (``<bo> and <zuri>``) stand on one toy. They stand on

    1. the toy described before them, if it has no name yet and they are set off after it or said of
       it: ``a red cat, <bo>, waits``, ``A red cat waits. It is <bo>.``;
    2. else the toy described after them, if nothing but an article and *is* lies between:
       ``<bo>, a red cat``, ``<bo> is a red cat``, ``<bo> waits. It is a red cat.``;
    3. else the toy described before them in the same sentence, or in the one that the sentence
       refers to (``It ...``), unless as a neighbour: ``a red cat next to <bo>``;
    4. else on none: ``<bo> stands on the left.``

    Names in a row between two toys, ``a red cat, <bo>, <zuri>, a blue dog``, stand on one each: the
    first on the toy before, the others on the toy after. Not read: names by turns (``a red cat and
    a blue dog, <bo> and <zuri>``) and toys by less than colour and kind (``the cat is <bo>``).

    Args:
        text: any string; its claims are those of :func:`read_caption`, but for what stands in
            names.
        names: bare names that may be written with or without their tag.
    """
    text, mentions = _without_names(normalise(text), names)
    toys: list[dict[str, str]] = []
    on: list[set[str]] = []
    waiting: set[str] = set()  # names of the toy that is described next
    read_to = 0
    claims = list(_CLAIM.finditer(text))
    begins = [claim.start() for claim in claims if claim.group(2) in KINDS]
    items = [(c.start(), c.end(), c) for c in claims] + _in_rows(mentions, text)
    for start, end, item in sorted(items, key=lambda item: item[0]):
        if isinstance(item, re.Match):
            if _take(item, toys):
                on.append(waiting)
                waiting = set()
            read_to = end
            continue
        since = text[max(read_to, start - _FAR) : start]
        said = bool(toys) and (not _END.search(since) or bool(_REFERS.search(since)))
        after = bisect_left(begins, end)
        leads_on = after < len(begins) and bool(_LEADS_ON.fullmatch(text, end, begins[after]))
        if said and not on[-1] and _SET_OFF.search(since):
            on[-1].update(item[:1] if leads_on else item)
            waiting.update(item[1:] if leads_on else ())
        elif leads_on:
            waiting.update(item)
        elif said and not _NEIGHBOUR.search(since):
            on[-1].update(item)
    return [Description(toy, frozenset(n)) for toy, n in zip(toys, on, strict=True)]


_PATTERN_OF = {noun.removeprefix("a "): pattern for pattern, noun in MARKS.items()}
_CLAIM = re.compile(
    rf"\b({'|'.join(COLOURS)}) ({'|'.join([*KINDS, *ACCESSORIES, *_PATTERN_OF])})\b"
)
_FAR = 200  # characters; what is said further away is not connected
_END = re.compile(r"[.!?;\n]")
_REFERS = re.compile(r"[.!?;\n]\s*(?:it|he|she|this|that|its|his|her)\b[^.!?;\n]*\Z")
_SET_OFF = re.compile(r"(?:\A|[,(:–—-]|\b(?:is|was|'s|called|named))[\s\"'*]*\Z")
_NEIGHBOUR = re.compile(r"\b(?:and|with|near|by|to|beside|behind|before|above|below|on|at)\s*\Z")
_ARTICLE = r"(?:an?|the|my|your|our)(?: [\w-]+){0,2} "
_LEADS_ON = re.compile(
    rf"[ ,:(*\"'–—-]{{0,4}}(?:(?:who|which|that) )?(?:'?(?:s|is|was) )?(?:{_ARTICLE})?"
    rf"|[^.!?;\n\0]{{0,{_FAR}}}\b(?<!there )(?:is|was) {_ARTICLE}"
    rf"|[^.!?;\n\0]{{0,{_FAR}}}[.!?;\n]\s{{1,4}}(?:it|he|she|this|that)(?:'s| is| was) {_ARTICLE}"
)
_TOGETHER = re.compile(r"[ ,/&+|()\"'*-]{0,4}(?:(?:and|or|alias|aka|also)[ ,]{0,4})?")


def _take(claim: re.Match[str], toys: list[dict[str, str]]) -> bool:
    """Add a claim to the toys described so far; whether it begins another."""
    colour, noun = claim.group(1), claim.group(2)
    if noun in KINDS:
        toys.append({"kind": noun, "colour": colour})
        return True
    if toys and noun in ACCESSORIES:
        toys[-1].setdefault("accessory", noun)
        toys[-1].setdefault("accessory_colour", colour)
    elif toys:
        toys[-1].setdefault("pattern", _PATTERN_OF[noun])
        toys[-1].setdefault("second", colour)
    return False


def _without_names(text: str, names: Iterable[str]) -> tuple[str, list[Mention]]:
    """A normalised text in lower case and of the same length, with NUL for each character of a name
    (``<red bear>`` describes nobody, ``<St. Bo>`` ends no sentence); and where the names are."""
    mentions = find_mentions(text, names)
    kept, end = [], 0
    for mention in mentions:
        kept += [text[end : mention.start], "\0" * (mention.end - max(mention.start, end))]
        end = max(end, mention.end)
    # Only this letter becomes longer in lower case.
    return "".join([*kept, text[end:]]).replace("\u0130", "i").lower(), mentions


def _in_rows(mentions: list[Mention], text: str) -> list[tuple[int, int, list[str]]]:
    """Start, end and names of each row of names with nothing but a comma or *and* between them."""
    rows: list[tuple[int, int, list[str]]] = []
    for mention in mentions:
        names = [mention.name]
        start = mention.start
        if rows and _TOGETHER.fullmatch(text, rows[-1][1], max(start, rows[-1][1])):
            start, _, names = rows.pop()
            names.append(mention.name)
        rows.append((start, mention.end, names))
    return rows


def _one_sentence(toy: Placed, name: str | None, voice: str) -> str:
    i = toy.identity
    phrase = f"a {i.colour} {i.kind} with {mark(i)} and {worn(i)}"
    place = f"{STANDS[voice]} {place_of(toy)}"
    return _sentence(f"{phrase}, <{name}>, {place}." if name else f"{phrase} {place}.")


def _paragraph(toy: Placed, name: str | None, voice: str, full: bool) -> list[str]:
    i = toy.identity
    who = f"<{name}>" if name else "it"
    verb = "holds" if i.accessory == "balloon" else "wears"
    sentences = [
        f"there is a {i.colour} {i.kind}.",
        f"it has {mark(i)} on its belly.",
        f"it {verb} {worn(i)}.",
        *([f"it is <{name}>."] if name else []),
        f"{who} {STANDS[voice]} {place_of(toy)} and {_lean(toy)}.",
    ]
    if full:
        sentences += [
            f"like every {i.kind}, {who} has {CATEGORY_FACTS[i.kind]}.",
            f"{who} looks {size_of(toy)}, and all of its body is {i.colour}.",
        ]
    return [_sentence(s) for s in sentences]


def place_of(toy: Placed) -> str:
    """``on the left``, ``in the middle`` or ``on the right``."""
    return "on the left" if toy.x < 0.4 else "on the right" if toy.x > 0.6 else "in the middle"


def _lean(toy: Placed) -> str:
    if abs(toy.angle) < 8:
        return "keeps upright"
    return "leans to the right" if toy.angle > 0 else "leans to the left"


def size_of(toy: Placed) -> str:
    """``big``, ``small`` or ``neither big nor small``."""
    return "big" if toy.height > 0.6 else "small" if toy.height < 0.4 else "neither big nor small"


def _wall(scene: Scene) -> str:
    return f"The wall behind is {scene.stage.wall} and {GROUND_WORDS[scene.stage.ground]}."


def _light(scene: Scene) -> str:
    return f"The light is {scene.stage.light} and {scene.stage.cast}."


def _style(scene: Scene) -> str:
    return f"It is all drawn {STYLE_WORDS[scene.stage.style]}."


def _hidden(scene: Scene) -> str:
    n = sum(toy.hidden != 0 for toy in scene.toys)
    if n == 0:
        return "Nothing stands in front."
    return "A wooden block stands in front." if n == 1 else "Wooden blocks stand in front."


def _and(phrases: list[str]) -> str:
    return phrases[0] if len(phrases) == 1 else ", ".join(phrases[:-1]) + " and " + phrases[-1]


def _sentence(text: str) -> str:
    """Articles agree with what follows; the first letter is a capital (a name keeps its own)."""
    text = re.sub(r"\ba (?=orange|owl|elephant)", "an ", text)
    return text if text.startswith("<") else text[0].upper() + text[1:]
