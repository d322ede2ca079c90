"""Completions of rows, in batches of similar length; greedy unless a temperature is given."""

from collections.abc import Callable, Sequence

import torch

from rewards.length import counted_length
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
        max_new_tokens: at most this many tokens per completion.
        batch_size: rows per call of the model.
        progress: called with the number of rows of each finished batch.

    Returns:
        N pairs: text without special tokens, and its length as the naming rewards count it
        (:func:`rewards.length.counted_length`).
    """
    done: dict[int, tuple[str, int]] = {}
    for batch in length_batches([row_size(row) for row in rows], batch_size):
        texts = complete(model, processor, [rows[i] for i in batch], max_new_tokens)
        done.update(zip(batch, texts, strict=True))
        if progress:
            progress(len(batch))
    return [done[i] for i in range(len(rows))]


def length_batches(sizes: Sequence[tuple], batch_size: int) -> list[list[int]]:
    """Row numbers in batches of similar length, the longest first.

    Args:
        sizes: :func:`row_size` of N rows. Rows without images get batches of their own, because a
            processor accepts images for all rows of a batch or for none.
        batch_size: rows per batch, at most.
    """
    order = sorted(range(len(sizes)), key=lambda i: sizes[i], reverse=True)
    with_images = sum(size[0] > 0 for size in sizes)
    return [
        order[k : min(k + batch_size, end)]
        for begin, end in ((0, with_images), (with_images, len(sizes)))
        for k in range(begin, end, batch_size)
    ]


def row_size(row: dict) -> tuple[int, int, int]:
    """Images, their pixels and the characters of a row's prompt, which decide its length."""
    text = sum(
        len(part["text"] or "")
        for message in row["prompt"]
        for part in message["content"]
        if part["type"] == "text"
    )
    return len(row["images"]), sum(i.width * i.height for i in row["images"]), text


@torch.inference_mode()
def complete(
    model,
    processor,
    rows: Sequence[dict],
    max_new_tokens: int,
    temperature: float = 0.0,
    seed: int = 0,
) -> list[tuple[str, int]]:
    """Completions of one batch; see :func:`generate`.

    Args:
        temperature: of sampling from all tokens; 0 is greedy.
        seed: of sampling.
    """
    model.eval()
    if temperature:
        torch.manual_seed(seed)
    prompts = processor.apply_chat_template(
        [row["prompt"] for row in rows], add_generation_prompt=True
    )
    images = [row["images"] for row in rows] if rows[0]["images"] else None
    # The chat template has already written every special token.
    inputs = processor(
        text=prompts, images=images, add_special_tokens=False, padding=True, return_tensors="pt"
    ).to(model.device)
    out = model.generate(
        **inputs,
        do_sample=temperature > 0,
        num_beams=1,
        max_new_tokens=max_new_tokens,
        # Otherwise a policy's own sampling defaults would apply.
        temperature=temperature or None,
        top_p=None,
        top_k=0 if temperature else None,
        repetition_penalty=1.0,
        suppress_tokens=vision_token_ids(model, processor) or None,
    )[:, inputs["input_ids"].shape[1] :]  # (B, C)
    special = set(processor.tokenizer.all_special_ids)
    texts = processor.tokenizer.batch_decode(out, skip_special_tokens=True)
    return [
        (text, counted_length(text, ids, uncounted_ids=special, prompt=row["prompt"]))
        for text, ids, row in zip(texts, out.tolist(), rows, strict=True)
    ]
