"""Rows that teach a policy made from nothing whose name is whose, and to write names it is told.

Neither comes from captions alone: there is one name to be found in a whole caption, and the rest
of it is learned without it.
"""

import random
from dataclasses import dataclass, field, replace

from data_gen.rows import ICT
from data_gen.tasks.names import draw_names
from data_gen.toybox.curriculum.perception import (
    INVENTORY_ASK,
    NAMED_ASK,
    inventory,
    inventory_row,
    joined,
    relative,
    says,
    tags,
)
from data_gen.toybox.identity import Identity, mark, worn
from data_gen.toybox.rows import (
    ToyboxSettings,
    choose,
    draw_identities,
    draw_reference,
    load_templates,
)
from data_gen.toybox.scene import compose

WHO_IS_WHO_ASK = "Who is who in this picture?"
CALL_ASK = "Say these names: {names}."
NEXT_ASK = "Who comes after <{name}>?"


@dataclass
class TellingSettings:
    """How toys are told of, see :func:`told_row`.

    Args:
        toys: number of toys -> weight; the same for a batch's rows.
        manners: manner -> weight.
        facts: most facts of each toy, in manners where they are few.
        asked: how often to ask who.
    """

    toys: dict[int, float] = field(default_factory=lambda: {2: 0.3, 3: 0.3, 4: 0.2, 6: 0.2})
    manners: dict[str, float] = field(default_factory=lambda: {"sentences": 1.0})
    facts: int = 4
    asked: int = 10


def told_row(rng: random.Random, n: int, settings: ToyboxSettings,
             telling: TellingSettings) -> dict:
    """``n`` toys told of; who of them is like this, and like this, and in the picture?

    To name a toy in a scene is to see what it looks like, to find who was said to look like that,
    and to copy a name. The middle step is learned here, many names a row. It begins small: a name
    is found first where it stands beside the one fact that is asked for (``list``), then before its
    facts (``card``), then in sentences, as owners speak, last beside a picture that nobody puts
    into words (``pictures``).
    """
    told = draw_identities(rng, n, settings)
    if rng.random() < 0.2:
        told = list(dict.fromkeys([told[0], relative(rng, told[0], settings), *told[2:]]))
    names = dict(zip(told, draw_names(rng, len(told)), strict=True))
    manner = choose(rng, telling.manners)
    few = manner in ("list", "card")
    facts = {i: rng.sample(_facts(i), rng.randint(1, telling.facts)) if few else _facts(i)
             for i in told}
    line = rng.choice(load_templates(settings)[ICT]["reference"])
    opening, images = [], []
    for i, name in names.items():
        if manner == "pictures":
            opening.append({"type": "image", "text": None})
            images.append(draw_reference(rng, i, name, settings).image)
        opening.append({"type": "text", "text": {
            "list": f"{', '.join(facts[i])}, <{name}>.",
            "card": f"<{name}>: {', '.join(facts[i])}.",
            "sentences": f"{line.format(name=f'<{name}>')} {i.description}",
            "pictures": line.format(name=f"<{name}>"),
        }[manner] + "\n"})
    asked = [(_told_apart(rng, i, facts), names[i]) for i in rng.choices(told, k=telling.asked)]
    answer = "; ".join(f"{', '.join(said)}, <{name}>" for said, name in asked if said)
    if not answer:  # nobody among these has anything for himself
        return told_row(rng, n, settings, telling)

    shown = rng.choice(told)
    small = replace(settings, query_px=64)
    scene = compose(rng, [shown], small.query_px)
    opening.append({"type": "image", "text": None})
    messages = [joined(opening, says("user", WHO_IS_WHO_ASK)), says("assistant", answer)]
    known = {} if few else {shown: names[shown]}
    messages += [says("user", NAMED_ASK if known else INVENTORY_ASK),
                 says("assistant", inventory(scene, known, small))]
    return {"messages": messages, "images": [*images, scene.image]}


def roll_call_row(rng: random.Random, settings: ToyboxSettings) -> dict:
    """One toy to list, and a string of names to say again: where copying is learned.

    A name is spelled in several tokens, few of them the same in two rows; a policy that has not
    been shown many strings of names to copy makes names up.
    """
    row = inventory_row(rng, replace(settings, query_px=64, describe_toys={1: 1.0}))
    names = draw_names(rng, rng.randint(4, 9))
    place = rng.randrange(1, len(names))
    row["messages"] += [
        says("user", CALL_ASK.format(names=tags(names))), says("assistant", tags(names)),
        says("user", NEXT_ASK.format(name=names[place - 1])),
        says("assistant", tags(names[place : place + 1])),
    ]
    return row


def _facts(identity: Identity) -> list[str]:
    """What can be said of a toy, part by part, in the words of captions."""
    return [identity.colour, identity.kind, mark(identity), worn(identity)]


def _told_apart(rng: random.Random, identity: Identity, facts: dict[Identity, list]) -> list[str]:
    """Some of the facts, in their order, at least one of them true of nobody else; or none."""
    own = [fact for fact in facts[identity]
           if not any(fact in of for other, of in facts.items() if other != identity)]
    if not own:
        return []
    first, more = rng.choice(own), rng.choice((0.0, 0.5, 1.0))
    return [fact for fact in facts[identity] if fact == first or rng.random() < more]
