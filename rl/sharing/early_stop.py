"""Remove finished sequences from the batch while sampling.

``generate`` samples until the last sequence of a batch has ended, and computes sequences that ended
long before all the while. Here transformers' own ``generate``, with all its options, stops as soon
as a quarter of the sequences has ended, and is called again for the others with the same cache.
From the first such stop on, tokens come from the same distributions, but from other random numbers
than without it.
"""

import copy
from typing import Any

import torch
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

SMALLEST = 8
"""Batches of at most this many sequences are sampled to their end: there is little to save."""

FROM_THE_START = (
    "min_length",
    "min_new_tokens",
    "begin_suppress_tokens",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "exponential_decay_length_penalty",
    "stop_strings",
    "watermarking_config",
    "max_time",
    "return_dict_in_generate",
)
"""Options that count from where ``generate`` began, or that make it return more than tokens."""


class QuarterEnded(StoppingCriteria):
    """True for all sequences once a quarter of them has sampled an end token."""

    def __init__(self, rows: int, ends: torch.Tensor):
        self.ended = torch.zeros(rows, dtype=torch.bool, device=ends.device)
        self.ends = ends

    def __call__(self, input_ids, scores, **kwargs) -> Any:
        self.ended |= torch.isin(input_ids[:, -1], self.ends)
        return (4 * self.ended.sum() >= self.ended.numel()).expand(self.ended.numel())


def unsupported_reason(config: GenerationConfig) -> str | None:
    """Why sequences cannot be removed with these options; ``None`` where they can."""
    if config.eos_token_id is None or config.max_new_tokens is None:
        return "completions need an end token and max_new_tokens"
    given = [name for name in FROM_THE_START if getattr(config, name, None)]
    return f"{given[0]} counts from the start" if given else None


def generate_with_early_stop(
    generate,
    model,
    cache,
    input_ids,
    attention_mask,
    config: GenerationConfig,
    logits_processor: list | None = None,
) -> torch.Tensor:
    """Sample completions, removing sequences from the batch when they have ended.

    Args:
        generate: transformers' own, of ``model``.
        model: the policy, without wrappers.
        cache: keys and values of all prompt tokens but the last, of B sequences. It is modified.
        input_ids, attention_mask: (B, P).
        config: options that :func:`unsupported_reason` accepts.
        logits_processor: processors of one's own; those with a method ``keep`` are told which
            rows remain.

    Returns:
        (B, P + C) tokens, ``config.pad_token_id`` after the end token, C at most
        ``max_new_tokens``.
    """
    B, last = input_ids.size(0), input_ids.size(1) + config.max_new_tokens
    ends = torch.as_tensor(config.eos_token_id, device=input_ids.device).view(-1)
    result = input_ids.new_full((B, last), config.pad_token_id)
    rows = torch.arange(B, device=input_ids.device)
    while True:
        config = copy.copy(config)
        config.max_new_tokens = last - input_ids.size(1)
        watch = QuarterEnded(len(rows), ends)
        # A small batch is sampled to its end: `generate` stops when all have ended.
        until = StoppingCriteriaList([watch] if len(rows) > SMALLEST else [])
        tokens = generate(
            input_ids=input_ids,
            attention_mask=attention_mask,
            past_key_values=cache,
            generation_config=config,
            stopping_criteria=until,
            logits_processor=logits_processor,
        )
        length = tokens.size(1)
        result[rows, :length] = tokens
        left = (~watch.ended).nonzero().view(-1)
        if length == last or not until or not len(left):
            return result[:, :length]
        cache.batch_select_indices(left)
        for processor in logits_processor or ():
            if hasattr(processor, "keep"):
                processor.keep(left)
        rows, input_ids = rows[left], tokens[left]
        new = length - attention_mask.size(1)
        attention_mask = torch.nn.functional.pad(attention_mask[left], (0, new), value=1)
        deltas = getattr(model.base_model, "rope_deltas", None)
        if deltas is not None and deltas.size(0) > 1:
            model.base_model.rope_deltas = deltas[left]
