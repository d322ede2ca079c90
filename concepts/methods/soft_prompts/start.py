"""Where the vectors of new tokens begin."""

from collections.abc import Sequence
from typing import Any

import torch
from peft import PeftModel
from PIL import Image
from torch import Tensor

from data_gen.files.errors import InputError

ROUNDS = 25
"""Of k-means."""


def first_vectors(
    model, how: str, tokens: int, seed: int, features: Sequence[Tensor] = ()
) -> dict[str, Tensor]:
    """The ``inputs`` of a concept's name and tokens, and, where the head is not tied, ``outputs``.

    Args:
        model: the policy.
        how: ``normal``: random numbers with the deviation of the model's initializer, as a table
            that grows gets them. ``embeddings``: random numbers with mean and deviation of the
            table, in every dimension. ``pictures``: the tokens begin at the centres of the
            features of the concept's photos (k-means; MC-LLaVA, arXiv 2411.11706), the name as
            with ``embeddings``.
        tokens: k.
        seed: of the random numbers.
        features: (n, D) of each photo, as the language model gets them.

    Returns:
        ``inputs`` (1 + k, D) and ``outputs`` (1 + k, D), float32 on the CPU.
    """
    generator = torch.Generator().manual_seed(seed)
    table = model.get_input_embeddings().weight.detach().float().cpu()
    head = model.get_output_embeddings().weight

    def drawn(of: Tensor, rows: int) -> Tensor:
        noise = torch.randn(rows, of.size(1), generator=generator)
        if how == "normal":
            return noise * model.config.get_text_config().initializer_range
        return of.mean(0) + of.std(0) * noise

    vectors = {"inputs": drawn(table, 1 + tokens)}
    if head is not model.get_input_embeddings().weight:
        vectors["outputs"] = drawn(head.detach().float().cpu(), 1 + tokens)
    if how == "pictures" and tokens:
        vectors["inputs"][1:] = centres(torch.cat(list(features)).float().cpu(), tokens, generator)
    return vectors


def centres(points: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """k centres of (n, D) points by k-means; points are repeated where there are fewer than k."""
    while points.size(0) < k:
        points = torch.cat([points, points])
    found = points[torch.randperm(points.size(0), generator=generator)[:k]].clone()
    for _ in range(ROUNDS):
        nearest = torch.cdist(points, found).argmin(1)
        for i in range(k):
            own = points[nearest == i]
            if len(own):
                found[i] = own.mean(0)
    return found


@torch.no_grad()
def picture_features(model, processor, image: Image.Image) -> Tensor:
    """(n, D): a picture as the language model gets it.

    Raises:
        InputError: this family does not say what that is.
    """
    body: Any = (model.get_base_model() if isinstance(model, PeftModel) else model).base_model
    made = processor.image_processor(images=[image], return_tensors="pt").to(model.device)
    if not hasattr(body, "get_image_features"):
        raise InputError(
            f"{type(body).__name__} has no get_image_features; set start to normal or embeddings"
        )
    return torch.cat(list(body.get_image_features(**made, return_dict=True).pooler_output))
