"""Dynamic sampling (DAPO, arXiv 2503.14476, section 3.2): zero-variance groups are replaced.

A zero-variance group is one whose completions all have the same reward: its advantages are 0, so it
gives no gradient. It is replaced by the group of another prompt of the same row type.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate.utils import gather_object
from trl.trainer.grpo_config import GRPOConfig

from data_gen.files.errors import InputError
from rl.chunks import collate, split
from rl.run_log import Scored
from rl.sampler import RowType, plain_row, type_of

_Trainer: Any = object  # for type checkers: what GRPOTrainer brings


@dataclass
class Replacements:
    """Draws replacement rows of a given row type, each row once before any is repeated.

    Every row type has its own seeded order and a cursor into it, which is saved with a checkpoint.
    Every process computes the draws of all processes, so all hold the same cursors.
    """

    types: Sequence[RowType]
    seed: int
    cursors: dict[str, int] = field(default_factory=dict)

    def __post_init__(self):
        self._rows: dict[RowType, list[int]] = defaultdict(list)
        for row, type_ in enumerate(self.types):
            self._rows[type_].append(row)

    def draw(self, wanted: list[list[RowType]]) -> list[list[int]]:
        """For each process, a row index per wanted row type."""
        return [[self._next(type_) for type_ in types] for types in wanted]

    def _next(self, type_: RowType) -> int:
        rows = self._rows[type_]
        key = "|".join(map(str, type_))
        cursor = self.cursors.get(key, 0)
        self.cursors[key] = cursor + 1
        epoch, place = divmod(cursor, len(rows))
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch + 1)
        return rows[int(torch.randperm(len(rows), generator=generator)[place])]


class DynamicSamplingMixin(_Trainer):
    """The part of :class:`rl.trainer.PolicyTrainer` that replaces zero-variance groups."""

    _replacements: Replacements
    _scored: Scored | None

    def _generate_round(self, inputs: list[dict], number: int) -> dict:
        """Sample and score completions for ``inputs``; the trainer implements it."""
        raise NotImplementedError

    def _replace_zero_variance_groups(self, inputs: list[dict], output: dict, limit: int) -> dict:
        """Replace groups whose rewards do not vary, in at most ``limit`` rounds.

        In every round, each process samples as many groups as the process that needs most, so that
        all processes take part in every collective call; a group stays on the process that trains
        on it. Rewards, lengths and per-task numbers in the log are those of the first round: the
        groups that are kept in the end would flatter them.

        Args:
            inputs: this process's rows, each ``num_generations`` times.
            output: what ``_generate_round`` returned for them.
            limit: rounds of replacement.

        Returns:
            The batch with groups replaced, and ``num_items_in_batch`` counted anew.
        """
        G, rank = self.num_generations, self.accelerator.process_index
        groups = split(output, G)
        types = [type_of(inputs[i]) for i in range(0, len(inputs), G)]
        zero_variance_slots = self._zero_variance_slots(len(groups))
        asked = gather_object([len(zero_variance_slots)])
        drawn = rounds = 0
        for number in range(1, limit + 1):
            wanted = gather_object([[types[i] for i in zero_variance_slots]])
            most = max(map(len, wanted))
            if most == 0:
                break
            spare = next(type_ for of_rank in wanted for type_ in of_rank)
            wanted = [of_rank + [spare] * (most - len(of_rank)) for of_rank in wanted]
            chosen = self._replacements.draw(wanted)[rank]
            rows = [plain_row(self.train_dataset[i]) for i in chosen]
            with self._metrics_aside():
                fresh = self._generate_round([row for row in rows for _ in range(G)], number)
            unusable = self._zero_variance_slots(len(rows))
            # Spare groups at the end have no slot: zip drops them.
            for n, (slot, group) in enumerate(
                zip(list(zero_variance_slots), split(fresh, G), strict=False)
            ):
                if n not in unusable:
                    groups[slot] = group
                    zero_variance_slots.remove(slot)
            rounds, drawn = number, drawn + most * len(wanted)
        left = gather_object([len(zero_variance_slots)])
        counts = {
            "zero_variance": sum(asked),
            "replaced": sum(asked) - sum(left),
            "left": sum(left),
            "drawn": drawn,
            "rounds": rounds,
        }
        for key, value in counts.items():
            self._metrics["train"][f"dynamic_sampling/{key}"].append(float(value))
        output = collate(groups, self._tokenizer.pad_token_id, trim=self.pad_to_multiple_of is None)
        mask = output["completion_mask"] * output.get("tool_mask", 1)
        items = mask.sum() + output.get("other_mass", mask.new_zeros(1)).sum()
        output["num_items_in_batch"] = self.accelerator.gather(items).sum()
        return output

    def _zero_variance_slots(self, n: int) -> list[int]:
        """Which of this process's ``n`` groups have rewards that do not vary."""
        assert self._scored is not None, "a round is scored before its groups are judged"
        varied = self._scored.varied()[self.accelerator.process_index * n :][:n]
        return [i for i, v in enumerate(varied) if not v]

    @contextmanager
    def _metrics_aside(self) -> Iterator[None]:
        """What TRL logs meanwhile is discarded."""
        kept, self._metrics["train"] = self._metrics["train"], defaultdict(list)
        try:
            yield
        finally:
            self._metrics["train"] = kept


def check_dynamic_sampling(args: GRPOConfig, wanted: bool) -> None:
    """Refuse dynamic sampling where it cannot keep groups whole or judge them one by one.

    Raises:
        InputError: groups are spread over processes, or rewards are scaled by the batch, as they
            are also where each is normalised by itself.
    """
    local = args.per_device_train_batch_size * (args.steps_per_generation or 1)
    if wanted and local % (args.num_generations or 1):
        raise InputError(
            f"dynamic_sampling needs whole groups on every process: per_device_train_batch_size x "
            f"steps_per_generation is {local}, which num_generations {args.num_generations} does "
            f"not divide"
        )
    if wanted and args.scale_rewards == "batch":
        raise InputError(
            "dynamic_sampling needs scale_rewards 'group' or 'none', because it "
            "judges groups one by one"
        )
    if wanted and args.multi_objective_aggregation != "sum_then_normalize":
        raise InputError(
            "dynamic_sampling needs multi_objective_aggregation 'sum_then_normalize': the other "
            "divides by the standard deviation of the batch, of which it replaces groups"
        )
