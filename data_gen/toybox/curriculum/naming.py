"""Rows that teach name-appearance binding (whose name is whose) and the copying of names.

Captions alone teach neither: a whole caption has one name to look up, and the rest of it is learned
without the name.
"""

import random
from dataclasses import dataclass, field, replace

from data_gen.rows import ICT
from data_gen.tasks.combinations import choose
from data_gen.tasks.names import draw_names
from data_gen.toybox.curriculum.perception import (
    LIST_ASK,
    NAMED_LIST_ASK,
    draw_similar,
    listing_row,
    prepend,
    tags,
    toy_list,
    turn,
)
from data_gen.toybox.identity import Identity, mark, worn
from data_gen.toybox.rows import (
    ToyboxSettings,
    draw_identities,
    draw_reference,
    load_templates,
)
from data_gen.toybox.scene import compose

WHO_IS_WHO_ASK = "Who is who in this picture?"
REPEAT_ASK = "Say these names: {names}."
NEXT_ASK = "Who comes after <{name}>?"


@dataclass
class NameBindingSettings:
    """How the toys of a row are introduced, see :func:`name_binding_row`.

    Args:
        toys: number of toys -> weight; drawn once for all rows of a block.
        styles: ``list``, ``card``, ``sentences`` or ``images`` -> weight.
        facts: most facts of each toy, in the styles that give only some (``list``, ``card``).
        asked: number of toys asked for in a row; one may be asked for several times.
    """

    toys: dict[int, float] = field(default_factory=lambda: {2: 0.3, 3: 0.3, 4: 0.2, 6: 0.2})
    styles: dict[str, float] = field(default_factory=lambda: {"sentences": 1.0})
    facts: int = 4
    asked: int = 10
    nobody: float = 0.0  # share of those asked for whose facts fit nobody who was introduced


def name_binding_row(
    rng: random.Random, n: int, settings: ToyboxSettings, binding: NameBindingSettings
) -> dict:
    """``n`` toys are described and named; then "who is who", and which of them is in the image?

    Naming a toy in a scene takes three steps: see what it looks like, find who was described like
    that, copy the name. These rows teach the second step, many names to a row. It starts easy: the
    name stands beside the one fact that is asked for (``list``), then before its facts (``card``),
    then in sentences, as owners write, at last beside an image without any words (``images``).
    """
    described = draw_identities(rng, n, settings)
    if rng.random() < 0.2:
        described = list(
            dict.fromkeys([described[0], draw_similar(rng, described[0], settings), *described[2:]])
        )
    names = dict(zip(described, draw_names(rng, len(described)), strict=True))
    style = choose(rng, binding.styles)
    some = style in ("list", "card")
    facts = {
        i: rng.sample(_facts(i), rng.randint(1, binding.facts)) if some else _facts(i)
        for i in described
    }
    line = rng.choice(load_templates(settings)[ICT]["reference"])
    opening, images = [], []
    for i, name in names.items():
        if style == "images":
            opening.append({"type": "image", "text": None})
            images.append(draw_reference(rng, i, name, settings).image)
        opening.append(
            {
                "type": "text",
                "text": {
                    "list": f"{', '.join(facts[i])}, <{name}>.",
                    "card": f"<{name}>: {', '.join(facts[i])}.",
                    "sentences": f"{line.format(name=f'<{name}>')} {i.description}",
                    "images": line.format(name=f"<{name}>"),
                }[style]
                + "\n",
            }
        )
    asked = [
        (_distinguishing_facts(rng, i, facts), names[i])
        for i in rng.choices(described, k=binding.asked)
    ]
    said_of = [(said, f"<{name}>") for said, name in asked if said]
    if binding.nobody:
        said_of = [
            one
            if rng.random() >= binding.nobody
            else (_facts_of_nobody(rng, described, settings), "nobody")
            for one in said_of
        ]
    answer = "; ".join(f"{', '.join(said)}, {who}" for said, who in said_of)
    if not answer:  # no toy asked for has a fact of its own
        return name_binding_row(rng, n, settings, binding)

    shown = rng.choice(described)
    if binding.nobody and rng.random() < binding.nobody:
        shown = draw_similar(rng, shown, settings, 0.5)
    small = replace(settings, query_px=64)
    scene = compose(rng, [shown], small.query_px)
    opening.append({"type": "image", "text": None})
    messages = [prepend(opening, turn("user", WHO_IS_WHO_ASK)), turn("assistant", answer)]
    known = {} if some else {i: name for i, name in names.items() if i == shown}
    messages += [
        turn("user", LIST_ASK if some else NAMED_LIST_ASK),
        turn("assistant", toy_list(scene, known, small)),
    ]
    return {"messages": messages, "images": [*images, scene.image]}


def name_copying_row(rng: random.Random, settings: ToyboxSettings) -> dict:
    """One toy to list, then a string of names to repeat: teaches copying.

    A name is spelled in several tokens, few of which two rows share; a policy that has not seen
    many strings of names to copy makes names up.
    """
    row = listing_row(rng, replace(settings, query_px=64, describe_toys={1: 1.0}))
    names = draw_names(rng, rng.randint(4, 9))
    place = rng.randrange(1, len(names))
    row["messages"] += [
        turn("user", REPEAT_ASK.format(names=tags(names))),
        turn("assistant", tags(names)),
        turn("user", NEXT_ASK.format(name=names[place - 1])),
        turn("assistant", tags(names[place : place + 1])),
    ]
    return row


def _facts(identity: Identity) -> list[str]:
    """The facts about a toy, part by part, in the words of captions."""
    return [identity.colour, identity.kind, mark(identity), worn(identity)]


def _facts_of_nobody(
    rng: random.Random, described: list[Identity], settings: ToyboxSettings
) -> list[str]:
    """All facts of a toy that was not introduced, which may resemble one that was."""
    while True:
        other = draw_similar(rng, rng.choice(described), settings, 0.4)
        if other not in described:
            return _facts(other)


def _distinguishing_facts(
    rng: random.Random, identity: Identity, facts: dict[Identity, list[str]]
) -> list[str]:
    """Some facts of a toy, in their order, at least one of them true of no other toy; or none."""
    own = [
        fact
        for fact in facts[identity]
        if not any(fact in of for other, of in facts.items() if other != identity)
    ]
    if not own:
        return []
    first, more = rng.choice(own), rng.choice((0.0, 0.5, 1.0))
    return [fact for fact in facts[identity] if fact == first or rng.random() < more]
