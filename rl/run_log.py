"""What a run logs: metrics per task, completions as parquet, one JSON line per logged step.

A completion is logged with the prompt's text and the row's id, not with its images, which are in
the row set under that id. TRL's own completion log is not used, because it gives training and
evaluation completions of one step the same file name and knows neither task nor row.
"""

import json
import math
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm.auto import tqdm
from transformers import TrainerCallback

from data_gen.files.files import atomic_file, is_file


@dataclass
class Scored:
    """Completions of one generation round over all processes, N = groups x G, in global order.

    Attributes:
        tasks, ids: of each completion's row.
        lengths: completion tokens, the end token included.
        cut_off: whether the completion reached the length limit.
        rewards: N x F, one column per reward function, NaN where a function returned None.
        totals: weighted sums over the functions; NaN where every function returned None.
        group: completions per prompt, G.
        weights: how often each completion counts in means and in the loss, where not all count
            once (:mod:`rl.credit`).
        apart: weights of the F functions where each is normalised by itself
            (``multi_objective_aggregation: normalize_then_sum``, GDPO, arXiv 2601.05242); ``None``:
            their sum is normalised.
    """

    tasks: list[str]
    ids: list[str]
    lengths: list[int]
    cut_off: list[bool]
    rewards: list[list[float]]
    totals: list[float]
    group: int
    weights: list[float] | None = None
    apart: list[float] | None = None

    def varied(self) -> list[bool]:
        """Per group, whether its rewards differ by more than 1e-6; a zero-variance group does not,
        and gives no gradient. Where functions are normalised apart, it is the sum of what they are
        normalised to that differs or not, as TRL adds it up: two rewards of one weight, of which a
        completion earns either 1 of the first or 0.2 of the second, cancel out there."""
        values, least = self.totals, 1e-6
        if self.apart is not None:
            least = 1e-2  # what TRL adds to a standard deviation keeps rewards from cancelling out
            groups = range(0, len(values), self.group)
            values = [
                value
                for start in groups
                for value in _normalised(self.rewards[start : start + self.group], self.apart)
            ]
        varied = []
        for start in range(0, len(values), self.group):
            known = [v for v in values[start : start + self.group] if not math.isnan(v)]
            varied.append(bool(known) and max(known) - min(known) > least)
        return varied

    def summary(self, reward_names: list[str]) -> str:
        """Which rewards were given, in a few words: those that are infinite, each with its row, or
        else from where to where they reach."""
        columns = list(zip(*self.rewards, strict=True))
        infinite = [
            f"reward {name} was {value} for row {row_id!r}"
            for name, column in zip(reward_names, columns, strict=True)
            for value, row_id in zip(column, self.ids, strict=True)
            if math.isinf(value)
        ]
        if infinite:
            return f"before it, {infinite[0]}"
        known = [[v for v in column if not math.isnan(v)] for column in columns]
        spans = [
            f"{name} gave {min(values):g} to {max(values):g}" if values else f"{name} gave none"
            for name, values in zip(reward_names, known, strict=True)
        ]
        return f"before it, {', '.join(spans)} for {row_list(self.ids)}"

    def metrics(self) -> dict[str, float]:
        """Per task: mean and standard deviation of the reward, share of zero-variance groups, share
        of completions cut off at the limit, mean completion tokens. Over all tasks: the share of
        zero-variance groups."""
        varied = self.varied()
        members = defaultdict(list)
        for i, task in enumerate(self.tasks):
            members[task].append(i)
        named = {f"tasks/{task}/": indices for task, indices in sorted(members.items())}
        metrics = {}
        for prefix, indices in {**named, "groups/": range(len(self.tasks))}.items():
            zero_variance = [not varied[i // self.group] for i in indices]
            metrics[f"{prefix}zero_variance"] = _mean(zero_variance)
            if prefix == "groups/":
                continue
            known = [i for i in indices if not math.isnan(self.totals[i])]
            weights = self.weights or [1.0] * len(self.totals)
            mean = _mean([weights[i] * self.totals[i] for i in known])
            squares = [weights[i] * (self.totals[i] - mean) ** 2 for i in known]
            metrics[f"{prefix}reward"] = mean
            metrics[f"{prefix}reward_std"] = _mean(squares) ** 0.5
            metrics[f"{prefix}cut_off"] = _mean([self.cut_off[i] for i in indices])
            metrics[f"{prefix}length"] = _mean([self.lengths[i] for i in indices])
        return metrics


def row_list(ids: list[str], most: int = 4) -> str:
    """``rows 'a', 'b' and 3 others``."""
    each = list(dict.fromkeys(ids))
    more = f" and {len(each) - most} others" if len(each) > most else ""
    return f"rows {', '.join(map(repr, each[:most]))}{more}"


def _normalised(group: list[list[float]], weights: list[float]) -> list[float]:
    """Per completion of a group, the weighted sum of its rewards, each less the group's mean and
    divided by its standard deviation, as TRL computes it; NaN where no function judged it."""
    sums = [math.nan if all(map(math.isnan, rewards)) else 0.0 for rewards in group]
    for f, weight in enumerate(weights):
        column = [rewards[f] for rewards in group]
        known = [r for r in column if not math.isnan(r)]
        if len(known) < 2:
            continue
        mean = _mean(known)
        std = (sum((r - mean) ** 2 for r in known) / (len(known) - 1)) ** 0.5
        for i, r in enumerate(column):
            sums[i] += 0.0 if math.isnan(r) else weight * (r - mean) / (std + 1e-4)
    return sums


def _mean(values) -> float:
    return sum(values) / len(values) if values else math.nan


@dataclass
class CompletionLog:
    """Writes ``<directory>/<train or eval>_<step>.parquet``, one row per completion.

    Files are written atomically; a step that is run again after a resume overwrites its file.
    """

    directory: Path
    _rows: dict[str, tuple[int, list[dict]]] = field(default_factory=dict)

    def add(self, mode: str, step: int, rows: list[dict]) -> None:
        """Add ``rows`` to those that this step has already written in this mode."""
        at, earlier = self._rows.get(mode, (step, []))
        rows = [*(earlier if at == step else []), *rows]
        self._rows[mode] = (step, rows)
        self.directory.mkdir(parents=True, exist_ok=True)
        file = self.directory / f"{mode}_{step:06d}.parquet"
        table = pa.Table.from_pylist(rows)
        # A reward that returned None for all of a step's rows is a column of nulls; its type stays
        # that of numbers, so that all files have one schema.
        schema = pa.schema(
            [(f.name, pa.float64() if pa.types.is_null(f.type) else f.type) for f in table.schema]
        )
        with atomic_file(file) as out:
            pq.write_table(table.cast(schema), out)


def completion_rows(
    scored: Scored,
    reward_names: list[str],
    texts: list[tuple[str, str, list[int]]],
    advantages: list[float],
    when: dict,
    first: int = 0,
) -> list[dict]:
    """The rows of a completion file.

    Args:
        scored: N completions.
        reward_names: of its F columns.
        texts: for each completion, the prompt's text, its own text and its token ids.
        advantages: N.
        when: columns that are equal in all rows, such as the step.
        first: number of completions that the same step has logged before.
    """
    return [
        {
            **when,
            "place": first + i,
            "id": scored.ids[i],
            "index": i % scored.group,
            "task": scored.tasks[i],
            "prompt": prompt,
            "completion": text,
            "completion_ids": tokens,
            **{
                f"reward/{name}": _number(value)
                for name, value in zip(reward_names, scored.rewards[i], strict=True)
            },
            "reward": _number(scored.totals[i]),
            "advantage": advantages[i],
            **({"weight": scored.weights[i]} if scored.weights else {}),
            "length": scored.lengths[i],
            "cut_off": scored.cut_off[i],
        }
        for i, (prompt, text, tokens) in enumerate(texts)
    ]


def read_completions(path: Path | None) -> dict[tuple, tuple[str, list[int]]] | None:
    """Logged training completions, to be replayed: (step, round, place) -> (row id, tokens)."""
    if path is None:
        return None
    files = sorted(Path(path).glob("train_*.parquet")) if Path(path).is_dir() else [Path(path)]
    columns = ["step", "round", "place", "id", "completion_ids"]
    rows = [row for file in files for row in pq.read_table(file, columns=columns).to_pylist()]
    return {(r["step"], r["round"], r["place"]): (r["id"], r["completion_ids"]) for r in rows}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def transcript(prompt: list[dict]) -> str:
    """A conversation as plain text, ``role: text`` per message, images as ``[image]``."""
    lines = []
    for message in prompt:
        content = message["content"]
        if not isinstance(content, str):
            content = "".join(
                "[image]" if part["type"] == "image" else part["text"] or "" for part in content
            )
        lines.append(f"{message['role']}: {content}")
    return "\n".join(lines)


class RunLog(TrainerCallback):
    """Appends every log of the trainer to ``log.jsonl`` and shows a progress line.

    A line of the file is ``{"step", "epoch", "seconds", ...}``, with metrics as TRL names them and
    null for numbers that are not finite. On resume, lines of steps after the checkpoint are
    dropped, because those steps are run again.
    """

    def __init__(self, path: Path, show: bool = True):
        self.path, self.show = path, show
        self.bar, self.started = None, time.monotonic()

    def on_train_begin(self, args, state, control, **_):
        self.started = time.monotonic()
        if state.is_world_process_zero:
            trim_log(self.path, state.global_step)
            self.bar = tqdm(
                total=state.max_steps,
                initial=state.global_step,
                unit="step",
                disable=not self.show,
                dynamic_ncols=True,
            )

    def on_step_end(self, args, state, control, **_):
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)

    def on_log(self, args, state, control, logs=None, **_):
        if not state.is_world_process_zero or not logs:
            return
        numbers = {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in logs.items()
        }
        line = {
            "step": state.global_step,
            **numbers,
            "seconds": round(time.monotonic() - self.started, 2),
        }
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        shown = {
            "reward": "reward",
            "tokens": "completions/mean_length",
            "zero_var": "groups/zero_variance",
            "kl": "kl",
        }
        if "reward" not in numbers:
            shown = {"loss": "loss"}  # supervised training has nothing else to show
        parts = {
            short: f"{numbers[key]:.3g}"
            for short, key in shown.items()
            if numbers.get(key) is not None
        }
        if self.bar is not None and parts:
            self.bar.set_postfix(parts)

    def on_train_end(self, args, state, control, **_):
        if self.bar is not None:
            self.bar.close()


def trim_log(path: Path, step: int) -> None:
    """Drop lines of steps after ``step``, and lines that a kill or something else has damaged."""
    if not is_file(path):
        return
    kept = []
    for line in path.read_bytes().split(b"\n"):
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + b"\n")
        except (ValueError, RecursionError, TypeError, KeyError):  # torn, or no log of ours
            continue
    with atomic_file(path) as file:
        file.write(b"".join(kept))
