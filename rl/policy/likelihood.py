"""p(yes) and log p(option | prompt) from logits.

A policy is scored by its probabilities and not by the form in which it answers. Not implemented:
encoding the prompt once for several options.
"""

from collections.abc import Sequence

import torch

from data_gen.files.errors import InputError


@torch.inference_mode()
def yes_probabilities(
    model,
    processor,
    rows: Sequence[dict],
    *,
    batch_size: int = 8,
    begun: Sequence[str] | None = None,
) -> list[float]:
    """p(yes) / (p(yes) + p(no)) as the first token of the answer, for N rows.

    Args:
        model: any image-text-to-text model; runs on the device where its weights are.
        processor: its processor, padding on the left.
        rows: with ``prompt`` and decoded ``images``; all with images, or none.
        batch_size: rows per call of the model.
        begun: N beginnings of answers, such as reasons; then of the token that comes next.

    Returns:
        N probabilities in 0-1, summed over the spellings of each word.

    Raises:
        InputError: the tokenizer begins "yes" and "no" with the same tokens.
    """
    yes, no = answer_tokens(processor.tokenizer)
    model.eval()
    found: list[float] = []
    for k in range(0, len(rows), batch_size):
        part = None if begun is None else begun[k : k + batch_size]
        inputs = _prompts(processor, rows[k : k + batch_size], part).to(model.device)
        logits = model(**inputs, logits_to_keep=1).logits[:, -1].float()  # (B, V)
        both = torch.stack([logits[:, ids].logsumexp(-1) for ids in (no, yes)], dim=-1)
        found += both.softmax(-1)[:, 1].tolist()
    return found


def answer_tokens(tokenizer) -> tuple[list[int], list[int]]:
    """Ids of the tokens that stand for yes, and of those that stand for no.

    These are the spellings ``yes``, ``Yes``, ``YES``, with and without a space before, that are one
    token; if none is, the first token of each spelling.

    Raises:
        InputError: both words begin with the same tokens.
    """

    def ids(word: str) -> set[int]:
        spelt = spellings(tokenizer, word)
        whole = {tokens[0] for tokens in spelt if len(tokens) == 1}
        return whole or {tokens[0] for tokens in spelt}

    yes, no = ids("yes"), ids("no")
    if not yes - no or not no - yes:
        raise InputError(
            "this tokenizer begins 'yes' and 'no' with the same token; their "
            "probabilities cannot be read off the first one"
        )
    return sorted(yes - no), sorted(no - yes)


def spellings(tokenizer, word: str) -> list[list[int]]:
    """Token ids of a word as it may be spelt as an answer, each once: as given, with a capital, in
    capitals, and each of these with a space before."""
    spelt = [
        tuple(tokenizer.encode(blank + form, add_special_tokens=False))
        for blank in ("", " ")
        for form in (word, word.capitalize(), word.upper())
    ]
    return [list(tokens) for tokens in dict.fromkeys(spelt) if tokens]


@torch.inference_mode()
def option_log_likelihoods(
    model, processor, row: dict, options: Sequence[str]
) -> list[tuple[float, int]]:
    """Log-probability of each option as the answer to a row, in one call of the model.

    Args:
        model, processor: as in :func:`yes_probabilities`.
        row: with ``prompt`` and decoded ``images``.
        options: K texts.

    Returns:
        K pairs: log p(option | prompt) in nats, and the option's number of tokens. The end token is
        not included.
    """
    tokenizer = processor.tokenizer
    ids = [tokenizer.encode(text, add_special_tokens=False) for text in options]
    longest = max(map(len, ids))
    model.eval()
    inputs = _prompts(processor, [row] * len(ids)).to(model.device)
    prompt = inputs["input_ids"]  # (K, P)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    answers = prompt.new_tensor([i + [pad] * (longest - len(i)) for i in ids])  # (K, C)
    mask = prompt.new_tensor([[1] * len(i) + [0] * (longest - len(i)) for i in ids])
    inputs["input_ids"] = torch.cat([prompt, answers], dim=1)
    inputs["attention_mask"] = torch.cat([inputs["attention_mask"], mask], dim=1)
    for key in ("mm_token_type_ids", "token_type_ids"):
        if key in inputs:  # answers are text
            inputs[key] = torch.cat([inputs[key], torch.zeros_like(answers)], dim=1)
    logits = model(**inputs, logits_to_keep=longest + 1).logits[:, -longest - 1 : -1].float()
    chosen = logits.log_softmax(-1).gather(-1, answers[..., None])[..., 0]  # (K, C)
    return [(float(total), len(i)) for total, i in zip((chosen * mask).sum(-1), ids, strict=True)]


def _prompts(processor, rows: Sequence[dict], begun: Sequence[str] | None = None):
    texts = processor.apply_chat_template(
        [row["prompt"] for row in rows], add_generation_prompt=True
    )
    if begun is not None:
        texts = [text + beginning for text, beginning in zip(texts, begun, strict=True)]
    images = [row["images"] for row in rows] if rows[0]["images"] else None
    # The chat template has already written every special token.
    return processor(
        text=texts, images=images, add_special_tokens=False, padding=True, return_tensors="pt"
    )
