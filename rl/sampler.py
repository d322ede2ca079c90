"""Which rows come when: whole groups, batches of one kind, the same order whatever stopped a run.

Rows with pictures and rows without are never mixed in one generation batch: processors refuse
such batches, and under ZeRO-3 a process without pictures would leave the others waiting for the
vision tower's weights.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.utils.data import Sampler


@dataclass(frozen=True)
class Kind:
    """What decides where a row may stand: its task, and whether it has pictures."""

    task: str
    images: bool


def row_kinds(dataset) -> list[Kind]:
    """Task and presence of pictures of every row, pictures not decoded."""
    light = dataset.select_columns(["task", "prompt"])
    return [kind_of(row) for row in light]


def kind_of(row: dict) -> Kind:
    """The kind of one row."""
    parts = [part for message in row["prompt"] for part in message["content"]
             if not isinstance(message["content"], str)]
    return Kind(row["task"], any(part["type"] == "image" for part in parts))


def plain_row(row: dict) -> dict:
    """A row as TRL and processors want it: a list of images, no null keys in content parts."""
    prompt = [
        {**message, "content": message["content"] if isinstance(message["content"], str) else [
            {k: v for k, v in part.items() if v is not None} for part in message["content"]]}
        for message in row["prompt"]
    ]
    return {**row, "prompt": prompt, "images": row["images"] or []}


class GroupSampler(Sampler):
    """Row indices, each ``group`` times in a row, in batches of ``prompts`` different rows.

    With rows of one kind and no ``mix`` the order is that of TRL's ``RepeatSampler``; unlike
    there, the order of a later epoch does not depend on having drawn the earlier ones.

    Args:
        kinds: one per row.
        prompts: different rows per generation batch, over all processes.
        group: completions per row, G.
        repeat: how often each generation batch is handed out.
        shuffle: else rows come as they are stored.
        seed: of the order.
        epoch: asked at the start of each pass.
        mix: task -> share of the prompts of an epoch; ``None`` takes the rows as they are. An
            epoch has as many prompts as there are rows; rows of a rare task come more than once.
    """

    def __init__(
        self,
        kinds: Sequence[Kind],
        *,
        prompts: int,
        group: int,
        repeat: int = 1,
        shuffle: bool = True,
        seed: int = 0,
        epoch: Callable[[], int] = lambda: 0,
        mix: dict[str, float] | None = None,
    ):
        self.kinds, self.prompts, self.group, self.repeat = kinds, prompts, group, repeat
        self.shuffle, self.seed, self.epoch = shuffle, seed, epoch
        self.quota = _quota(kinds, mix) if mix else None

    def __len__(self) -> int:
        return len(self.batches(0)) * self.prompts * self.group * self.repeat

    def __iter__(self) -> Iterator[int]:
        for batch in self.batches(self.epoch()):
            for _ in range(self.repeat):
                for index in batch:
                    yield from [index] * self.group

    def batches(self, epoch: int) -> list[list[int]]:
        """The generation batches of an epoch, as row indices.

        The last, incomplete batch of a kind is left out (other rows each epoch), unless it is the
        only one of its kind: then it is filled up with rows that are already in it.
        """
        generator = torch.Generator().manual_seed(self.seed)
        order = list(range(len(self.kinds)))
        if self.shuffle:
            for _ in range(epoch + 1):
                order = torch.randperm(len(self.kinds), generator=generator).tolist()
        if self.quota:
            order = self._draw(order, generator)
        batches = []
        for images in (True, False):
            rows = [i for i in order if self.kinds[i].images == images]
            if rows and len(rows) < self.prompts:
                rows = (rows * self.prompts)[: self.prompts]
            whole = len(rows) // self.prompts * self.prompts
            batches += [rows[i : i + self.prompts] for i in range(0, whole, self.prompts)]
        if self.shuffle and len({kind.images for kind in self.kinds}) > 1:
            batches = [batches[i] for i in torch.randperm(len(batches), generator=generator)]
        return [self._spread(batch) for batch in batches] if self.quota else batches

    def _spread(self, batch: list[int]) -> list[int]:
        """Each task's rows evenly over the batch: however many processes cut it into equal parts,
        all have about as many captions to draw."""
        tasks = [self.kinds[i].task for i in batch]
        total, seen, where = Counter(tasks), Counter(), []
        for task in tasks:
            where.append((seen[task] + 0.5) / total[task])
            seen[task] += 1
        return [batch[n] for n in sorted(range(len(batch)), key=where.__getitem__)]

    def _draw(self, order: list[int], generator: torch.Generator) -> list[int]:
        drawn = []
        for kind, n in self.quota.items():
            rows = [i for i in order if self.kinds[i] == kind]
            drawn += (rows * (n // len(rows) + 1))[:n]
        return [drawn[i] for i in torch.randperm(len(drawn), generator=generator)]


def _quota(kinds: Sequence[Kind], mix: dict[str, float]) -> dict[Kind, int]:
    """Prompts per kind and epoch, so that tasks have the shares of ``mix``."""
    counts: dict[Kind, int] = {}
    for kind in kinds:
        counts[kind] = counts.get(kind, 0) + 1
    tasks = {kind.task for kind in counts}
    if unknown := sorted(set(mix) - tasks):
        raise ValueError(f"task_mix names '{unknown[0]}', but the rows hold: "
                         f"{', '.join(sorted(tasks))}")
    total = sum(mix.values())
    quota = {}
    for kind, n in counts.items():
        of_task = sum(m for other, m in counts.items() if other.task == kind.task)
        share = mix.get(kind.task, 0) / total * n / of_task
        if share > 0:
            quota[kind] = max(round(share * len(kinds)), 1)
    return quota
