"""Group sampler: G copies per prompt; never mixes text-only and image rows; resumable.

Rows with images and rows without are kept in separate generation batches, because processors refuse
mixed ones, and because under ZeRO-3 a process without images would leave the others waiting for the
vision tower's weights.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import torch
from torch.utils.data import Sampler

from data_gen.files.errors import InputError
from data_gen.tasks.table import TASKS, RowType, row_type


def row_types(dataset) -> list[RowType]:
    """The type of every row; images are not decoded."""
    light = dataset.remove_columns([c for c in ("images",) if c in dataset.column_names])
    return [type_of(row) for row in light]


def type_of(row: dict) -> RowType:
    """The type of one row: its task's, or the usual one where the table lacks its task."""
    task = TASKS.get(row["task"])
    return task.row_type(row) if task else row_type(row)


def plain_row(row: dict) -> dict:
    """A row as TRL and processors expect it: a list of images, no null keys in content parts."""
    prompt = [
        {
            **message,
            "content": message["content"]
            if isinstance(message["content"], str)
            else [{k: v for k, v in part.items() if v is not None} for part in message["content"]],
        }
        for message in row["prompt"]
    ]
    return {**row, "prompt": prompt, "images": row["images"] or []}


class GroupSampler(Sampler):
    """Yields row indices, each ``group`` times in a row, in batches of ``prompts`` distinct rows.

    With rows of one type and no ``mix`` the order is that of TRL's ``RepeatSampler``. Unlike there,
    the order of an epoch does not depend on having drawn the epochs before, so a run that resumes
    in a later epoch continues in the same order.

    Args:
        types: one per row.
        prompts: distinct rows per generation batch, over all processes.
        group: completions per row, G.
        repeat: how many times each generation batch is yielded.
        shuffle: whether to shuffle; otherwise rows come in stored order.
        seed: of the shuffle.
        epoch: returns the number of the current epoch; called at the start of each pass.
        mix: task -> share of the prompts of an epoch; ``None`` takes every row once. An epoch has
            as many prompts as there are rows; rows of a rare task are repeated.
    """

    def __init__(
        self,
        types: Sequence[RowType],
        *,
        prompts: int,
        group: int,
        repeat: int = 1,
        shuffle: bool = True,
        seed: int = 0,
        epoch: Callable[[], int] = lambda: 0,
        mix: dict[str, float] | None = None,
    ):
        self.types, self.prompts, self.group, self.repeat = types, prompts, group, repeat
        self.shuffle, self.seed, self.epoch = shuffle, seed, epoch
        self.quota = _quota(types, mix) if mix else None

    def __len__(self) -> int:
        return len(self.batches(0)) * self.prompts * self.group * self.repeat

    def __iter__(self) -> Iterator[int]:
        for batch in self.batches(self.epoch()):
            for _ in range(self.repeat):
                for index in batch:
                    yield from [index] * self.group

    def batches(self, epoch: int) -> list[list[int]]:
        """The generation batches of an epoch, as lists of row indices.

        Of rows with and of rows without images, the last incomplete batch is dropped (other rows
        each epoch). Where it would be the only batch, it is filled by repeating its rows.
        """
        generator = torch.Generator().manual_seed(self.seed)
        order = list(range(len(self.types)))
        if self.shuffle:
            for _ in range(epoch + 1):
                order = torch.randperm(len(self.types), generator=generator).tolist()
        if self.quota:
            order = self._draw(order, generator)
        batches = []
        for images in (True, False):
            rows = [i for i in order if self.types[i].images == images]
            if rows and len(rows) < self.prompts:
                rows = (rows * self.prompts)[: self.prompts]
            whole = len(rows) // self.prompts * self.prompts
            batches += [rows[i : i + self.prompts] for i in range(0, whole, self.prompts)]
        if self.shuffle and len({each.images for each in self.types}) > 1:
            batches = [batches[i] for i in torch.randperm(len(batches), generator=generator)]
        return [self._spread(batch) for batch in batches] if self.quota else batches

    def _spread(self, batch: list[int]) -> list[int]:
        """Spread each task's rows evenly over the batch, so that every process, which takes an
        equal slice of it, has about as many rows of each task and samples for about as long."""
        tasks = [self.types[i].task for i in batch]
        total, seen, where = Counter(tasks), Counter(), []
        for task in tasks:
            where.append((seen[task] + 0.5) / total[task])
            seen[task] += 1
        return [batch[n] for n in sorted(range(len(batch)), key=where.__getitem__)]

    def _draw(self, order: list[int], generator: torch.Generator) -> list[int]:
        """Repeat or drop rows of each type until the epoch has the quota of each, reshuffled."""
        drawn = []
        for type_, n in (self.quota or {}).items():
            rows = [i for i in order if self.types[i] == type_]
            drawn += (rows * (n // len(rows) + 1))[:n]
        return [drawn[i] for i in torch.randperm(len(drawn), generator=generator)]


def _quota(types: Sequence[RowType], mix: dict[str, float]) -> dict[RowType, int]:
    """Prompts per row type and epoch with which tasks have the shares of ``mix``."""
    counts: dict[RowType, int] = {}
    for type_ in types:
        counts[type_] = counts.get(type_, 0) + 1
    tasks = {type_.task for type_ in counts}
    if unknown := sorted(set(mix) - tasks):
        raise InputError(
            f"task_mix names '{unknown[0]}', but the rows hold: {', '.join(sorted(tasks))}"
        )
    total = sum(mix.values())
    quota = {}
    for type_, n in counts.items():
        of_task = sum(m for other, m in counts.items() if other.task == type_.task)
        share = mix.get(type_.task, 0) / total * n / of_task
        if share > 0:
            quota[type_] = max(round(share * len(types)), 1)
    return quota
