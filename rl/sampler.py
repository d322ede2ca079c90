"""Group sampler: G copies per prompt; never mixes text-only and image rows; resumable.

Rows with images and rows without are kept in separate generation batches, because processors refuse
mixed ones, and because under ZeRO-3 a process without images would leave the others waiting for the
vision tower's weights.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence

import torch
from torch.utils.data import Sampler

from data_gen.files.errors import InputError
from data_gen.tasks.table import TASKS, RowType, row_type

SEARCHED = 8
"""Batches' worth of pairs among which one is looked for that fills up a batch."""


def row_types(dataset) -> list[RowType]:
    """The type of every row; images are not decoded."""
    light = dataset.remove_columns([c for c in ("images",) if c in dataset.column_names])
    return [type_of(row) for row in light]


def type_of(row: dict) -> RowType:
    """The type of one row: its task's, or the usual one where the table lacks its task."""
    task = TASKS.get(row["task"])
    return task.row_type(row) if task else row_type(row)


def pairs_of(dataset) -> list[str | None]:
    """The ``pair`` of every row: rows with the same one belong together, rows without any alone.

    Raises:
        InputError: the rows have no such column.
    """
    if "pair" not in dataset.column_names:
        raise InputError(
            "pairs_together is on, but the rows have no column 'pair', which says what belongs "
            "together"
        )
    return [None if pair is None else str(pair) for pair in dataset["pair"]]


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
            as many prompts as there are rows; rows of a rare task are repeated. A task's share is
            divided among its row types as in the rows, or given for either side of it
            (``identity_consistency/expected``, ``identity_consistency/not_expected``; see
            :func:`data_gen.tasks.table.expected`).
        pairs: the pair of each row, or ``None``: rows of a pair come in one batch, side by side, as
            long as all have images or none has; a batch that no further pair fits into repeats rows
            of its own. With a ``mix`` the members of a pair are drawn alike, and one whose share is
            used up is missing.

    Raises:
        InputError: a pair does not fit into a batch, or ``mix`` names what the rows do not hold.
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
        pairs: Sequence[str | None] | None = None,
    ):
        self.types, self.prompts, self.group, self.repeat = types, prompts, group, repeat
        self.shuffle, self.seed, self.epoch = shuffle, seed, epoch
        self.quota = _quota(types, mix) if mix else None
        self.pairs = pairs
        sizes = Counter(pair for pair in pairs or () if pair is not None)
        for largest, n in sizes.most_common(1):
            if n > prompts:
                raise InputError(
                    f"pair {largest!r} has {n} rows, but a generation batch has {prompts} prompts; "
                    f"enlarge the batch, or switch pairs_together off"
                )

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
        if self.pairs:
            order = [row for unit in _units(order, self.pairs) for row in unit]
        if self.quota:
            order = self._draw(order, generator)
        batches = []
        for images in (True, False):
            rows = [i for i in order if self.types[i].images == images]
            if rows and len(rows) < self.prompts:
                rows = (rows * self.prompts)[: self.prompts]
            elif self.pairs:
                rows = _packed(_units(rows, self.pairs), self.prompts)
            whole = len(rows) // self.prompts * self.prompts
            batches += [rows[i : i + self.prompts] for i in range(0, whole, self.prompts)]
        if self.shuffle and len({each.images for each in self.types}) > 1:
            batches = [batches[i] for i in torch.randperm(len(batches), generator=generator)]
        spread = self.quota and not self.pairs
        return [self._spread(batch) for batch in batches] if spread else batches

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


def _units(order: Sequence[int], pairs: Sequence[str | None]) -> list[list[int]]:
    """Rows that belong together, each unit at the place of its first row; a row that was drawn
    several times is in several units."""
    units: list[list[int]] = []
    open_: dict[tuple, list[int]] = {}
    seen: Counter[int] = Counter()
    for row in order:
        copy = seen[row]
        seen[row] += 1
        unit = open_.get((pairs[row], copy)) if pairs[row] is not None else None
        if unit is None:
            unit = []
            units.append(unit)
            if pairs[row] is not None:
                open_[pairs[row], copy] = unit
        unit.append(row)
    return units


def _packed(units: Sequence[list[int]], prompts: int) -> list[int]:
    """Units in an order in which none crosses the end of a batch of ``prompts`` rows: a batch takes
    the first units left that fit, and repeats its own rows where none does. As many whole batches
    as the rows would fill otherwise."""
    left, rows = deque(units), []
    for _ in range(sum(map(len, units)) // prompts):
        batch, later = [], []
        while left and len(batch) < prompts and len(later) < SEARCHED * prompts:
            unit = left.popleft()
            if len(batch) + len(unit) <= prompts:
                batch += unit
            else:
                later.append(unit)
        left.extendleft(reversed(later))
        rows += [batch[n % len(batch)] for n in range(prompts)]
    return rows


def _quota(types: Sequence[RowType], mix: dict[str, float]) -> dict[RowType, int]:
    """Prompts per row type and epoch with which tasks have the shares of ``mix``."""
    counts: dict[RowType, int] = {}
    for type_ in types:
        counts[type_] = counts.get(type_, 0) + 1
    keys = {key for type_ in counts for key in _mix_keys(type_)}
    if unknown := sorted(set(mix) - keys):
        held = sorted({type_.task for type_ in counts} | (keys if "/" in unknown[0] else set()))
        raise InputError(f"task_mix names '{unknown[0]}', but the rows hold: {', '.join(held)}")
    if twice := [key for key in mix if key.rpartition("/")[0] in mix]:
        raise InputError(
            f"task_mix gives a share to '{twice[0]}' and to its whole task; give shares to both "
            f"of its sides, or to the task"
        )
    total = sum(mix.values())
    quota = {}
    for type_, n in counts.items():
        key = next((key for key in _mix_keys(type_) if key in mix), None)
        if key is None:
            continue
        of_key = sum(m for other, m in counts.items() if key in _mix_keys(other))
        share = mix[key] / total * n / of_key
        if share > 0:
            quota[type_] = max(round(share * len(types)), 1)
    return quota


def _mix_keys(type_: RowType) -> list[str]:
    """Keys of ``task_mix`` that mean a row type."""
    if type_.expected is None:
        return [type_.task]
    side = "expected" if type_.expected else "not_expected"
    return [type_.task, f"{type_.task}/{side}"]
