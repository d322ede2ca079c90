"""Rows that teach a policy made from nothing to see: inventories, and quizzes about references.

A caption is mostly words that say nothing about the picture, and a yes or no is one bit. Here
answers are dense: nearly every token of them is a fact to be seen, and looking, the expensive
part, is paid once for several questions.
"""

import random
from dataclasses import dataclass, field, replace

from data_gen.rows import ICT, OCT, VLT
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
    choose,
    draw_identities,
    draw_reference,
    load_templates,
)
from data_gen.toybox.scene import Scene, compose

INVENTORY_ASK = "List the toys."
NAMED_ASK = "List the toys and their names."
WHO_ASK = "Who is in this picture?"
TOLD_ASK = "Which names were you told?"
COMPARE_ASK = "Compare the toy with <{name}>."
RECALL_ASK = "What is <{name}>?"


@dataclass
class QuizSettings:
    """What a quiz shows and asks. Shares are probabilities in 0-1."""

    references: dict[int, float] = field(default_factory=lambda: {1: 0.5, 2: 0.4, 3: 0.1})
    strangers: dict[int, float] = field(default_factory=lambda: {0: 0.5, 1: 0.3, 2: 0.2})
    present: float = 0.5  # references that are in the picture
    relative: float = 0.25  # ... that have a relative there instead; the others have neither
    questions: int = 5  # at most, of all there are
    told_first: float = 0.0  # quizzes that begin with the names: nothing before gives them away

    def __post_init__(self):
        for name in ("references", "strangers"):
            setattr(self, name, {int(k): float(v) for k, v in getattr(self, name).items()})


def inventory_row(rng: random.Random, settings: ToyboxSettings) -> dict:
    """A picture without references: each toy's attributes and its box."""
    scene = compose(rng, draw_identities(rng, choose(rng, settings.describe_toys), settings),
                    settings.query_px)
    picture = {"type": "image", "text": None}
    ask = says("user", INVENTORY_ASK)
    ask["content"].insert(0, picture)
    return {"messages": [ask, says("assistant", inventory(scene, {}, settings))],
            "images": [scene.image]}


def quiz_row(rng: random.Random, n: int, settings: ToyboxSettings, quiz: QuizSettings) -> dict:
    """``n`` references, a query, and several questions about them, the tasks' own among them."""
    shown = draw_identities(rng, n, settings)
    names = dict(zip(shown, draw_names(rng, n), strict=True))
    fates = rng.choices(("present", "relative", "absent"),
                        (quiz.present, quiz.relative, 1 - quiz.present - quiz.relative), k=n)
    toys = [i if fate == "present" else relative(rng, i, settings)
            for i, fate in zip(shown, fates, strict=True) if fate != "absent"]
    strangers = max(choose(rng, quiz.strangers), not toys)
    toys += draw_identities(rng, min(strangers, 4 - len(toys)), settings, [*shown, *toys])
    scene = compose(rng, list(dict.fromkeys(toys)), settings.query_px)
    references = [draw_reference(rng, i, names[i], settings) for i in shown]

    # All about who is here comes from the pictures, not from an answer before: yes or no is the
    # hardest thing to learn, and is asked first half of the time.
    recognise, others = _questions(rng, scene, names, settings)
    if rng.random() < 0.5:
        rng.shuffle(recognise)
        rng.shuffle(others)
        questions = (recognise + others)[: quiz.questions]
    else:
        questions = recognise + others
        rng.shuffle(questions)
        questions = questions[: quiz.questions]
    if quiz.told_first and rng.random() < quiz.told_first:
        told = (TOLD_ASK, tags(names.values()))
        questions = [told, *(q for q in questions if q != told)][: quiz.questions]
    return {"messages": _messages(rng, references, questions, settings),
            "images": [*(r.image for r in references), scene.image]}


def inventory(scene: Scene, names: dict[Identity, str], settings: ToyboxSettings) -> str:
    """``red dragon, blue stripes, a green top hat [12, 8, 40, 60]; ...``, left to right.

    A toy that has a name ends with it. Boxes are learned from here: where a picture's tokens
    stand is found late, if one toy by itself does not teach it.
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
    """``yes`` or ``no`` for each attribute in the order of :data:`ATTRIBUTES`: is it the same?"""
    return " ".join("yes" if getattr(a, x) == getattr(b, x) else "no" for x in ATTRIBUTES)


def relative(rng: random.Random, known: Identity, settings: ToyboxSettings) -> Identity:
    """Another toy that shares attributes with ``known``: all but one, about half, or few."""
    change = rng.choice((0.0, 0.5, 0.9))
    if not change:
        return hard_negative(rng, known)
    while True:
        (other,) = draw_identities(rng, 1, settings)
        changed = {a: getattr(other, a) for a in ATTRIBUTES if rng.random() < change}
        mixed = replace(known, **changed)
        if mixed != known and is_legal(mixed) and is_held_out(mixed) == is_held_out(known):
            return mixed


def says(role: str, text: str) -> dict:
    """A turn of text."""
    return {"role": role, "content": [{"type": "text", "text": text}]}


def _questions(rng, scene: Scene, names: dict[Identity, str], settings: ToyboxSettings):
    """(question, answer) pairs: those that recognise somebody, and the others."""
    templates = load_templates(settings)

    def ask(task: str, name: str) -> str:
        return conversation(rng, task, [], [], templates, about=name)[0]["content"][-1]["text"]

    recognise, others = [], []
    toys = [toy.identity for toy in scene.toys]
    for identity, name in names.items():
        here = identity in toys
        recognise.append((ask(OCT, name), "yes" if here else "no"))
        if len(toys) == 1:
            recognise.append((COMPARE_ASK.format(name=name), comparison(identity, toys[0])))
        elif here:
            box = scene.boxes[toys.index(identity)]
            others.append((ask(VLT, name), box_target(box, settings)))
        others.append((RECALL_ASK.format(name=name), profile(identity)))
    here = [names[i] for i in toys if i in names]
    recognise.append((WHO_ASK, tags(here) or "nobody"))
    others += [
        (TOLD_ASK, tags(names.values())),
        rng.choice([(INVENTORY_ASK, inventory(scene, {}, settings)),
                    (NAMED_ASK, inventory(scene, names, settings))]),
    ]
    return recognise, others


def _messages(rng, references: list[Reference], questions, settings: ToyboxSettings) -> list[dict]:
    """The pictures come with the first question; after that, question and answer by turns."""
    messages = []
    for question, answer in questions:
        messages += [says("user", question), says("assistant", answer)]
    joined(_opening(rng, references, settings), messages[0])
    return messages


def _opening(rng, references: list[Reference], settings: ToyboxSettings) -> list[dict]:
    """A picture and who it is for each reference, and the query's picture."""
    return conversation(rng, ICT, [r.name for r in references], [r.info for r in references],
                        load_templates(settings))[0]["content"][:-1]


def joined(content: list[dict], message: dict) -> dict:
    """The message with ``content`` before its own."""
    message["content"] = [*content, *message["content"]]
    return message


def tags(names) -> str:
    return ", ".join(f"<{name}>" for name in names)
