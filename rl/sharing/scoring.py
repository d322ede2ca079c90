"""The LM head for completions alone, on a CPU too.

TRL 1.16 applies it to the tokens that are scored where it has a kernel of its own, on GPUs, and to
all tokens of a pass elsewhere, because some accelerators would recompile for each number of tokens.
A CPU does not, and the LM head of a small model with a large vocabulary is much of its work.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from trl.trainer import utils


def scores_all(device: torch.device) -> bool:
    """Whether TRL itself applies the LM head to prompts, too."""
    return not utils._use_triton(device)


@contextmanager
def completions_alone() -> Iterator[None]:
    """Inside, the LM head is applied to scored tokens alone on CPUs, too: the values of all others
    are 0 either way."""
    usual = utils._use_triton
    utils._use_triton = lambda device: device.type == "cpu" or usual(device)
    try:
        yield
    finally:
        utils._use_triton = usual
