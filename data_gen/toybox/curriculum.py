"""What a policy made from nothing sees, in which order.

All tasks at once from the start leave it on the language prior: it must first learn to look (one
toy, described), then to look around (scenes), and only then to compare, find and name.

Same or different is one bit, and hard to find: before it is asked for alone, pairs of single toys
are compared attribute by attribute (:func:`comparison_row`). In the long stretch after that a row
is a *conversation* (:func:`conversation_row`): a few references, one query, and several questions
about them. Looking is the expensive part; the same pictures answer five questions.
"""

import random
from dataclasses import dataclass, replace

from data_gen.names import draw_names
from data_gen.prompts import conversation
from data_gen.rows import ICT, OCT, VLT
from data_gen.tasks import draw_manner
from data_gen.toybox.identity import (
    ATTRIBUTES,
    Identity,
    hard_negative,
    is_held_out,
    is_legal,
)
from data_gen.toybox.rows import (
    ToyboxSettings,
    box_target,
    caption_target,
    choose,
    draw_identities,
    draw_reference,
    load_templates,
    toybox_row,
)
from data_gen.toybox.scene import compose

CONVERSATION = "conversation"
COMPARISON = "comparison"
BLOCK = 32
CAPTIONED = 0.5  # conversations in which a caption is asked for, too
ATTRIBUTE_WORDS = {"kind": "kind", "colour": "colour", "pattern": "pattern", "second": "marks",
                   "accessory": "outfit", "accessory_colour": "outfit colour"}
REFERENCES = {1: 0.45, 2: 0.45, 3: 0.1}


@dataclass
class Stage:
    """A stretch of training. ``until``: where it ends, as a share of all rows; ``mix``: task ->
    weight, with :data:`COMPARISON` and :data:`CONVERSATION` beside the toybox's tasks;
    ``settings``: changes to the :class:`ToyboxSettings` while it lasts."""

    until: float
    mix: dict[str, float]
    settings: dict


def curriculum(stages: list[dict], settings: ToyboxSettings) -> list[tuple[Stage, ToyboxSettings]]:
    """Read stages from a config; each with the settings it uses.

    Raises:
        ValueError: stages out of order, or not ending at 1.
        TypeError: for an unknown setting.
    """
    read = [Stage(s["until"], s["mix"], s.get("settings", {})) for s in stages]
    ends = [stage.until for stage in read]
    if not ends or ends != sorted(ends) or ends[-1] != 1:
        raise ValueError(f"stages must end in order and the last one at 1, not at {ends}")
    return [(stage, replace(settings, targets=True, **stage.settings)) for stage in read]


def curriculum_row(
    index: int, total: int, seed: int, stages: list[tuple[Stage, ToyboxSettings]]
) -> dict:
    """Row ``index`` of ``total``: ``{"messages", "images"}``, the assistant's turns included."""
    stage, settings = next(s for s in stages if index < s[0].until * total or s is stages[-1])
    task = random.Random(f"{seed}-{index}").choices(list(stage.mix), list(stage.mix.values()))[0]
    if task == CONVERSATION:
        # Neighbours share the number of references: they are padded to much the same length.
        n = choose(random.Random(f"{seed}-block-{index // BLOCK}"), REFERENCES)
        return conversation_row(random.Random(f"{task}-{seed}-{index}"), n, settings)
    if task == COMPARISON:
        return comparison_row(random.Random(f"{task}-{seed}-{index}"), settings)
    row = toybox_row(task, index, seed, settings)
    return {"messages": [*row["prompt"], _says("assistant", row["target"])],
            "images": row["images"]}


def conversation_row(rng: random.Random, n: int, settings: ToyboxSettings) -> dict:
    """``n`` references, a query, and questions of every kind in random order.

    The first turn is worded like a row of its task, so what is learned here serves there.
    """
    shown = draw_identities(rng, n, settings)
    fates = rng.choices(("present", "twin", "absent"), (0.5, 0.2, 0.3), k=len(shown))
    scene_identities = [i if fate == "present" else hard_negative(rng, i)
                        for i, fate in zip(shown, fates, strict=True) if fate != "absent"]
    room = 4 - len(scene_identities)
    strangers = max(rng.choices((0, 1, 2), (0.55, 0.3, 0.15))[0], not scene_identities)
    scene_identities += draw_identities(rng, min(strangers, room), settings, shown)
    scene = compose(rng, scene_identities, settings.query_px)
    names = dict(zip(shown, draw_names(rng, len(shown)), strict=True))
    references = [draw_reference(rng, i, names[i], settings) for i in shown]

    questions: list[tuple[str, str, str, str | None]] = []  # task, name, answer, manner
    for identity, fate in zip(shown, fates, strict=True):
        here = fate == "present"
        questions.append((OCT, names[identity], "yes" if here else "no", None))
        if here:
            where = [toy.identity for toy in scene.toys].index(identity)
            questions.append((VLT, names[identity], box_target(scene.boxes[where], settings), None))
    manner = draw_manner(rng)
    if rng.random() < CAPTIONED:
        questions.append((ICT, "", caption_target(rng, scene, names, manner, settings), manner))
    here = [names[toy.identity] for toy in scene.toys if toy.identity in names]
    questions += [(ask, "", answer, None)
                  for ask, answer in _name_questions(list(names.values()), here)]
    rng.shuffle(questions)

    messages = []
    templates = load_templates(settings)
    for turn, (task, name, answer, manner) in enumerate(questions):
        # The name asked for comes first in the template's fields; the references keep their order.
        kind = task if task in templates else ICT
        prompt = conversation(rng, kind, [r.name for r in references],
                              [r.info for r in references], templates, manner, about=name)
        if kind != task:  # a question in plain words
            prompt[0]["content"][-1]["text"] = task
        if turn:
            prompt[0]["content"] = [prompt[0]["content"][-1]]  # the pictures have been shown
        messages += [*prompt, _says("assistant", answer)]
    return {"messages": messages, "images": [*(r.image for r in references), scene.image]}


def comparison_row(rng: random.Random, settings: ToyboxSettings) -> dict:
    """One reference, one toy in the query: who is each, what do they share, are they the same?"""
    (known,) = draw_identities(rng, 1, settings)
    seen = known if rng.random() < 0.33 else _relative(rng, known, settings)
    scene = compose(rng, [seen], settings.query_px)
    name = draw_names(rng, 1)[0]
    reference = draw_reference(rng, known, name, settings)
    shared = ", ".join(f"{'same' if getattr(known, a) == getattr(seen, a) else 'other'} {words}"
                       for a, words in ATTRIBUTE_WORDS.items())
    questions = [
        *_name_questions([name], [name] if seen == known else []),
        (f"Describe <{name}>.", f"<{name}> is {known.description.removeprefix('It is ')}"),
        (f"Compare <{name}> with this picture.", f"{shared}."),
        ("Describe this picture.", caption_target(rng, scene, {}, None, settings)),
    ]
    rng.shuffle(questions)
    prompt = conversation(rng, OCT, [name], [None], load_templates(settings))
    asked = prompt[0]["content"].pop()["text"]
    questions.insert(rng.randrange(len(questions) + 1), (asked, "yes" if seen == known else "no"))
    messages = []
    for question, answer in questions:
        messages += [_says("user", question), _says("assistant", answer)]
    messages[0]["content"] = prompt[0]["content"] + messages[0]["content"]
    return {"messages": messages, "images": [reference.image, scene.image]}


def _name_questions(told: list[str], here: list[str]) -> list[tuple[str, str]]:
    """Naming by itself: which names were told, and whose owners are in the picture.

    In a caption a name is two tokens of fifty, and copying it is learned late or never; as an
    answer of its own it weighs as much as a caption.
    """
    def listed(names):
        return ", ".join(f"<{name}>" for name in names)

    return [("Which names were you told?", listed(told)),
            ("Who is in this picture?", listed(here) or "nobody")]


def _relative(rng: random.Random, known: Identity, settings: ToyboxSettings) -> Identity:
    """A toy that shares some attributes with ``known``: all but one, about half, or few."""
    change = rng.choice((0.0, 0.5, 0.9))
    if not change:
        return hard_negative(rng, known)
    while True:
        (other,) = draw_identities(rng, 1, settings)
        changed = {a: getattr(other, a) for a in ATTRIBUTES if rng.random() < change}
        mixed = replace(known, **changed)
        if mixed != known and is_legal(mixed) and is_held_out(mixed) == is_held_out(known):
            return mixed


def _says(role: str, text: str) -> dict:
    return {"role": role, "content": [{"type": "text", "text": text}]}
