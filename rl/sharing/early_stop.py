"""Sampling that lets go of rows whose completion has ended.

``generate`` draws until the last row of a batch has ended; rows that ended long ago are computed to
the end all the same. Here ``generate`` (transformers' own, with all its options) stops as soon as a
quarter of the rows has ended and goes on with the others from the same cache. Tokens are drawn from
the same distributions, but by other random numbers than without it from the first stop on.
"""

import copy

import torch
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

SMALLEST = 8
"""Batches of this many rows are drawn to their end: little is left to save."""

FROM_THE_START = ("min_length", "min_new_tokens", "begin_suppress_tokens", "forced_bos_token_id",
                  "forced_eos_token_id", "exponential_decay_length_penalty", "stop_strings",
                  "watermarking_config", "max_time", "return_dict_in_generate")
"""Options that count from where ``generate`` began, or that want more than tokens back."""


class QuarterEnded(StoppingCriteria):
    """True for all rows once a quarter of them has drawn a token that ends it."""

    def __init__(self, rows: int, ends: torch.Tensor):
        self.ended = torch.zeros(rows, dtype=torch.bool, device=ends.device)
        self.ends = ends

    def __call__(self, input_ids, scores, **kwargs) -> torch.Tensor:
        self.ended |= torch.isin(input_ids[:, -1], self.ends)
        return (4 * self.ended.sum() >= self.ended.numel()).expand(self.ended.numel())


def why_not(config: GenerationConfig) -> str | None:
    """Why rows cannot leave the batch with these options; ``None`` where they can."""
    if config.eos_token_id is None or config.max_new_tokens is None:
        return "completions need an end token and max_new_tokens"
    given = [name for name in FROM_THE_START if getattr(config, name, None)]
    return f"{given[0]} counts from the start" if given else None


def draw(generate, model, cache, input_ids, attention_mask, config: GenerationConfig):
    """Sample completions, letting go of rows that have ended.

    Args:
        generate: transformers' own, of ``model``.
        model: the policy, without wrappers.
        cache: keys and values of all prompt tokens but the last, of B rows. It is used up.
        input_ids, attention_mask: (B, P).
        config: options for which :func:`why_not` has no objection.

    Returns:
        (B, P + C) tokens, ``config.pad_token_id`` behind the ends, C at most ``max_new_tokens``.
    """
    B, last = input_ids.size(0), input_ids.size(1) + config.max_new_tokens
    ends = torch.as_tensor(config.eos_token_id, device=input_ids.device).view(-1)
    result = input_ids.new_full((B, last), config.pad_token_id)
    rows = torch.arange(B, device=input_ids.device)
    while True:
        config = copy.copy(config)
        config.max_new_tokens = last - input_ids.size(1)
        watch = QuarterEnded(len(rows), ends)
        # Few rows are drawn to their end: each ends by itself.
        until = StoppingCriteriaList([watch] if len(rows) > SMALLEST else [])
        tokens = generate(input_ids=input_ids, attention_mask=attention_mask,
                          past_key_values=cache, generation_config=config,
                          stopping_criteria=until)
        length = tokens.size(1)
        result[rows, :length] = tokens
        left = (~watch.ended).nonzero().view(-1)
        if length == last or not until or not len(left):
            return result[:, :length]
        cache.batch_select_indices(left)
        rows, input_ids = rows[left], tokens[left]
        new = length - attention_mask.size(1)
        attention_mask = torch.nn.functional.pad(attention_mask[left], (0, new), value=1)
        deltas = getattr(model.base_model, "rope_deltas", None)
        if deltas is not None and deltas.size(0) > 1:
            model.base_model.rope_deltas = deltas[left]
