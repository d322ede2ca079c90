"""Concept heads: a linear classifier on frozen image features says whether a concept is there.

MyVLM (2403.14599, section 3.2): ``p = softmax(W f + b)`` with f the unit feature of the image, W of
shape (2, D), learned with cross-entropy on batches of which half are pictures of the concept. Some
negatives are hard ones: those of the concept's category, and those most similar to its pictures.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from data_gen.files.errors import InputError


@dataclass(frozen=True)
class HeadSettings:
    """How a head is learned; the defaults are MyVLM's, but for ``hard`` and ``spread``.

    Args:
        steps: of AdamW.
        learning_rate: the first; it falls as a cosine to ``last_rate``.
        weight_decay: AdamW's.
        clip: longest gradient, over all weights.
        batch_size: half of it are views of the concept.
        hard: share of the negatives of a batch that are hard ones, 0-1.
        hardest: how many negatives, by similarity to the concept's pictures, count as hard beside
            those of its category.
        scale: features are multiplied by this. A unit vector of 1,024 numbers has entries of 0.03,
            and so small ones are learned from slowly.
    """

    steps: int = 500
    learning_rate: float = 1e-3
    last_rate: float = 5e-6
    weight_decay: float = 0.01
    clip: float = 0.1
    batch_size: int = 16
    hard: float = 0.5
    hardest: int = 16
    scale: float = 1.0

    def __post_init__(self):
        if self.steps < 1 or self.batch_size < 2:
            raise InputError("a head needs steps of 1 or more, and a batch_size of 2 or more")


@dataclass(frozen=True)
class Head:
    """A linear classifier.

    Attributes:
        weight: (2, D) float32; row 1 stands for the concept.
        bias: (2,) float32.
    """

    weight: np.ndarray
    bias: np.ndarray

    def probability(self, features: np.ndarray) -> np.ndarray:
        """p that the concept is in each of N images, 0-1.

        Args:
            features: (N, D) unit vectors, or (D,) of one image.
        """
        logits = features @ self.weight.T + self.bias
        return 1 / (1 + np.exp(logits[..., 0] - logits[..., 1]))


def learn_head(
    positives: np.ndarray,
    negatives: np.ndarray,
    settings: HeadSettings,
    *,
    same_category: Sequence[bool] | None = None,
    seed: int = 0,
) -> Head:
    """Learn the head of one concept.

    Args:
        positives: (P, V, D) features of V views of each of its pictures.
        negatives: (N, W, D) of others.
        settings: how.
        same_category: for each negative whether it is of the concept's category; ``None``: unknown.
        seed: of the first weights and the batches.

    Returns:
        The head, for features as they come from the encoder.
    """
    generator = torch.Generator().manual_seed(seed)
    dim = positives.shape[-1]
    hard = torch.from_numpy(hard_negatives(positives, negatives, settings.hardest, same_category))
    yes, no = (
        torch.from_numpy(positives * settings.scale),
        torch.from_numpy(negatives * settings.scale),
    )
    # As torch.nn.Linear begins.
    weight = (torch.rand(2, dim, generator=generator) * 2 - 1) / dim**0.5
    weight.requires_grad_(True)
    bias = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.AdamW(
        [weight, bias], lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimizer, settings.steps, settings.last_rate
    )
    half = settings.batch_size // 2
    truth = torch.tensor([1] * half + [0] * half)

    def drawn(high: int, n: int) -> torch.Tensor:
        return torch.randint(high, (n,), generator=generator)

    for _ in range(settings.steps):
        of_yes = yes[drawn(len(yes), half), drawn(yes.shape[1], half)]  # (half, D)
        others = drawn(len(no), half)
        if len(hard):
            is_hard = torch.rand(half, generator=generator) < settings.hard
            others = torch.where(is_hard, hard[drawn(len(hard), half)], others)
        of_no = no[others, drawn(no.shape[1], half)]
        logits = torch.cat([of_yes, of_no]) @ weight.T + bias  # (batch, 2)
        optimizer.zero_grad()
        cross_entropy(logits, truth).backward()
        torch.nn.utils.clip_grad_norm_([weight, bias], settings.clip)
        optimizer.step()
        schedule.step()
    return Head(weight.detach().numpy() * settings.scale, bias.detach().numpy())


def hard_negatives(
    positives: np.ndarray,
    negatives: np.ndarray,
    hardest: int,
    same_category: Sequence[bool] | None = None,
) -> np.ndarray:
    """Numbers of the negatives that are hard: of the concept's category, or among the ``hardest``
    by their highest cosine to a picture of it. Arguments as for :func:`learn_head`."""
    similarity = (negatives[:, 0] @ positives[:, 0].T).max(-1)  # (N,)
    chosen = set(np.argsort(-similarity)[:hardest].tolist())
    if same_category is not None:
        chosen |= set(np.flatnonzero(np.asarray(same_category, dtype=bool)).tolist())
    return np.array(sorted(chosen), dtype=np.int64)
