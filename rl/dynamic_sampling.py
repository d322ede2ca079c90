"""Groups whose rewards do not vary, replaced by fresh prompts (2503.14476, section 3.2)."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from accelerate.utils import gather_object
from trl import GRPOConfig

from rl.chunks import cut, join
from rl.sampler import Kind, kind_of, plain_row


@dataclass
class Replacements:
    """Fresh rows for groups whose rewards do not vary, each of the kind of the group it replaces.

    Every kind has its own seeded order, and a cursor into it that is saved with a checkpoint; all
    processes hold the same cursors, because each computes every process's draw.
    """

    kinds: Sequence[Kind]
    seed: int
    cursors: dict[str, int] = field(default_factory=dict)

    def __post_init__(self):
        self._rows: dict[Kind, list[int]] = defaultdict(list)
        for row, kind in enumerate(self.kinds):
            self._rows[kind].append(row)

    def draw(self, wanted: list[list[Kind]]) -> list[list[int]]:
        """For each process, a row index per wanted kind."""
        return [[self._next(kind) for kind in kinds] for kinds in wanted]

    def _next(self, kind: Kind) -> int:
        rows = self._rows[kind]
        key = f"{kind.task}|{kind.images}"
        cursor = self.cursors.get(key, 0)
        self.cursors[key] = cursor + 1
        turn, place = divmod(cursor, len(rows))
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + turn + 1)
        return rows[int(torch.randperm(len(rows), generator=generator)[place])]


class FreshGroups:
    """Mixed into :class:`rl.trainer.PolicyTrainer`, which samples and scores."""

    def _replace_still_groups(self, inputs: list[dict], output: dict) -> dict:
        """Replace groups whose rewards do not vary.

        Every round, each process samples as many fresh groups as the process with the most still
        groups needs, so that all take part in every collective call; groups stay where they are
        trained. Rewards, lengths and per-task numbers in the log are those of the first round:
        the selected groups would flatter them.
        """
        G, rank = self.num_generations, self.accelerator.process_index
        groups = cut(output, G)
        kinds = [kind_of(inputs[i]) for i in range(0, len(inputs), G)]
        still = self._still(len(groups))
        asked = gather_object([len(still)])
        drawn = replaced = rounds = 0
        for number in range(1, self.options.dynamic_sampling_limit + 1):
            wanted = gather_object([[kinds[i] for i in still]])
            most = max(map(len, wanted))
            if most == 0:
                break
            spare = next(kind for of_rank in wanted for kind in of_rank)
            wanted = [of_rank + [spare] * (most - len(of_rank)) for of_rank in wanted]
            chosen = self._replacements.draw(wanted)[rank]
            rows = [plain_row(self.train_dataset[i]) for i in chosen]
            with self._metrics_aside():
                fresh = self._generate_round([row for row in rows for _ in range(G)], number)
            dull = self._still(len(rows))
            for slot, (place, group) in enumerate(zip(list(still), cut(fresh, G), strict=False)):
                if slot not in dull:
                    groups[place] = group
                    still.remove(place)
            rounds, drawn = number, drawn + most * len(wanted)
        left = gather_object([len(still)])
        replaced = sum(asked) - sum(left)
        counts = {"still": sum(asked), "replaced": replaced, "left": sum(left), "drawn": drawn,
                  "rounds": rounds}
        for key, value in counts.items():
            self._metrics["train"][f"dynamic_sampling/{key}"].append(float(value))
        output = join(groups, self._tokenizer.pad_token_id, trim=self.pad_to_multiple_of is None)
        mask = output["completion_mask"] * output.get("tool_mask", 1)
        output["num_items_in_batch"] = self.accelerator.gather(mask.sum()).sum()
        return output

    def _still(self, n: int) -> list[int]:
        """Places of this process's ``n`` groups whose rewards do not vary."""
        varied = self._scored.varied()[self.accelerator.process_index * n :][:n]
        return [i for i, v in enumerate(varied) if not v]

    @contextmanager
    def _metrics_aside(self) -> Iterator[None]:
        kept, self._metrics["train"] = self._metrics["train"], defaultdict(list)
        try:
            yield
        finally:
            self._metrics["train"] = kept


def check_dynamic_sampling(args: GRPOConfig, wanted: bool) -> None:
    """Refuse dynamic sampling where it could not keep groups whole or judge them one by one.

    Raises:
        ValueError: groups are spread over processes, or rewards are scaled by the batch.
    """
    local = args.per_device_train_batch_size * args.steps_per_generation
    if wanted and local % args.num_generations:
        raise ValueError(
            f"dynamic_sampling needs whole groups on every process: per_device_train_batch_size x "
            f"steps_per_generation is {local}, which num_generations {args.num_generations} does "
            f"not divide")
    if wanted and args.scale_rewards == "batch":
        raise ValueError("dynamic_sampling needs scale_rewards 'group' or 'none', because it "
                         "judges groups one by one")
