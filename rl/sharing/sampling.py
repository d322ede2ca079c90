"""Drawing tokens on a CPU with one random number each.

``torch.multinomial`` draws a random number for every entry of the vocabulary, which costs a CPU a
third of sampling. Here a token is the first whose cumulative probability exceeds a uniform number
(inverse transform sampling), summed in double precision, in blocks so that cumulative sums are
short. The distribution is the same; the random numbers are not, so samples differ from stock TRL's
for the same seed. A GPU draws its random numbers faster than it starts the kernels of this.
"""

import copy
from typing import Any

import torch
from torch.nn.functional import pad
from transformers import LogitsProcessor, LogitsProcessorList

BLOCK = 64
"""Vocabulary entries whose probabilities are added up first."""


def draw(weights: torch.Tensor) -> torch.Tensor:
    """One entry per row, with probability in proportion to its weight.

    Args:
        weights: (B, V), at least 0, each row with a sum above 0.

    Returns:
        (B,) indices; none has weight 0.

    Raises:
        FloatingPointError: weights that are not finite.
    """
    blocks = pad(weights, (0, -weights.size(1) % BLOCK)).unflatten(1, (-1, BLOCK))
    ends = blocks.sum(-1, dtype=torch.float64).cumsum(-1)  # (B, V / BLOCK)
    if not ends[:, -1].isfinite().all():
        raise FloatingPointError("the policy's scores are not finite")
    sought = _below(torch.rand_like(ends[:, -1:]) * ends[:, -1:], ends[:, -1:])
    block = torch.searchsorted(ends, sought, right=True)  # the first that ends above it
    before = pad(ends, (1, 0)).gather(1, block)
    inside = blocks[torch.arange(len(block), device=block.device), block[:, 0]].double().cumsum(-1)
    place = torch.searchsorted(inside, _below(sought - before, inside[:, -1:]), right=True)
    return (block * BLOCK + place)[:, 0]


def _below(numbers: torch.Tensor, limit: torch.Tensor) -> torch.Tensor:
    """``numbers``, where rounding took one to ``limit`` the next number below that."""
    return torch.minimum(numbers, torch.nextafter(limit, torch.zeros_like(limit)))


class Drawn(LogitsProcessor):
    """Scores of which the largest is that of a token that was drawn by the given scores."""

    def __call__(self, input_ids, scores) -> Any:
        tokens = draw(torch.softmax(scores, dim=-1))
        return torch.zeros_like(scores).scatter_(1, tokens[:, None], 1.0)


def sample(model, input_ids, logits_processor, stopping_criteria, generation_config, **kwargs):
    """transformers' own loop, for ``generate(custom_generate=sample)``: it takes the token with the
    largest score, and :class:`Drawn`, behind all other processors, draws which one that is."""
    if generation_config.do_sample and not generation_config.return_dict_in_generate:
        logits_processor = LogitsProcessorList([*logits_processor, Drawn()])
        generation_config = copy.copy(generation_config)
        generation_config.do_sample = False
    return model._sample(
        input_ids, logits_processor, stopping_criteria, generation_config, **kwargs
    )
