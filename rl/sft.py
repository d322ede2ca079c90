"""Supervised training: cross-entropy of answers to imitate.

One trainer for both kinds: the tiny base that is made from nothing, and a policy fine-tuned on a
row set (:mod:`rl.sft`). Left out: packing several rows into one sequence.
"""

import json
import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate import PartialState
from datasets import Dataset, concatenate_datasets
from transformers import Trainer, TrainingArguments

from data_gen.rows import read_rows
from rl import checkpoints as resume
from rl.checkpoints import WholeCheckpoints
from rl.policy.boxes import add_box_frame
from rl.policy.loading import Trainable
from rl.policy.prompt_length import ImageMeter, prompt_tokens
from rl.preflight import check_same_run, claim_output, policy_parts
from rl.sampler import plain_row
from rl.settings import PolicySettings, StartupError, one_sentence


class TargetTrainer(WholeCheckpoints, Trainer):
    """Cross-entropy of the answers' tokens; the vocabulary is scored at those places only.

    An answer of n tokens weighs sqrt(n): in a mean over tokens a "yes" is drowned by the captions
    beside it, in a mean over answers what a list shows is drowned by guessing at "yes".
    """

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        inputs = dict(inputs)
        labels = inputs.pop("labels")[:, 1:]
        # Padded on the right, where no token of a causal model looks: no mask is needed.
        inputs.pop("attention_mask")
        hidden = model(**inputs, logits_to_keep=1, output_hidden_states=True).hidden_states[-1]
        asked = labels != -100
        logits = self.model.get_output_embeddings()(hidden[:, :-1][asked]).float()
        begins = asked & ~torch.nn.functional.pad(asked, (1, 0))[:, :-1]
        answer = begins.flatten().cumsum(0)[asked.flatten()] - 1
        weights = answer.bincount()[answer] ** -0.5
        losses = torch.nn.functional.cross_entropy(logits, labels[asked], reduction="none")
        loss = (weights * losses).sum() / weights.sum()
        return (loss, logits) if return_outputs else loss


def target_of(row: dict) -> str | None:
    """The answer of a row that supervised training imitates; ``None`` if the row has none.

    ``answer`` and ``box`` are the truth of the row contract; the box is written in the frame in
    which the policy writes boxes. What is said freely stands in the custom column ``target``.

    Args:
        row: with ``box_frame`` from :func:`rl.policy.boxes.add_box_frame`, where it has a box.
    """
    if row["box"] is not None:
        width, height = row["box_frame"]
        digits = 3 if width <= 1 else None  # of a frame of 0-1
        scaled = [round(v * side, digits) for v, side
                  in zip(row["box"], (width, height) * 2, strict=True)]
        return json.dumps({"bbox_2d": scaled})
    if row["answer"] is not None:
        return row["answer"]
    return (row.get("target") or "").strip() or None


def examples(rows: Dataset) -> Dataset:
    """Rows as TRL's collator wants them, made when they are asked for: ``prompt``, ``completion``
    and decoded ``images``."""

    def ready(batch: dict) -> dict:
        made = {"prompt": [], "completion": [], "images": []}
        for values in zip(*batch.values(), strict=True):
            row = plain_row(dict(zip(batch, values, strict=True)))
            made["prompt"].append(row["prompt"])
            made["completion"].append([{"role": "assistant", "content": [
                {"type": "text", "text": target_of(row)}]}])
            made["images"].append(row["images"])
        return made

    return rows.with_transform(ready)


def mixed(rows: Dataset, general: Dataset | None, share: float) -> Dataset:
    """The rows, and general ones beside them until these are ``share`` of all.

    Args:
        rows: N rows, each of which is in.
        general: rows that keep what the policy could do before; the first ones are taken, and
            again from the start where there are too few.
        share: in 0-1, below 1.
    """
    if general is None or not share:
        return rows
    n = round(len(rows) * share / (1 - share))
    columns = [c for c in rows.column_names if c in general.column_names]
    taken = general.select([i % len(general) for i in range(n)]).select_columns(columns)
    return concatenate_datasets([rows.select_columns(columns), taken.cast(
        rows.select_columns(columns).features)])


END_TOKENS = 4
"""Tokens that a chat template may put behind an answer."""


@dataclass(kw_only=True)
class SupervisedSettings(PolicySettings):
    """Supervised fine-tuning on a row set, in RAP's manner."""

    general_rows: str | None = field(default=None, metadata={
        "help": "Row set without names, mixed in against forgetting."})
    general_share: float = field(default=0.2, metadata={
        "help": "Share of the rows trained on that are general ones, where there are any."})
    trust_remote_code: bool = field(default=False, metadata={"help": "Run code of the model."})

    def __post_init__(self):
        if not 0 <= self.general_share < 1:
            raise StartupError(f"general_share is {self.general_share:g}; it must be a share from "
                               f"0 to less than 1")


@dataclass
class SupervisedReady:
    """A run that may start.

    Attributes:
        rows: all rows of an epoch with ``box_frame``, general ones among them.
        personal: how many of them are not general.
        tokens: of each row's prompt and answer.
        dropped: reason -> rows left out.
        context: the policy's, in tokens.
        processor: the policy's.
        checkpoint: to go on from, or ``None``.
    """

    rows: Dataset
    personal: int
    tokens: list[int]
    dropped: dict[str, int]
    context: int
    processor: object
    checkpoint: Path | None


@one_sentence()
def prepare(settings: SupervisedSettings, args: TrainingArguments) -> SupervisedReady:
    """Check rows, answers, output and lengths; open what the run needs but the weights.

    Raises:
        StartupError: with one sentence, at the first thing that is wrong.
    """
    claim_output(settings)
    checkpoint = resume.choose(settings.resume, settings.checkpoints, args.world_size)
    if checkpoint is not None:
        check_same_run(settings, args)
    with PartialState().main_process_first():  # one process converts the parquet, others map it
        rows = read_rows(settings.rows)
        general = read_rows(settings.general_rows) if settings.general_rows else None
    if settings.max_rows:
        rows = rows.select(range(min(settings.max_rows, len(rows))))
    config, processor = policy_parts(settings, settings.trust_remote_code)
    context = config.get_text_config().max_position_embeddings
    meter = ImageMeter(processor)
    dropped: Counter[str] = Counter()

    def usable(found: Dataset, path: str) -> tuple[Dataset, list[int]]:
        found = add_box_frame(found, processor, config.model_type, settings.box_convention)
        _check_targets(found, path)
        tokens = _lengths(found, processor, meter)
        keep = []
        for i, (n, prompt) in enumerate(zip(tokens, found["prompt"], strict=True)):
            if not any(part["type"] == "image" for m in prompt for part in m["content"]):
                # A processor takes pictures for all rows of a batch or for none.
                dropped["without a picture"] += 1
            elif n > context:
                dropped[f"too long for the context of {context} tokens"] += 1
            else:
                keep.append(i)
        if not keep:
            raise StartupError(f"no row of {path} can be used: "
                               + ", ".join(f"{n} {why}" for why, n in dropped.items()))
        return found.select(keep), [tokens[i] for i in keep]

    rows, tokens = usable(rows, settings.rows)
    personal = len(rows)
    if general is not None and settings.general_share:
        general, more = usable(general, settings.general_rows)
        rows = mixed(rows, general, settings.general_share)
        tokens = tokens + [more[i % len(more)] for i in range(len(rows) - personal)]
    batch = args.per_device_train_batch_size * args.world_size
    if len(rows) < batch:
        raise StartupError(f"{settings.rows} has {len(rows)} usable rows, fewer than the {batch} "
                           f"of one batch")
    return SupervisedReady(rows, personal, tokens, dict(dropped), context, processor, checkpoint)


def _check_targets(rows: Dataset, path: str) -> None:
    """Every row needs an answer to imitate."""
    light = rows.select_columns(
        [c for c in ("id", "task", "answer", "box", "box_frame", "target")
         if c in rows.column_names])
    for row in light:
        if row["box"] is not None and row["box_frame"] is None:
            raise StartupError(f"{path}: row {row['id']!r} has a box, but no picture it is in")
        if target_of(row) is None:
            raise StartupError(
                f"{path}: row {row['id']!r} ({row['task']}) has no answer to imitate: its column "
                f"'target' is {'empty' if 'target' in row else 'missing'}; make the rows with "
                f"`targets: true`, or leave that task out")


def _lengths(rows: Dataset, processor, meter: ImageMeter) -> list[int]:
    """Tokens of each row's prompt, answer and the end behind it."""
    prompts = prompt_tokens(rows, processor, meter)
    light = rows.remove_columns([c for c in ("images", "prompt") if c in rows.column_names])
    return [n + len(processor.tokenizer(target_of(row))["input_ids"]) + END_TOKENS
            for n, row in zip(prompts, light, strict=True)]


def plan(settings: SupervisedSettings, args: TrainingArguments, ready: SupervisedReady,
         trainable: Trainable) -> str:
    """The resolved plan as text, printed before the first step."""
    tasks = Counter(ready.rows[: ready.personal]["task"])
    told = ", ".join(f"{task} {n}" for task, n in sorted(tasks.items()))
    general = len(ready.rows) - ready.personal
    per_step = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
    steps = args.max_steps
    if steps <= 0:
        steps = math.ceil(math.ceil(len(ready.rows) / per_step) * args.num_train_epochs)
    lines = {
        "policy": f"{settings.policy} ({settings.dtype})",
        "trainable": str(trainable),
        "rows": f"{ready.personal} of {settings.rows}: {told}",
        "general": f"{general} of {settings.general_rows} beside them" if general else "none",
        "dropped": ", ".join(f"{n} {why}" for why, n in ready.dropped.items()) or "none",
        "tokens": f"{sum(ready.tokens) / len(ready.tokens):.0f} with the answer (longest "
                  f"{max(ready.tokens)})",
        "steps": f"{steps} of {per_step} rows on {args.world_size} process(es)",
        "output": f"{settings.output}/"
                  + (f" (going on from {ready.checkpoint.name})" if ready.checkpoint else ""),
    }
    return "\n".join(f"{key:>10}  {value}" for key, value in lines.items())
