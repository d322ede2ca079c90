"""The LM head on a CPU: for completions alone, and for few tokens at a time.

TRL 1.16 applies it to the tokens that are scored where it has a kernel of its own, on GPUs, and to
all tokens of a pass elsewhere, because some accelerators would recompile for each number of tokens.
A CPU does not, and the LM head of a small model with a large vocabulary is much of its work.

It also takes up to 4,096 tokens at a time. On a CPU that makes arrays that are too large for the
allocator to keep: the system gives them page by page, zeroed, and takes them back, which can take
longer than the arithmetic.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from trl.trainer import utils

_trl: Any = utils  # its private names

LARGEST = 8 * 2**20
"""Bytes of logits that are computed at once on a CPU."""

LEAST = 256
"""Tokens at a time, at least: each part of them makes a gradient of the LM head of its own."""


def scores_all(device: torch.device) -> bool:
    """Whether TRL itself applies the LM head to prompts, too."""
    return not _trl._use_triton(device)


@contextmanager
def completions_alone() -> Iterator[None]:
    """Inside, the LM head is applied on CPUs, too, to scored tokens alone (the values of all others
    are 0 either way), and to parts of them one after the other."""
    usual = _trl._use_triton, _trl._ChunkedLogProbFunction
    _trl._use_triton = lambda device: device.type == "cpu" or usual[0](device)
    _trl._ChunkedLogProbFunction = _InParts
    try:
        yield
    finally:
        _trl._use_triton, _trl._ChunkedLogProbFunction = usual


_whole = _trl._ChunkedLogProbFunction


class _InParts:
    """Stands where TRL calls its function of a hidden state's log-probability."""

    @staticmethod
    def apply(hidden, weight, bias, targets, temperature, chunk_size, *rest):
        """As TRL's: tensors of N per-token values, or ``None``, for (N, H) ``hidden``."""
        vocabulary = weight.size(0)
        size = LARGEST // (4 * vocabulary)
        if hidden.device.type != "cpu" or size < LEAST or len(hidden) <= size:
            return _whole.apply(hidden, weight, bias, targets, temperature, chunk_size, *rest)
        width = min(chunk_size, vocabulary)  # of a buffer, whether the vocabulary fills it or not
        parts = [
            _whole.apply(some, weight, bias, of_some, temperature, width, *rest)
            for some, of_some in zip(hidden.split(size), targets.split(size), strict=True)
        ]
        return tuple(
            None if values[0] is None else torch.cat(values) for values in zip(*parts, strict=True)
        )
