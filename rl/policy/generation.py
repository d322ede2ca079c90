"""Greedy completions of rows, in batches of like length."""

from collections.abc import Callable, Iterator, Sequence

import torch

from rewards.identity_consistency import caption_length
from rl.policy.loading import vision_token_ids


def generate(
    model,
    processor,
    rows: Sequence[dict],
    *,
    max_new_tokens: int,
    batch_size: int,
    progress: Callable[[int], object] | None = None,
) -> list[tuple[str, int]]:
    """Greedy completions of N rows, in the order of the rows.

    Args:
        model: any image-text-to-text model; runs on the device where its weights are.
        processor: its processor, padding on the left.
        rows: rows with ``prompt`` and decoded ``images``.
        max_new_tokens: where a completion is cut.
        batch_size: rows per call of the model.
        progress: called with the number of rows finished.

    Returns:
        N pairs: text without special tokens, and its length (see :class:`Prediction`).
    """
    done: dict[int, tuple[str, int]] = {}
    for found in _generate_batches(model, processor, rows, max_new_tokens, batch_size):
        done.update(found)
        if progress:
            progress(len(found))
    return [done[i] for i in range(len(rows))]


def _generate_batches(
    model, processor, rows, max_new_tokens: int, batch_size: int, rank: int = 0, world: int = 1
) -> Iterator[dict[int, tuple[str, int]]]:
    """Row number -> (text, length), batch by batch; rows alike in length go together. Of the
    batches, every ``world``-th from ``rank`` on."""
    # Rows without pictures apart: a processor takes pictures for all of a batch or for none.
    order = sorted(range(len(rows)), key=lambda i: _size(rows[i]), reverse=True)
    pictured = sum(bool(row["images"]) for row in rows)
    limits = {
        "do_sample": False, "num_beams": 1, "max_new_tokens": max_new_tokens,
        # A policy's own defaults for sampling would change what greedy means.
        "temperature": None, "top_p": None, "top_k": None, "repetition_penalty": 1.0,
        "suppress_tokens": vision_token_ids(model, processor) or None,
    }
    special = set(processor.tokenizer.all_special_ids)
    model.eval()
    batches = [order[k : min(k + batch_size, end)]
               for begin, end in ((0, pictured), (pictured, len(rows)))
               for k in range(begin, end, batch_size)]
    for chosen in batches[rank::world]:
        texts = _complete(model, processor, [rows[i] for i in chosen], limits, special)
        yield dict(zip(chosen, texts, strict=True))


def _size(row: dict) -> tuple:
    text = sum(len(part["text"] or "") for message in row["prompt"] for part in message["content"]
               if part["type"] == "text")
    return len(row["images"]), sum(i.width * i.height for i in row["images"]), text


@torch.inference_mode()
def _complete(model, processor, rows, limits: dict, special: set[int]) -> list[tuple[str, int]]:
    prompts = processor.apply_chat_template([row["prompt"] for row in rows],
                                            add_generation_prompt=True)
    images = [row["images"] for row in rows] if rows[0]["images"] else None
    # The template has written every special token already.
    inputs = processor(text=prompts, images=images, add_special_tokens=False, padding=True,
                       return_tensors="pt").to(model.device)
    out = model.generate(**inputs, **limits)[:, inputs["input_ids"].shape[1] :]  # (B, C)
    texts = processor.tokenizer.batch_decode(out, skip_special_tokens=True)
    return [(text, caption_length(text, ids, uncounted_ids=special))
            for text, ids in zip(texts, out.tolist(), strict=True)]
