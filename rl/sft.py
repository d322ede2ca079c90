"""Supervised fine-tuning (SFT): cross-entropy of the answers of rows.

One trainer serves both uses: training the tiny base from scratch and fine-tuning a policy on a row
set. Not implemented: packing several rows into one sequence.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, concatenate_datasets
from transformers import Trainer, TrainingArguments

from data_gen.files.skipped import SkippedItems
from data_gen.rows import read_rows
from rl.checkpoints import AtomicCheckpointMixin
from rl.checks import check_best, check_disk
from rl.finite import FiniteMixin
from rl.policy.boxes import add_box_frame
from rl.policy.loading import Trainable
from rl.policy.prompt_length import ImageMeter, prompt_tokens
from rl.preflight import open_run, plan_text, policy_parts, steps_of
from rl.run_log import row_list
from rl.sampler import plain_row
from rl.settings import PolicySettings, StartupError, one_sentence

END_TOKENS = 4
"""Most tokens that a chat template writes after an answer."""


class SFTTrainer(AtomicCheckpointMixin, FiniteMixin, Trainer):
    """Cross-entropy of the answers' tokens; the LM head is applied at those positions only."""

    weigh: Callable[[torch.Tensor], torch.Tensor] | None = None
    """(N,) tokens of all answers, one after the other -> (N,) what each weighs; ``None``: alike."""

    # Why: to weight each answer by sqrt(length), between token mean and sequence mean. In a token
    # mean the captions drown a "yes"; in a sequence mean guesses at "yes" drown what captions
    # teach. Equal to: that mean over the logits of the whole sequence.
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        inputs = dict(inputs)
        self._ids = inputs.pop("ids", [])
        labels = inputs.pop("labels")[:, 1:]
        # Padding is on the right, where no token of a causal model looks: no mask is needed.
        inputs.pop("attention_mask")
        hidden = model(**inputs, logits_to_keep=1, output_hidden_states=True).hidden_states[-1]
        asked = labels != -100
        logits = self.model.get_output_embeddings()(hidden[:, :-1][asked]).float()
        begins = asked & ~torch.nn.functional.pad(asked, (1, 0))[:, :-1]
        answer = begins.flatten().cumsum(0)[asked.flatten()] - 1
        weights = answer.bincount()[answer] ** -0.5
        if self.weigh is not None:
            weights = weights * self.weigh(labels[asked])
        losses = torch.nn.functional.cross_entropy(logits, labels[asked], reduction="none")
        loss = (weights * losses).sum() / weights.sum()
        return (loss, logits) if return_outputs else loss

    def came_before(self) -> str:
        """The rows of the last micro-batch, where the collator hands them on."""
        return f"before it, {row_list(self._ids)}" if self._ids else ""


class Decisive:
    """Weights of tokens in the loss: more for those that decide an answer.

    Of a long chain of reasons few tokens decide; in a mean over all of them they hardly count, and
    the policy learns the form without the reasons.

    Args:
        tokenizer: of the policy. Its tokens are decoded one by one: a pattern finds no letter that
            is cut in several.
        pattern: a regular expression; a token that shares a character with a match decides.
        weight: of those tokens, above 0; all others weigh 1.
    """

    def __init__(self, tokenizer: Any, pattern: str, weight: float):
        self.pattern, self.weight = re.compile(pattern), weight
        self._text = cache(lambda token: tokenizer.decode([token]))

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        """(N,) tokens of answers, one after the other -> (N,) weights."""
        pieces = [self._text(token) for token in tokens.tolist()]
        of = [i for i, piece in enumerate(pieces) for _ in piece]  # character -> its token
        weights = torch.ones(len(pieces))
        for match in self.pattern.finditer("".join(pieces)):
            weights[of[match.start() : match.end()]] = self.weight
        return weights.to(tokens.device)


def collate_with_ids(collate: Callable) -> Callable:
    """``collate``, with the rows' ids under ``ids`` in each batch: :class:`SFTTrainer` names them
    where a loss is not finite."""

    def collated(examples: list[dict]) -> dict:
        return {**collate(examples), "ids": [example["id"] for example in examples]}

    return collated


def target_of(row: dict) -> str | None:
    """The text that the policy is trained to answer; ``None`` if the row has none.

    It is the row's ``box``, as JSON in the frame in which the policy writes boxes; or its custom
    column ``target``, free text such as a caption or reasons with their answer; or its ``answer``.

    Args:
        row: with ``box_frame`` from :func:`rl.policy.boxes.add_box_frame`, where it has a box.
    """
    if row["box"] is not None:
        width, height = row["box_frame"]
        digits = 3 if width <= 1 else None  # a frame of 0-1 needs decimals
        scaled = [
            round(v * side, digits) for v, side in zip(row["box"], (width, height) * 2, strict=True)
        ]
        return json.dumps({"bbox_2d": scaled})
    return (row.get("target") or "").strip() or row["answer"]


def examples(rows: Dataset) -> Dataset:
    """Rows as TRL's collator expects them: ``prompt``, ``completion`` and decoded ``images``,
    and with their ``id``. They are converted on access."""

    def convert(batch: dict) -> dict:
        made = {"id": [], "prompt": [], "completion": [], "images": []}
        for values in zip(*batch.values(), strict=True):
            row = plain_row(dict(zip(batch, values, strict=True)))
            made["id"].append(row["id"])
            made["prompt"].append(row["prompt"])
            made["completion"].append(
                [{"role": "assistant", "content": [{"type": "text", "text": target_of(row)}]}]
            )
            made["images"].append(row["images"])
        return made

    return rows.with_transform(convert)


def mixed(rows: Dataset, general: Dataset | None, share: float) -> Dataset:
    """All rows, followed by as many general rows as make up ``share`` of the result.

    Args:
        rows: N rows, all of which are kept.
        general: rows against forgetting; they are taken from the start, and repeated where there
            are too few.
        share: of general rows in the result, at least 0 and below 1.
    """
    if general is None or not share:
        return rows
    n = round(len(rows) * share / (1 - share))
    columns = [c for c in rows.column_names if c in general.column_names]
    rows = rows.select_columns(columns)
    taken = general.select([i % len(general) for i in range(n)]).select_columns(columns)
    if taken.features != rows.features:  # a cast writes every image once more
        taken = taken.cast(rows.features)
    return concatenate_datasets([rows, taken])


@dataclass(kw_only=True)
class SupervisedSettings(PolicySettings):
    """Supervised fine-tuning on a row set, as in RAP (arXiv 2410.13360)."""

    general_rows: str | None = field(
        default=None, metadata={"help": "Row set without names, mixed in against forgetting."}
    )
    general_share: float = field(
        default=0.2,
        metadata={
            "help": "Share of the rows trained on that are general ones, where there are any."
        },
    )
    decisive: str | None = field(
        default=None,
        metadata={
            "help": "Regular expression; tokens of an answer that it finds weigh decisive_weight."
        },
    )
    decisive_weight: float = field(
        default=1.0, metadata={"help": "Weight in the loss of those tokens; all others weigh 1."}
    )
    trust_remote_code: bool = field(default=False, metadata={"help": "Run code of the model."})

    @property
    def row_sets(self) -> dict[str, str]:
        """Setting -> path of each row set that is trained on."""
        general = {"general_rows": self.general_rows} if self.general_rows else {}
        return {**super().row_sets, **general}

    def __post_init__(self):
        if not 0 <= self.general_share < 1:
            raise StartupError(
                f"general_share is {self.general_share:g}; it must be a share from 0 to less than 1"
            )
        if not (self.decisive_weight > 0 and math.isfinite(self.decisive_weight)):
            raise StartupError(
                f"decisive_weight is {self.decisive_weight:g}; it must be a number above 0"
            )
        if self.decisive is None and self.decisive_weight != 1:
            raise StartupError(
                "decisive_weight weighs no tokens: name them by decisive, a regular expression"
            )
        try:
            re.compile(self.decisive or "")
        except re.error as error:
            raise StartupError(
                f"decisive is no regular expression: {error}: {self.decisive!r}"
            ) from None


@dataclass
class SupervisedReady:
    """A supervised run whose settings and rows passed every check.

    Attributes:
        rows: all rows of an epoch with ``box_frame``, general ones last.
        personal: how many of them are not general.
        tokens: of each row's prompt and answer.
        skipped: rows without an image, and rows that are too long.
        processor: the policy's.
        checkpoint: to resume from, or ``None``.
        digests: of the row sets, see :func:`rl.run_directory.row_digests`.
        eval_rows: held out, with ``box_frame``, or ``None``.
    """

    rows: Dataset
    personal: int
    tokens: list[int]
    skipped: SkippedItems
    processor: object
    checkpoint: Path | None
    digests: dict[str, str]
    eval_rows: Dataset | None = None


@one_sentence()
def prepare(settings: SupervisedSettings, args: TrainingArguments) -> SupervisedReady:
    """Check settings, rows, answers, output directory and lengths of a supervised run; load
    everything that it needs but the weights.

    Raises:
        StartupError: one sentence about the first thing that is wrong.
    """
    rows, general, checkpoint, digests = open_run(settings, args, settings.general_rows)
    config, processor = policy_parts(settings, settings.trust_remote_code)
    context = config.get_text_config().max_position_embeddings
    meter = ImageMeter(processor)
    skipped = SkippedItems()

    def usable(found: Dataset, path: str) -> tuple[Dataset, list[int]]:
        found = add_box_frame(found, processor, config.model_type, settings.box_convention)
        _check_targets(found, path)
        tokens = _lengths(found, processor, meter)
        keep = []
        columns = zip(found["id"], tokens, found["prompt"], strict=True)
        for i, (row_id, n, prompt) in enumerate(columns):
            if not any(part["type"] == "image" for m in prompt for part in m["content"]):
                # A processor accepts images for all rows of a batch or for none.
                skipped.add("without an image", row_id)
            elif n > context:
                skipped.add(f"too long for the context of {context} tokens", row_id)
            else:
                keep.append(i)
        if not keep:
            raise StartupError(f"no row of {path} can be used: {skipped.line()}")
        return found.select(keep), [tokens[i] for i in keep]

    rows, tokens = usable(rows, settings.rows)
    personal = len(rows)
    if general is not None and settings.general_rows and settings.general_share:
        general, more = usable(general, settings.general_rows)
        rows = mixed(rows, general, settings.general_share)
        tokens = tokens + [more[i % len(more)] for i in range(len(rows) - personal)]
    batch = args.per_device_train_batch_size * args.world_size
    if len(rows) < batch:
        raise StartupError(
            f"{settings.rows} has {len(rows)} usable rows, fewer than the {batch} of one batch"
        )
    check_best(settings, args, (), ())
    eval_rows = None
    if settings.eval_rows:
        eval_rows, _ = usable(read_rows(settings.eval_rows), settings.eval_rows)
    elif args.eval_strategy != "no":
        strategy = getattr(args.eval_strategy, "value", args.eval_strategy)
        raise StartupError(f"eval_strategy is '{strategy}', but no eval_rows given")
    steps, _ = steps_of(len(rows), args)
    check_disk(settings, args, config, steps, has=checkpoint is not None)
    return SupervisedReady(
        rows, personal, tokens, skipped, processor, checkpoint, digests, eval_rows
    )


def _check_targets(rows: Dataset, path: str) -> None:
    """Refuse rows without an answer to imitate.

    Raises:
        StartupError: the row and what it lacks.
    """
    light: Any = rows.select_columns(
        [
            c
            for c in ("id", "task", "answer", "box", "box_frame", "target")
            if c in rows.column_names
        ]
    )
    for row in light:
        if row["box"] is not None and row["box_frame"] is None:
            raise StartupError(f"{path}: row {row['id']!r} has a box, but no image for it")
        if target_of(row) is None:
            raise StartupError(
                f"{path}: row {row['id']!r} ({row['task']}) has no answer to imitate: its column "
                f"'target' is {'empty' if 'target' in row else 'missing'}; make the rows with "
                f"`targets: true`, or without that task"
            )


def _lengths(rows: Dataset, processor, meter: ImageMeter) -> list[int]:
    """Tokens of each row's prompt, answer and end of turn."""
    prompts = prompt_tokens(rows, processor, meter)
    light: Any = rows.remove_columns([c for c in ("images", "prompt") if c in rows.column_names])
    return [
        n + len(processor.tokenizer(target_of(row))["input_ids"]) + END_TOKENS
        for n, row in zip(prompts, light, strict=True)
    ]


def plan(
    settings: SupervisedSettings,
    args: TrainingArguments,
    ready: SupervisedReady,
    trainable: Trainable,
) -> str:
    """The resolved plan of a supervised run as text, printed before the first step."""
    tasks = Counter(ready.rows[: ready.personal]["task"])
    listed = ", ".join(f"{task} {n}" for task, n in sorted(tasks.items()))
    general = len(ready.rows) - ready.personal
    steps, per_step = steps_of(len(ready.rows), args)
    return plan_text(
        settings,
        trainable,
        ready.checkpoint,
        {
            "rows": f"{ready.personal} of {settings.rows}: {listed}",
            "general": f"{general} of {settings.general_rows} mixed in" if general else "none",
            "skipped": ", ".join(f"{n} {why}" for why, n in ready.skipped.counts.items()) or "none",
            "tokens": f"{sum(ready.tokens) / len(ready.tokens):.0f} with the answer (longest "
            f"{max(ready.tokens)})",
            "steps": f"{steps} of {per_step} rows on {args.world_size} process(es)",
        },
    )
