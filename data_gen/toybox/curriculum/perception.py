"""Rows that teach a policy with random weights to see: lists of toys, and questions on references.

Most words of a caption say nothing about the image, and a yes or no is one bit. The answers here
are dense: nearly every token is a fact that has to be seen, and the image, the expensive part, is
encoded once for several questions.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from data_gen.rows import ICT, OCT, VLT
from data_gen.tasks.combinations import choose
from data_gen.tasks.names import draw_names
from data_gen.tasks.prompts import conversation
from data_gen.tasks.questions import Reference
from data_gen.toybox.identity import (
    ATTRIBUTES,
    Identity,
    hard_negative,
    is_held_out,
    is_legal,
    mark,
    worn,
)
from data_gen.toybox.rows import (
    ToyboxSettings,
    box_target,
    draw_identities,
    draw_reference,
    load_templates,
)
from data_gen.toybox.scene import Scene, compose

LIST_ASK = "List the toys."
NAMED_LIST_ASK = "List the toys and their names."
WHO_ASK = "Who is in this picture?"
NAMES_ASK = "Which names were you told?"
COMPARE_ASK = "Compare the toy with <{name}>."
EXPLAIN_ASK = "First say what either picture shows, then answer."
RECALL_ASK = "What is <{name}>?"

Question = tuple[str, str]
"""A question and its answer."""


@dataclass
class PerceptionSettings:
    """What a :func:`perception_row` shows and asks. Shares are probabilities in 0-1."""

    references: dict[int, float] = field(default_factory=lambda: {1: 0.5, 2: 0.4, 3: 0.1})
    unlisted: dict[int, float] = field(default_factory=lambda: {0: 0.5, 1: 0.3, 2: 0.2})
    present: float = 0.5  # references that are in the query
    similar: float = 0.25  # ... that have a similar toy there instead; the others have neither
    questions: int = 5  # at most, of all that could be asked
    names_first: float = 0.0  # rows that begin by asking for the names, before they occur elsewhere
    hard: float | None = None  # similar toys that differ in one attribute only; None: a third
    explained: bool = False  # ask for reasons before a yes or no, too
    explained_first: float = 0.0  # rows that begin with those questions

    def __post_init__(self):
        for name in ("references", "unlisted"):
            setattr(self, name, {int(k): float(v) for k, v in getattr(self, name).items()})


def listing_row(rng: random.Random, settings: ToyboxSettings) -> dict:
    """An image without references: list each toy's attributes and its box."""
    scene = compose(
        rng, draw_identities(rng, choose(rng, settings.describe_toys), settings), settings.query_px
    )
    ask = prepend([{"type": "image", "text": None}], turn("user", LIST_ASK))
    return {
        "messages": [ask, turn("assistant", toy_list(scene, {}, settings))],
        "images": [scene.image],
    }


def perception_row(
    rng: random.Random, n: int, settings: ToyboxSettings, perception: PerceptionSettings
) -> dict:
    """``n`` references, a query, and questions about them, those of OCT and VLT included."""
    shown = draw_identities(rng, n, settings)
    names = dict(zip(shown, draw_names(rng, n), strict=True))
    present, similar = perception.present, perception.similar
    fates = rng.choices(
        ("present", "similar", "absent"), (present, similar, 1 - present - similar), k=n
    )
    toys = [
        i if fate == "present" else draw_similar(rng, i, settings, perception.hard)
        for i, fate in zip(shown, fates, strict=True)
        if fate != "absent"
    ]
    unlisted = max(choose(rng, perception.unlisted), not toys)
    toys += draw_identities(rng, min(unlisted, 4 - len(toys)), settings, [*shown, *toys])
    scene = compose(rng, list(dict.fromkeys(toys)), settings.query_px)
    references = [draw_reference(rng, i, names[i], settings) for i in shown]

    # Half of the rows first ask who is present: yes or no is the hardest thing to learn, and must
    # be answered from the images, not from an earlier answer.
    about_presence, others = _questions(rng, scene, names, settings, perception)
    if rng.random() < 0.5:
        rng.shuffle(about_presence)
        rng.shuffle(others)
        questions = (about_presence + others)[: perception.questions]
    else:
        questions = about_presence + others
        rng.shuffle(questions)
        questions = questions[: perception.questions]
    if perception.explained_first and rng.random() < perception.explained_first:
        reasons = [q for q in about_presence + others if q[0].endswith(EXPLAIN_ASK)]
        rest = [q for q in questions if q not in reasons]
        questions = [*reasons, *rest][: perception.questions]
    if perception.names_first and rng.random() < perception.names_first:
        first = (NAMES_ASK, tags(names.values()))
        questions = [first, *(q for q in questions if q != first)][: perception.questions]
    return {
        "messages": _messages(rng, references, questions, settings),
        "images": [*(r.image for r in references), scene.image],
    }


def toy_list(scene: Scene, names: dict[Identity, str], settings: ToyboxSettings) -> str:
    """``red dragon, blue stripes, a green top hat [12, 8, 40, 60]; ...``, left to right.

    The name of a toy, where it has one, follows its attributes. Boxes (pixels of the query) are
    learned from here: policies learn late where an image token lies, unless single toys teach it.
    """
    listed = []
    for toy, box in zip(scene.toys, scene.boxes, strict=True):
        name = names.get(toy.identity)
        facts = f"{profile(toy.identity)}, <{name}>" if name else profile(toy.identity)
        listed.append(f"{facts} {[round(v * settings.query_px) for v in box]}")
    return "; ".join(listed)


def profile(identity: Identity) -> str:
    """All six attributes in the words and the order of captions, and nothing else."""
    return f"{identity.colour} {identity.kind}, {mark(identity)}, {worn(identity)}"


def comparison(a: Identity, b: Identity) -> str:
    """``yes`` or ``no`` for each of :data:`ATTRIBUTES`, in this order: is it the same?"""
    return " ".join("yes" if getattr(a, x) == getattr(b, x) else "no" for x in ATTRIBUTES)


def explanation(name: str, identity: Identity, toys: list[Identity]) -> str:
    """Trait by trait, what the reference and the toy most like it show; then yes or no.

    ``<Mia>, here: elephant, elephant, same; black, black, same; a star, spots, other; ... no``.
    Two whole readings, one after the other, were compared no better than by chance. Whether this
    form does better is in ``docs/recipes.md``: with the shipped base it does not.
    """

    def traits(toy: Identity) -> tuple[str, ...]:
        return toy.kind, toy.colour, mark(toy), worn(toy)

    def shared(toy: Identity) -> int:
        return sum(getattr(toy, trait) == getattr(identity, trait) for trait in ATTRIBUTES)

    pairs = zip(traits(identity), traits(max(toys, key=shared)), strict=True)
    compared = "; ".join(f"{a}, {b}, {'same' if a == b else 'other'}" for a, b in pairs)
    return f"<{name}>, here: {compared}. {'yes' if identity in toys else 'no'}"


def draw_similar(
    rng: random.Random, known: Identity, settings: ToyboxSettings, hard: float | None = None
) -> Identity:
    """Another toy that shares attributes with ``known``: all but one (with the probability
    ``hard``, a third by default), about half, or few."""
    if hard is None:
        change = rng.choice((0.0, 0.5, 0.9))
    else:
        change = 0.0 if rng.random() < hard else rng.choice((0.5, 0.9))
    if not change:
        return hard_negative(rng, known)
    while True:
        (other,) = draw_identities(rng, 1, settings)
        changed = {a: getattr(other, a) for a in ATTRIBUTES if rng.random() < change}
        mixed = replace(known, **changed)
        if mixed != known and is_legal(mixed) and is_held_out(mixed) == is_held_out(known):
            return mixed


def turn(role: str, text: str) -> dict:
    """A message that consists of text."""
    return {"role": role, "content": [{"type": "text", "text": text}]}


def prepend(content: list[dict], message: dict) -> dict:
    """The message with ``content`` before its own."""
    message["content"] = [*content, *message["content"]]
    return message


def tags(names: Iterable[str]) -> str:
    """``<bo>, <mia>``"""
    return ", ".join(f"<{name}>" for name in names)


def _questions(
    rng: random.Random,
    scene: Scene,
    names: dict[Identity, str],
    settings: ToyboxSettings,
    perception: PerceptionSettings,
) -> tuple[list[Question], list[Question]]:
    """Questions on who is present, and all others."""
    templates = load_templates(settings)

    def ask(task: str, name: str) -> str:
        return conversation(rng, task, [], [], templates, about=name)[0]["content"][-1]["text"]

    about_presence: list[Question] = []
    others: list[Question] = []
    toys = [toy.identity for toy in scene.toys]
    for identity, name in names.items():
        here = identity in toys
        about_presence.append((ask(OCT, name), "yes" if here else "no"))
        if perception.explained:
            reasons = explanation(name, identity, toys)
            others.append((f"Is <{name}> in this picture? {EXPLAIN_ASK}", reasons))
        if len(toys) == 1:
            about_presence.append((COMPARE_ASK.format(name=name), comparison(identity, toys[0])))
        elif here:
            box = scene.boxes[toys.index(identity)]
            others.append((ask(VLT, name), box_target(box, settings)))
        others.append((RECALL_ASK.format(name=name), profile(identity)))
    present = [names[i] for i in toys if i in names]
    about_presence.append((WHO_ASK, tags(present) or "nobody"))
    others += [
        (NAMES_ASK, tags(names.values())),
        rng.choice(
            [
                (LIST_ASK, toy_list(scene, {}, settings)),
                (NAMED_LIST_ASK, toy_list(scene, names, settings)),
            ]
        ),
    ]
    return about_presence, others


def _messages(
    rng: random.Random,
    references: list[Reference],
    questions: list[Question],
    settings: ToyboxSettings,
) -> list[dict]:
    """The images come with the first question; question and answer alternate."""
    messages = []
    for question, answer in questions:
        messages += [turn("user", question), turn("assistant", answer)]
    prepend(_opening(rng, references, settings), messages[0])
    return messages


def _opening(
    rng: random.Random, references: list[Reference], settings: ToyboxSettings
) -> list[dict]:
    """An image and a name for each reference, then the query image."""
    return conversation(
        rng,
        ICT,
        [r.name for r in references],
        [r.info for r in references],
        load_templates(settings),
    )[0]["content"][:-1]
