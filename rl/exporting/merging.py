"""Merge an adapter into its weights, and say what that changes.

An adapter adds ``(alpha / r) B A`` to a weight. Added in fp32 the sum is that of the unmerged model
up to the order of additions. Rounded to bfloat16, which has 8 bits, an update that is smaller than
1/256 of its weight may be lost; float16 has 11.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from data_gen.files.errors import InputError
from rl.policy.generation import generate
from rl.policy.likelihood import option_log_likelihoods


def merge(model: Any) -> Any:
    """The plain model with its adapters added into the weights; a plain model is returned as it is.

    Args:
        model: in fp32, of :func:`rl.policy.loading.load_policy`. It must not be used afterwards.

    Raises:
        InputError: the weights are of fewer bits, or a merged weight is not finite.
    """
    if not isinstance(model, PeftModel):
        return model
    few = next((n for n, p in model.named_parameters() if p.dtype != torch.float32), None)
    if few is not None:
        raise InputError(f"adapters are merged in fp32, and {few} is not: load the policy so")
    try:
        return model.merge_and_unload(safe_merge=True)  # type: ignore[operator]
    except ValueError as error:  # peft names the adapter
        raise InputError(f"a merged weight is not finite ({error}): nothing was written") from error


def save(model: Any, processor: Any, folder: Path, dtype: torch.dtype) -> None:
    """Write weights in ``dtype``, configuration, generation settings and processor, as plain
    ``from_pretrained`` reads them. The model's weights are rounded in place."""
    model.to(dtype)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


@dataclass(frozen=True)
class Replies:
    """Greedy replies of a model to N rows.

    Attributes:
        texts: N replies.
        logps: N mean log-probabilities, in nats per token, of the reply that the model compared
            with has given.
    """

    texts: list[str]
    logps: list[float]


def replies(
    model: Any,
    processor: Any,
    rows: Sequence[dict],
    *,
    max_new_tokens: int,
    batch_size: int,
    of: Replies | None = None,
    progress: Callable[[int], object] | None = None,
) -> Replies:
    """What a model answers, and how likely it finds the answers ``of`` another (default: its own).

    Args:
        rows: with ``prompt`` and decoded ``images``.
    """
    found = generate(
        model,
        processor,
        rows,
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        progress=progress,
    )
    texts = [text for text, _ in found]
    logps = []
    with torch.inference_mode():
        for row, text in zip(rows, of.texts if of else texts, strict=True):
            ((total, tokens),) = option_log_likelihoods(model, processor, row, [text or " "])
            logps.append(total / max(tokens, 1))
    return Replies(texts, logps)


@dataclass(frozen=True)
class Agreement:
    """How far a model's replies agree with those of another.

    Attributes:
        logp: largest difference of the mean log-probability of a reply, in nats per token.
        same: share of replies that are equal to the letter, 0-1.
        changed: rows whose reply says something else, as (id, before, after).
    """

    logp: float
    same: float
    changed: list[tuple[str, str, str]]


def compare(
    rows: Sequence[dict], before: Replies, after: Replies, said: Callable[[dict, str], object]
) -> Agreement:
    """Compare the replies of two models to N rows.

    Args:
        said: what a reply to a row says, such as its answer or the names in it: anything that can
            be compared by ``==``.
    """
    return Agreement(
        max(abs(a - b) for a, b in zip(before.logps, after.logps, strict=True)),
        sum(a == b for a, b in zip(before.texts, after.texts, strict=True)) / len(rows),
        [
            (row["id"], a, b)
            for row, a, b in zip(rows, before.texts, after.texts, strict=True)
            if said(row, a) != said(row, b)
        ],
    )
