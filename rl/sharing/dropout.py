"""LoRA's dropout where the completions of a group share their prompt.

A packed row holds a prompt once, so what LoRA's dropout leaves of the inputs of ``A`` is drawn once
for the prompt's tokens and is the same for all completions of the group; the copy of the prompt's
last token and the completions' own tokens are drawn for each branch. What one completion sees has
the distribution that it has in stock TRL, so the expected gradient of a sum over completions is the
same; only draws of a group are no longer independent of each other on the prompt.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from peft.tuners.lora import LoraLayer
from torch import nn


def active_dropouts(model: nn.Module) -> tuple[list[nn.Module], list[nn.Module]]:
    """The dropout modules that draw anything when ``model`` trains: (LoRA's, all others)."""
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    of_lora = {id(each) for layer in layers for each in layer.lora_dropout.values()}
    found = [m for m in model.modules() if isinstance(m, nn.Dropout) and m.p > 0]
    return (
        [module for module in found if id(module) in of_lora],
        [module for module in found if id(module) not in of_lora],
    )


@contextmanager
def without_dropout(model: nn.Module) -> Iterator[bool]:
    """Context in which LoRA's dropout passes everything on, for passes that are compared with each
    other. Yields whether there was any to switch off."""
    drawing = [module for module in active_dropouts(model)[0] if module.training]
    for module in drawing:
        module.eval()
    try:
        yield bool(drawing)
    finally:
        for module in drawing:
            module.train()
