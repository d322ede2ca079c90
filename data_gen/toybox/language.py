"""Write true captions of a scene, in three lengths and three voices, with or without names.

A name comes after the appearance of its toy: a model that writes from left to right has then
written down what to look for among the references. Every sentence is true of the scene.
:func:`read_caption` is the inverse: it reads from a caption what it claims about each toy, so that
captions can be scored attribute by attribute.
"""

import random
import re

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
        colour, noun = match.group(1), match.group(2)
        if noun in KINDS:
            toys.append({"kind": noun, "colour": colour})
        elif toys and noun in ACCESSORIES:
            toys[-1].setdefault("accessory", noun)
            toys[-1].setdefault("accessory_colour", colour)
        elif toys:
            toys[-1].setdefault("pattern", _PATTERN_OF[noun])
            toys[-1].setdefault("second", colour)
    return toys


_PATTERN_OF = {noun.removeprefix("a "): pattern for pattern, noun in MARKS.items()}
_CLAIM = re.compile(
    rf"\b({'|'.join(COLOURS)}) ({'|'.join([*KINDS, *ACCESSORIES, *_PATTERN_OF])})\b"
)


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
