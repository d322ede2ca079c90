"""The table of tasks: what a task's rows ask, what is true of them, what rewards and measures it.

One entry is one task. To add a task, write its row builder, add its templates to
``prompts/default.yaml`` and its entry here, and write its reward and its benchmark. Functions and
classes are given as import strings, ``package.module:name``, so that this module imports nothing
that imports it: the builder is resolved by :mod:`data_gen.tasks.builder`, rewards and benchmarks
only by ``launch`` and ``benchmarks``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from data_gen.rows.contract import ICT, OCT, TRUTH, VLT, Truth


class RowType(NamedTuple):
    """What the training sampler tells rows apart by.

    Args:
        task: of the row.
        images: whether its prompt holds an image. Processors refuse a batch of which some rows
            have images and others have none.
        expected: see :func:`expected`. A filter that replaces rows by rows of their type cannot
            starve one of the answers.
    """

    task: str
    images: bool
    expected: bool | None = None


def expected(row: dict) -> bool | None:
    """Which of two answers is right: whether the answer is yes, or whether any name is expected;
    ``None`` in tasks whose answers have no such sides, and in rows without an answer."""
    truth = TRUTH.get(row["task"])
    if truth and truth.column == "names":
        return bool(row["names"])
    if truth and truth.answers and set(truth.answers) == {"yes", "no"}:
        return row["answer"] == "yes"
    return None


def row_type(row: dict) -> RowType:
    """The row's task, whether its prompt holds an image, and what is expected."""
    parts = [
        part
        for message in row["prompt"]
        for part in message["content"] or []
        if not isinstance(message["content"], str)
    ]
    return RowType(row["task"], any(part["type"] == "image" for part in parts), expected(row))


@dataclass(frozen=True)
class Task:
    """One task.

    Args:
        name: as in the rows' column ``task``.
        truth: the column that holds a row's truth, and the answers that it may give; the row
            contract checks it. ``None``: any text or null is a good answer.
        prompt_keys: lists that a template file must hold for the task.
        build: import string of ``f(rows: SourceRows, rng, row_id, i) -> row``, which makes row
            ``i`` from any source; ``None`` where sources make no such rows.
        reward: import string of its reward function, as in a config's ``rewards``.
        benchmark: import string of the benchmark of published files that measures it.
        row_type: what the training sampler groups rows by.
    """

    name: str
    truth: Truth | None = None
    prompt_keys: tuple[str, ...] = ("reference", "ask", "suffix")
    build: str | None = None
    reward: str | None = None
    benchmark: str | None = None
    row_type: Callable[[dict], RowType] = row_type

    @property
    def answers(self) -> tuple[str, ...] | None:
        """Candidate answers, such as ``("yes", "no")``; ``None`` where answers are free."""
        return self.truth.answers if self.truth else None


TASKS: dict[str, Task] = {}
"""Task name -> task, in the order in which they are listed; filled by :func:`add_task`."""


def add_task(task: Task) -> None:
    """Put a task in the table and its truth in the row contract."""
    TASKS[task.name] = task
    if task.truth:
        TRUTH[task.name] = task.truth


add_task(
    Task(
        OCT,
        TRUTH[OCT],
        build="data_gen.tasks.builder:object_consistency",
        reward="rewards:object_consistency",
        benchmark="benchmarks.published.recognition:Recognition",
    )
)
add_task(
    Task(
        VLT,
        TRUTH[VLT],
        prompt_keys=("reference", "described", "ask", "suffix"),
        build="data_gen.tasks.builder:visual_localization",
        reward="rewards:visual_localization",
        benchmark="benchmarks.published.localization:Localization",
    )
)
add_task(
    Task(
        ICT,
        TRUTH[ICT],
        build="data_gen.tasks.builder:identity_consistency",
        reward="rewards:mention_f1",
        benchmark="benchmarks.published.naming:Naming",
    )
)
add_task(
    Task(
        "preference",
        Truth("answer", ("A", "B")),
        prompt_keys=("liked", "disliked", "candidate", "ask", "suffix", "look"),
        reward="rewards:preference_accuracy",
        benchmark="benchmarks.preferences:Preferences",
    )
)
