"""Rows about what a toy is: fingerprints, traits, choices, comparisons, and the look of a picture.

What the methods of ``concepts/methods`` ask of a policy, each from the truth: a fingerprint in JSON
(R2P, arXiv 2503.18623), questions about a toy's traits from its picture, from its owner's words, or
from both (Yo'LLaVA, arXiv 2406.09400; MyVLM, arXiv 2403.14599), one of several options with and
without reasons, where and how a toy is in a picture, and the look of a picture (PreferThinker,
arXiv 2511.00609).
"""

import json
import random
from dataclasses import dataclass, field

from data_gen.rows import ICT
from data_gen.tasks.combinations import choose
from data_gen.tasks.names import draw_names
from data_gen.toybox.curriculum.perception import (
    Question,
    draw_similar,
    prepend,
    profile,
    toy_list,
    turn,
)
from data_gen.toybox.draw import Placed
from data_gen.toybox.identity import (
    ACCESSORIES,
    COLOURS,
    KINDS,
    PATTERNS,
    Identity,
    mark,
    worn,
)
from data_gen.toybox.language import COUNTS, GROUND_WORDS, place_of, size_of
from data_gen.toybox.looks import ELEMENTS, Look, draw_look
from data_gen.toybox.rows import (
    ToyboxSettings,
    draw_identities,
    draw_reference,
    load_templates,
)
from data_gen.toybox.scene import Scene, compose

FINGERPRINT_ASK = "Write the fingerprint of <{name}> as JSON."
LOOK_ASK = "What does this picture look like?"
OPTIONS_ASK = "Which of these is it?"
REASONS_ASK = "Compare each with the picture, then answer, as JSON."
LETTERS = "ABCDEFGH"

TRAITS = {
    "colour": ("What colour is <{name}>?", "Which colour does <{name}> have?"),
    "kind": ("What is <{name}>?", "What kind of toy is <{name}>?"),
    "mark": ("What is on the belly of <{name}>?", "What pattern does <{name}> have?"),
    "worn": ("What does <{name}> wear?", "What does <{name}> have on or with it?"),
}
"""Trait -> how it is asked for; answers are the words of captions."""


@dataclass
class KnowledgeSettings:
    """What a :func:`knowledge_row` asks.

    Args:
        kinds: ``fingerprint``, ``traits`` (of toys introduced by a picture, by words or by both),
            ``options`` (which description fits the picture), ``scene`` (where toys are and how
            large) or ``look`` -> weight; drawn once for all rows of a block.
        toys: number of toys introduced -> weight (``traits``, ``options``).
        worded: share of toys introduced by their owner's words (``traits``); the others by a
            picture.
        questions: most of them in a row.
        similar: share of wrong options that share attributes with the toy; the others are any toy.
        hard: of these, those that differ in one attribute only; ``None``: a third.
    """

    kinds: dict[str, float] = field(
        default_factory=lambda: {
            "fingerprint": 0.2,
            "traits": 0.3,
            "options": 0.2,
            "scene": 0.15,
            "look": 0.15,
        }
    )
    toys: dict[int, float] = field(default_factory=lambda: {1: 0.4, 2: 0.3, 3: 0.3})
    worded: float = 0.4
    questions: int = 6
    similar: float = 0.7
    hard: float | None = None


def knowledge_row(
    rng: random.Random, kind: str, n: int, settings: ToyboxSettings, knowledge: KnowledgeSettings
) -> dict:
    """A row of one kind about ``n`` toys, with its questions and true answers."""
    if kind == "fingerprint":
        return _fingerprint_row(rng, settings)
    if kind == "traits":
        return _traits_row(rng, n, settings, knowledge)
    if kind == "options":
        return _options_row(rng, n, settings, knowledge)
    if kind == "scene":
        return _scene_row(rng, settings, knowledge)
    return _look_row(rng, settings)


def fingerprint(identity: Identity, name: str) -> str:
    """The fingerprint of a toy as JSON: ``general``, ``category``, ``distinct features``."""
    article = "an" if identity.colour[0] in "aeiou" else "a"
    return json.dumps(
        {
            "general": f"<{name}> is {article} {identity.colour} {identity.kind}.",
            "category": identity.kind,
            "distinct features": identity.features,
        }
    )


def trait(identity: Identity, which: str) -> str:
    """The answer to a question of :data:`TRAITS`."""
    return {
        "colour": identity.colour,
        "kind": _with_article(identity.kind),
        "mark": mark(identity),
        "worn": worn(identity),
    }[which]


def look_text(look: Look) -> str:
    """``art style: cartoon; colour: golden; ...``"""
    values = zip(ELEMENTS, look.terms, strict=True)
    return "; ".join(f"{name.replace('_', ' ')}: {value}" for name, value in values)


def matching_features(described: Identity, shown: Identity) -> str:
    """Those facts of a described toy that the shown one shares, ``None`` where there are none."""
    facts = zip(_facts(described), _facts(shown), strict=True)
    return ", ".join(a for a, b in facts if a == b) or "None"


def option_reasons(described: list[Identity], shown: Identity, answer: str) -> str:
    """What each option shares with the picture, then the answer, as JSON."""
    shared = {
        letter: matching_features(d, shown) for letter, d in zip(LETTERS, described, strict=False)
    }
    return json.dumps({**shared, "Reasoning": f"It is a {profile(shown)}.", "Answer": answer})


def _fingerprint_row(rng: random.Random, settings: ToyboxSettings) -> dict:
    (identity,) = draw_identities(rng, 1, settings)
    (name,) = draw_names(rng, 1)
    view = draw_reference(rng, identity, name, settings)
    line = rng.choice(load_templates(settings)[ICT]["reference"]).format(name=f"<{name}>")
    opening = [{"type": "image", "text": None}, {"type": "text", "text": f"{line}\n"}]
    return {
        "messages": [
            prepend(opening, turn("user", FINGERPRINT_ASK.format(name=name))),
            turn("assistant", fingerprint(identity, name)),
        ],
        "images": [view.image],
    }


def _traits_row(
    rng: random.Random, n: int, settings: ToyboxSettings, knowledge: KnowledgeSettings
) -> dict:
    toys = draw_identities(rng, n, settings)
    names = dict(zip(toys, draw_names(rng, n), strict=True))
    line = rng.choice(load_templates(settings)[ICT]["reference"])
    opening, images = [], []
    for identity, name in names.items():
        said = line.format(name=f"<{name}>")
        if rng.random() < knowledge.worded:
            said += f" {identity.description}"
        else:
            opening.append({"type": "image", "text": None})
            images.append(draw_reference(rng, identity, name, settings).image)
        opening.append({"type": "text", "text": said + "\n"})
    asked = [(identity, which) for identity in toys for which in TRAITS]
    rng.shuffle(asked)
    questions = [
        _trait_question(rng, identity, names[identity], which)
        for identity, which in asked[: knowledge.questions]
    ]
    return _row(opening, questions, images)


def _trait_question(rng: random.Random, identity: Identity, name: str, which: str) -> Question:
    """An open question, one with two options in words, or one with two letters."""
    asked, answer = rng.choice(TRAITS[which]).format(name=name), trait(identity, which)
    form = rng.choice(("open", "open", "words", "letters"))
    if form == "open":
        return asked, answer
    options = [answer, _other_answer(rng, identity, which)]
    rng.shuffle(options)
    if form == "words":
        return f"{asked[:-1]}, {options[0]} or {options[1]}?", answer
    listed = " ".join(f"{letter}. {o}" for letter, o in zip("AB", options, strict=True))
    return f"{asked} {listed} Answer with the letter.", "AB"[options.index(answer)]


def _other_answer(rng: random.Random, identity: Identity, which: str) -> str:
    """An answer to the same question that is wrong."""
    while True:
        other = Identity(
            rng.choice(KINDS),
            rng.choice(COLOURS),
            rng.choice(PATTERNS),
            rng.choice(COLOURS),
            rng.choice(ACCESSORIES),
            rng.choice(COLOURS),
        )
        if trait(other, which) != trait(identity, which):
            return trait(other, which)


def _options_row(
    rng: random.Random, n: int, settings: ToyboxSettings, knowledge: KnowledgeSettings
) -> dict:
    """``n`` + 1 descriptions, one picture: which description fits, in a letter or with reasons."""
    (shown,) = draw_identities(rng, 1, settings)
    described = [shown]
    while len(described) < n + 1:
        other = (
            draw_similar(rng, shown, settings, knowledge.hard)
            if rng.random() < knowledge.similar
            else draw_identities(rng, 1, settings)[0]
        )
        if other not in described:
            described.append(other)
    rng.shuffle(described)
    answer = LETTERS[described.index(shown)]
    listed = "".join(
        f"{letter}. {', '.join(_facts(d))}\n" for letter, d in zip(LETTERS, described, strict=False)
    )
    picture = compose(rng, [shown], rng.choice((settings.reference_px, settings.query_px)))
    opening = [{"type": "text", "text": listed}, {"type": "image", "text": None}]
    questions = [
        (f"{OPTIONS_ASK} {REASONS_ASK}", option_reasons(described, shown, answer)),
        (f"{OPTIONS_ASK} Answer with the letter.", answer),
    ]
    if rng.random() < 0.5:
        questions = questions[::-1]
    return _row(opening, questions, [picture.image])


def _scene_row(rng: random.Random, settings: ToyboxSettings, knowledge: KnowledgeSettings) -> dict:
    """Where and how toys are in a picture that nobody introduced."""
    toys = draw_identities(rng, choose(rng, settings.describe_toys), settings)
    scene = compose(rng, toys, settings.query_px)
    questions: list[Question] = [
        ("How many toys are there?", COUNTS[len(scene.toys)]),
        ("What is the wall like?", f"{scene.stage.wall} and {GROUND_WORDS[scene.stage.ground]}"),
        ("What is the light like?", f"{scene.stage.light} and {scene.stage.cast}"),
    ]
    for toy in scene.toys:
        questions += _toy_questions(toy, scene)
    rng.shuffle(questions)
    opening = [{"type": "image", "text": None}]
    return _row(opening, questions[: knowledge.questions], [scene.image])


def _toy_questions(toy: Placed, scene: Scene) -> list[Question]:
    identity = toy.identity
    the = f"the {identity.colour} {identity.kind}"
    alike = [
        t
        for t in scene.toys
        if (t.identity.colour, t.identity.kind) == (identity.colour, identity.kind)
    ]
    if len(alike) > 1:
        return []
    return [
        (f"Where is {the}?", place_of(toy)),
        (f"How large is {the}?", size_of(toy)),
        (f"What does {the} wear?", worn(identity)),
        (f"What is on the belly of {the}?", mark(identity)),
    ]


def _look_row(rng: random.Random, settings: ToyboxSettings) -> dict:
    """A picture in a random look: the look, and mostly the toys too."""
    look = draw_look(rng)
    size = rng.choice((settings.reference_px, settings.query_px))
    toys = draw_identities(rng, rng.choice((1, 2)), settings)
    scene = compose(rng, toys, size, look)
    questions: list[Question] = [(LOOK_ASK, look_text(look))]
    if rng.random() < 0.5:
        questions.append(("List the toys.", toy_list(scene, {}, settings)))
        rng.shuffle(questions)
    return _row([{"type": "image", "text": None}], questions, [scene.image])


def _facts(identity: Identity) -> list[str]:
    return [f"{identity.colour} {identity.kind}", mark(identity), worn(identity)]


def _with_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _row(opening: list[dict], questions: list[Question], images: list) -> dict:
    messages = []
    for question, answer in questions:
        messages += [turn("user", question), turn("assistant", answer)]
    prepend(opening, messages[0])
    return {"messages": messages, "images": images}
