"""Pretraining of the vision tower and projector: every image token says what it shows.

A question about a picture tells a tower with random weights next to nothing, and a list of toys one
word at a time. Here each image token on a toy is asked for all six attributes of that toy and for
its box, and the mean of all tokens for what surrounds the toys; the linear layers that answer are
thrown away afterwards. Real policies start from a pretrained tower too.
"""

import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

import numpy as np
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, smooth_l1_loss
from torch.utils.data import DataLoader, Dataset

from data_gen.tasks.combinations import choose
from data_gen.toybox.draw import CASTS, GROUNDS, LIGHTS, STYLES, WALLS
from data_gen.toybox.identity import ATTRIBUTES, draw_identity, hard_negative
from data_gen.toybox.looks import ELEMENTS, Look, draw_look
from data_gen.toybox.models.attribute_classifier import VALUES
from data_gen.toybox.models.training import Schedule
from data_gen.toybox.scene import compose

SURROUNDINGS: dict[str, tuple[str, ...]] = {
    "wall": tuple(WALLS),
    "ground": GROUNDS,
    "light": tuple(LIGHTS),
    "cast": tuple(CASTS),
    "style": STYLES,
    "toys": ("1", "2", "3", "4"),
}
"""What is asked of whole pictures without a look; those with one are asked for its elements."""

UNASKED = -100


@dataclass
class VisionSettings:
    """What the pictures are like.

    Args:
        sizes: pixels on a side -> weight; all pictures of a batch have one size.
        toys: number of toys -> weight, in pictures larger than the smallest; the smallest show one.
        similar: share of pictures of several toys in which two differ in one attribute only.
        looks: share of pictures with a random look.
    """

    sizes: dict[int, float] = field(default_factory=lambda: {64: 0.4, 96: 0.6})
    toys: dict[int, float] = field(default_factory=lambda: {1: 0.4, 2: 0.3, 3: 0.2, 4: 0.1})
    similar: float = 0.3
    looks: float = 0.15


def draw_picture(
    index: int, size: int, seed: int, settings: VisionSettings, cell: int, held_out: bool = False
) -> dict[str, np.ndarray]:
    """Picture ``index`` and the truth about each of its cells (image tokens, row by row).

    Returns:
        ``pixels`` (size, size, 3) bytes; ``cells`` (cells, 6) indices into
        :data:`~data_gen.toybox.models.attribute_classifier.VALUES`, :data:`UNASKED` off the toys;
        ``toy`` (cells,) number of the toy there, -1 for none; ``boxes`` (cells, 4) distances from
        the cell's middle to the left, top, right and bottom of the toy's box, in 0-1 of the image;
        ``surroundings`` and ``look``: indices, :data:`UNASKED` where they are not asked for.
    """
    rng = random.Random(f"vision-{seed}-{index}-{held_out}")
    n = 1 if size == min(settings.sizes) else choose(rng, settings.toys)
    toys = [draw_identity(rng, held_out=held_out) for _ in range(n)]
    if n > 1 and rng.random() < settings.similar:
        toys[1] = hard_negative(rng, toys[0])
    look = draw_look(rng) if rng.random() < settings.looks else None
    scene = compose(rng, list(dict.fromkeys(toys)), size, look)
    side = size // cell
    middle = (np.arange(side) + 0.5) / side
    x, y = np.tile(middle, side), np.repeat(middle, side)
    toy = np.full(side * side, -1)
    boxes = np.zeros((side * side, 4), np.float32)
    cells = np.full((side * side, len(ATTRIBUTES)), UNASKED)
    for number, (placed, (x1, y1, x2, y2)) in enumerate(zip(scene.toys, scene.boxes, strict=True)):
        inside = (x > x1) & (x < x2) & (y > y1) & (y < y2)
        toy[inside] = number
        boxes[inside] = np.stack([x - x1, y - y1, x2 - x, y2 - y], 1)[inside]
        cells[inside] = [VALUES[a].index(getattr(placed.identity, a)) for a in ATTRIBUTES]
    stage = {**asdict(scene.stage), "toys": str(len(scene.toys))}
    plain = [values.index(stage[name]) for name, values in SURROUNDINGS.items()]
    return {
        "pixels": np.asarray(scene.image),
        "toy": toy,
        "cells": cells,
        "boxes": boxes,
        "surroundings": np.array([UNASKED] * len(plain) if look else plain),
        "look": np.array(_look_indices(look)),
    }


def _look_indices(look: Look | None) -> list[int]:
    if look is None:
        return [UNASKED] * len(ELEMENTS)
    return [ELEMENTS[name].index(value) for name, value in asdict(look).items()]


class Pictures(Dataset):
    """Batches of pictures by step, drawn when they are asked for."""

    def __init__(
        self, first: int, steps: int, batch: int, seed: int, settings: VisionSettings, cell: int
    ):
        self.first, self.steps, self.batch = first, steps, batch
        self.seed, self.settings, self.cell = seed, settings, cell

    def __len__(self) -> int:
        return self.steps - self.first

    def __getitem__(self, place: int) -> dict[str, torch.Tensor]:
        step = self.first + place
        size = choose(random.Random(f"size-{self.seed}-{step}"), self.settings.sizes)
        return picture_batch(
            range(step * self.batch, (step + 1) * self.batch),
            size,
            self.seed,
            self.settings,
            self.cell,
        )


def picture_batch(
    indices, size: int, seed: int, settings: VisionSettings, cell: int, held_out: bool = False
) -> dict[str, torch.Tensor]:
    """Pictures stacked; keys as in :func:`draw_picture`, each with a first dimension B."""
    drawn = [draw_picture(i, size, seed, settings, cell, held_out) for i in indices]
    return {key: torch.from_numpy(np.stack([d[key] for d in drawn])) for key in drawn[0]}


def batches(
    first: int, schedule: Schedule, seed: int, settings: VisionSettings, cell: int
) -> Iterator[dict[str, torch.Tensor]]:
    """The batches from step ``first`` on, drawn by a process of their own."""
    yield from DataLoader(
        Pictures(first, schedule.steps, schedule.batch_size, seed, settings, cell),
        batch_size=None,
        num_workers=1,
        prefetch_factor=8,
    )


class DenseVision(nn.Module):
    """The tower with its projector, and linear layers that read its image tokens.

    Args:
        tower: the policy's ``model.visual``: patches to image tokens.
        images: the policy's image processor.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, tower, images):
        super().__init__()
        width: int = tower.config.out_hidden_size
        self.tower, self.patch, self.merge = tower, images.patch_size, images.merge_size
        self.cell = self.patch * self.merge
        self.register_buffer("mean", torch.tensor(images.image_mean) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(images.image_std) * 255, persistent=False)
        self.attributes = nn.ModuleList(nn.Linear(width, len(VALUES[a])) for a in ATTRIBUTES)
        self.boxes = nn.Linear(width, 4)
        self.present = nn.Linear(width, 1)
        self.surroundings = nn.ModuleList(nn.Linear(width, len(v)) for v in SURROUNDINGS.values())
        self.look = nn.ModuleList(nn.Linear(width, len(v)) for v in ELEMENTS.values())

    def tokens(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, H, W, 3) bytes -> (B, cells, width) image tokens, row by row."""
        values = (pixels - self.mean) / self.std
        b, height, width, _ = values.shape
        h, w = height // self.patch, width // self.patch
        m, p = self.merge, self.patch
        # The processor's order: merged blocks row by row, the patches of a block inside; every
        # image stands twice, as a video's two frames do.
        patches = (
            values.view(b, h // m, m, p, w // m, m, p, 3)
            .permute(0, 1, 4, 2, 5, 7, 3, 6)
            .reshape(b * h * w, 3, 1, p, p)
            .expand(-1, -1, 2, -1, -1)
            .reshape(b * h * w, -1)
        )
        grid = torch.tensor([[1, h, w]]).expand(b, -1)
        found = self.tower(patches, grid_thw=grid)
        tokens = found if isinstance(found, torch.Tensor) else found.pooler_output
        if not isinstance(tokens, torch.Tensor):
            tokens = torch.cat(list(tokens))
        return tokens.view(b, (h // m) * (w // m), -1)

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The losses of a batch, by name."""
        tokens = self.tokens(batch["pixels"])
        on = batch["toy"] >= 0
        toys, whole = tokens[on], tokens.mean(1)
        truth, boxes = batch["cells"][on], batch["boxes"][on]
        losses = {
            name: cross_entropy(head(toys), truth[:, k])
            for k, (name, head) in enumerate(zip(ATTRIBUTES, self.attributes, strict=True))
        }
        losses["box"] = 4 * smooth_l1_loss(self.boxes(toys), boxes, beta=0.05)
        losses["present"] = binary_cross_entropy_with_logits(
            self.present(tokens)[..., 0], on.float()
        )
        for key, heads, names in (
            ("surroundings", self.surroundings, SURROUNDINGS),
            ("look", self.look, ELEMENTS),
        ):
            for k, (name, head) in enumerate(zip(names, heads, strict=True)):
                asked = batch[key][:, k] != UNASKED
                if asked.any():
                    wanted = batch[key][asked, k]
                    losses[f"{key}/{name}"] = 0.3 * cross_entropy(head(whole[asked]), wanted)
        return losses

    @torch.no_grad()
    def read(self, batch: dict[str, torch.Tensor]) -> tuple[list[dict], list[dict]]:
        """What is right about each toy and about each picture with a look, 1 or 0.

        Returns:
            For each toy ``kind`` ... ``accessory_colour`` (the most likely value over all of its
            cells), ``all six``, ``iou`` (of the box, a mean over its cells, 0-1) and ``height`` (of
            the true box, 0-1); for each picture with a look its five elements.
        """
        tokens = self.tokens(batch["pixels"])
        logits = [head(tokens).log_softmax(-1) for head in self.attributes]
        boxes, whole = self.boxes(tokens), tokens.mean(1)
        toys, looks = [], []
        for b in range(len(tokens)):
            if batch["look"][b, 0] != UNASKED:
                looks.append(
                    {
                        name: float(head(whole[b]).argmax() == batch["look"][b, k])
                        for k, (name, head) in enumerate(zip(ELEMENTS, self.look, strict=True))
                    }
                )
                continue
            for toy in range(int(batch["toy"][b].max()) + 1):
                on = batch["toy"][b] == toy
                if not on.any():
                    continue  # another toy covers it, or it lies between the middles of cells
                truth, side = batch["cells"][b][on][0], batch["boxes"][b][on]
                right = {
                    name: float(scores[b][on].mean(0).argmax() == truth[k])
                    for k, (name, scores) in enumerate(zip(ATTRIBUTES, logits, strict=True))
                }
                right["all six"] = min(right.values())
                right["iou"] = float(_iou(boxes[b][on], side).mean())
                right["height"] = float(side[0, 1] + side[0, 3])
                toys.append(right)
        return toys, looks


def vision_accuracy(
    model: DenseVision, settings: VisionSettings, n: int, seed: int
) -> dict[str, dict[str, float]]:
    """Means of :meth:`DenseVision.read` over held-out toys: ``n`` pictures of each size, toys by
    height in pixels, looks by size."""
    found: dict[str, list[dict]] = {}
    for size in settings.sizes:
        for first in range(0, n, 64):
            indices = range(first, min(first + 64, n))
            toys, looks = model.read(
                picture_batch(indices, size, seed, settings, model.cell, held_out=True)
            )
            for toy in toys:
                height = toy.pop("height") * size
                low = int(min(max(height // 12 * 12, 24), 60))
                found.setdefault(f"{size} px, toys of {low} px or more", []).append(toy)
            found.setdefault(f"{size} px, looks", []).extend(looks)
    return {
        key: {name: round(float(np.mean([r[name] for r in rows])), 4) for name in rows[0]}
        | {"n": len(rows)}
        for key, rows in sorted(found.items())
        if rows
    }


def _iou(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """(N,) overlaps of boxes (N, 4) given as distances from a common point."""
    low = torch.minimum(a, b).clamp(min=0)
    inter = (low[:, 0] + low[:, 2]) * (low[:, 1] + low[:, 3])

    def area(v: torch.Tensor) -> torch.Tensor:
        return (v[:, 0] + v[:, 2]).clamp(min=0) * (v[:, 1] + v[:, 3]).clamp(min=0)

    return inter / (area(a) + area(b) - inter).clamp(min=1e-6)
