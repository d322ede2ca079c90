"""What a policy made from nothing sees, in which order.

All tasks at once from the start leave it on the language prior: it must first learn to look (one
toy, listed), then to compare, then to look around, and only then to answer the tasks. Beside the
toybox's own tasks a stage mixes four kinds of row that only such training needs: ``inventory`` and
``quiz`` (:mod:`data_gen.toybox.curriculum.perception`), ``told`` and ``roll_call``
(:mod:`data_gen.toybox.curriculum.naming`).
"""

import random
from dataclasses import dataclass, field, replace

from data_gen.toybox.curriculum.naming import TellingSettings, roll_call_row, told_row
from data_gen.toybox.curriculum.perception import (
    QuizSettings,
    inventory_row,
    quiz_row,
    says,
)
from data_gen.toybox.rows import ToyboxSettings, choose, toybox_row

INVENTORY = "inventory"
QUIZ = "quiz"
TOLD = "told"
ROLL_CALL = "roll_call"
BLOCK = 48
"""Neighbours are of one task, and quizzes among them have equally many references: a batch is
padded to its longest row, and processes wait for the slowest."""


@dataclass
class Stage:
    """A stretch of training. ``until``: the row at which it ends; ``mix``: task -> weight, with
    the four kinds beside the toybox's tasks; ``settings``, ``quiz`` and ``telling``: changes to
    :class:`ToyboxSettings`, :class:`QuizSettings` and :class:`TellingSettings` while it lasts."""

    until: int
    mix: dict[str, float]
    settings: dict = field(default_factory=dict)
    quiz: dict = field(default_factory=dict)
    telling: dict = field(default_factory=dict)


Stages = list[tuple[Stage, ToyboxSettings, QuizSettings, TellingSettings]]


def curriculum(stages: list[dict], n_rows: int, settings: ToyboxSettings) -> Stages:
    """Read stages from a config; each with the settings it uses.

    Raises:
        ValueError: stages out of order, or the last one not ending at ``n_rows``.
        TypeError: for an unknown setting.
    """
    read = [Stage(**stage) for stage in stages]
    ends = [stage.until for stage in read]
    if not ends or ends != sorted(ends) or ends[-1] != n_rows:
        raise ValueError(f"stages must end in order and the last one at n_rows ({n_rows}), "
                         f"not at {ends}")
    return [(stage, replace(settings, targets=True, **stage.settings), QuizSettings(**stage.quiz),
             TellingSettings(**stage.telling)) for stage in read]


def curriculum_row(index: int, seed: int, stages: Stages) -> dict:
    """Row ``index``: ``{"messages", "images"}``, the assistant's turns included."""
    stage, settings, quiz, telling = next(s for s in stages if index < s[0].until)
    block = random.Random(f"{seed}-{index // BLOCK}")
    task = block.choices(list(stage.mix), list(stage.mix.values()))[0]
    if task == INVENTORY:
        return inventory_row(random.Random(f"{task}-{seed}-{index}"), settings)
    if task == ROLL_CALL:
        return roll_call_row(random.Random(f"{task}-{seed}-{index}"), settings)
    if task == TOLD:
        return told_row(random.Random(f"{task}-{seed}-{index}"),
                          choose(block, telling.toys), settings, telling)
    if task == QUIZ:
        n = choose(block, quiz.references)
        return quiz_row(random.Random(f"{task}-{seed}-{index}"), n, settings, quiz)
    row = toybox_row(task, index, seed, settings)
    return {"messages": [*row["prompt"], says("assistant", row["target"])],
            "images": row["images"]}
