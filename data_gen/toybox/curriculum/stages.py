"""The curriculum of the tiny base policy: which kind of row it trains on, in which order.

Training on all tasks from the start teaches only the language prior: the policy must first learn to
see (one toy, listed), then to compare, then to search a scene, and only then to answer the tasks.
Beside the toybox's own tasks a stage mixes kinds of row that only training from random weights
needs: ``listing`` and ``perception`` (:mod:`data_gen.toybox.curriculum.perception`),
``name_binding`` and ``name_copying`` (:mod:`data_gen.toybox.curriculum.naming`), ``knowledge``
(:mod:`data_gen.toybox.curriculum.knowledge`).
"""

import random
from dataclasses import dataclass, field, replace

from data_gen.files.errors import InputError
from data_gen.tasks.combinations import choose
from data_gen.toybox.curriculum.knowledge import KnowledgeSettings, knowledge_row
from data_gen.toybox.curriculum.naming import (
    NameBindingSettings,
    name_binding_row,
    name_copying_row,
)
from data_gen.toybox.curriculum.perception import (
    PerceptionSettings,
    listing_row,
    perception_row,
    turn,
)
from data_gen.toybox.rows import ToyboxSettings, toybox_row

LISTING, PERCEPTION = "listing", "perception"
NAME_BINDING, NAME_COPYING = "name_binding", "name_copying"
KNOWLEDGE = "knowledge"

SEED_KEYS = {
    LISTING: "inventory",
    PERCEPTION: "quiz",
    NAME_BINDING: "told",
    NAME_COPYING: "roll_call",
    KNOWLEDGE: "knowledge",
}
"""What the kinds were called when the shipped policy was trained. These names seed the rows, so
that the curriculum still gives the very rows that it was trained on."""

BLOCK = 48
"""Rows in a row that are of one kind, and have equally many references (``perception``) or toys
(``name_binding``): a batch is padded to its longest row, and all processes wait for the slowest."""


@dataclass
class Stage:
    """A part of training.

    Args:
        until: the row at which it ends.
        mix: kind of row -> weight; the kinds above, and the toybox's tasks.
        settings: changes to :class:`ToyboxSettings` during the stage.
        perception: changes to :class:`PerceptionSettings`.
        name_binding: changes to :class:`NameBindingSettings`.
        knowledge: changes to :class:`KnowledgeSettings`.
    """

    until: int
    mix: dict[str, float]
    settings: dict = field(default_factory=dict)
    perception: dict = field(default_factory=dict)
    name_binding: dict = field(default_factory=dict)
    knowledge: dict = field(default_factory=dict)


Stages = list[
    tuple[Stage, ToyboxSettings, PerceptionSettings, NameBindingSettings, KnowledgeSettings]
]


def curriculum(stages: list[dict], n_rows: int, settings: ToyboxSettings) -> Stages:
    """Read stages from a config; each with the settings that hold during it.

    Raises:
        InputError: stages out of order, or the last one does not end at ``n_rows``.
        TypeError: for an unknown setting.
    """
    read = [Stage(**stage) for stage in stages]
    ends = [stage.until for stage in read]
    if not ends or ends != sorted(ends) or ends[-1] != n_rows:
        raise InputError(
            f"stages must end in order and the last one at n_rows ({n_rows}), not at {ends}"
        )
    return [
        (
            stage,
            replace(settings, targets=True, **stage.settings),
            PerceptionSettings(**stage.perception),
            NameBindingSettings(**stage.name_binding),
            KnowledgeSettings(**stage.knowledge),
        )
        for stage in read
    ]


def curriculum_row(index: int, seed: int, stages: Stages) -> dict:
    """Row ``index``: ``{"messages", "images"}``, the assistant's turns included."""
    stage, settings, perception, binding, knowledge = next(s for s in stages if index < s[0].until)
    block = random.Random(f"{seed}-{index // BLOCK}")
    kind = block.choices(list(stage.mix), list(stage.mix.values()))[0]
    if kind not in SEED_KEYS:
        row = toybox_row(kind, index, seed, settings)
        return {
            "messages": [*row["prompt"], turn("assistant", row["target"])],
            "images": row["images"],
        }
    rng = random.Random(f"{SEED_KEYS[kind]}-{seed}-{index}")
    if kind == LISTING:
        return listing_row(rng, settings)
    if kind == NAME_COPYING:
        return name_copying_row(rng, settings)
    if kind == KNOWLEDGE:
        what, n = choose(block, knowledge.kinds), choose(block, knowledge.toys)
        return knowledge_row(rng, what, n, settings, knowledge)
    if kind == NAME_BINDING:
        return name_binding_row(rng, choose(block, binding.toys), settings, binding)
    return perception_row(rng, choose(block, perception.references), settings, perception)
