"""Supervised training: cross-entropy of answers to imitate.

One trainer for both kinds: the tiny base that is made from nothing, and a policy fine-tuned on a
row set (:mod:`rl.supervised_run`). Left out: packing several rows into one sequence.
"""

import json

import torch
from datasets import Dataset, concatenate_datasets
from transformers import Trainer

from rl.checkpoints import WholeCheckpoints
from rl.order import plain_row


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
        row: with ``box_frame`` from :func:`rl.policy.add_box_frame`, where it has a box.
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
