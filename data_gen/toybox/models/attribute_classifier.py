"""Classify the six attributes of the toy in a square image.

The classifier measures what the tiny diffusion model generates, so it is trained on drawn toys
only; its own accuracy on held-out drawn toys belongs beside every number that it gives.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from data_gen.files.errors import InputError
from data_gen.toybox.identity import (
    ACCESSORIES,
    ATTRIBUTES,
    COLOURS,
    KINDS,
    PATTERNS,
    Identity,
)
from data_gen.toybox.models.images import DrawnImages, identity_of
from data_gen.toybox.weights import local_weights

VALUES = {
    "kind": KINDS,
    "colour": COLOURS,
    "pattern": PATTERNS,
    "second": COLOURS,
    "accessory": ACCESSORIES,
    "accessory_colour": COLOURS,
}


@dataclass
class ClassifierShape:
    """Shape of the model. The defaults give 1.0 M parameters."""

    image_px: int = 48
    widths: tuple[int, ...] = (48, 96, 144, 192)


class AttributeClassifier(nn.Module):
    """Convolutions that halve the image, then one linear layer per attribute."""

    def __init__(self, shape: ClassifierShape):
        super().__init__()
        self.shape = shape
        layers: list[nn.Module] = []
        before = 3
        for width in shape.widths:
            layers += [
                nn.Conv2d(before, width, 3, stride=2, padding=1),
                nn.GroupNorm(8, width),
                nn.SiLU(),
                nn.Conv2d(width, width, 3, padding=1, groups=4),
                nn.SiLU(),
            ]
            before = width
        side = -(-shape.image_px // 2 ** len(shape.widths))
        self.body = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(before * side * side, 256), nn.SiLU()
        )
        self.heads = nn.ModuleDict({name: nn.Linear(256, len(VALUES[name])) for name in ATTRIBUTES})

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """(B, 3, H, W) in -1...1 -> attribute -> (B, values) logits."""
        features = self.body(images)
        return {name: head(features) for name, head in self.heads.items()}


def labels(identities: list[Identity]) -> dict[str, torch.Tensor]:
    """Attribute -> (B,) indices of the true values in :data:`VALUES`."""
    return {
        name: torch.tensor([VALUES[name].index(getattr(i, name)) for i in identities])
        for name in ATTRIBUTES
    }


def pair_halves(
    data: DrawnImages, picks: Sequence[int] | np.ndarray
) -> tuple[torch.Tensor, list[Identity]]:
    """(2 B, 3, size, size) left and right halves of B pairs, and the toys in them."""
    images = data.batch(picks)
    found = [identity_of(data.facts[i]) for i in picks]
    return torch.cat(images.chunk(2, dim=-1)), found * 2


def classifier_loss(
    model: AttributeClassifier,
    data: DrawnImages,
    picks: Sequence[int] | np.ndarray,
    generator: torch.Generator,
) -> torch.Tensor:
    """Cross-entropy summed over attributes. Images are mirrored, blurred and made noisy at random,
    as generated images are never quite clean."""
    images, truth = pair_halves(data, picks)
    size = images.shape[-1]
    mirrored = torch.rand(len(images), generator=generator) < 0.5
    images[mirrored] = images[mirrored].flip(-1)
    if torch.rand((), generator=generator) < 0.3:
        small = nn.functional.interpolate(images, size=size * 2 // 3, mode="area")
        images = nn.functional.interpolate(small, size=size, mode="bilinear")
    strength = 0.1 * torch.rand(len(images), 1, 1, 1, generator=generator)
    images = images + strength * torch.randn(images.shape, generator=generator)
    logits, wanted = model(images), labels(truth)
    losses = [
        nn.functional.cross_entropy(logits[name].float(), wanted[name]) for name in ATTRIBUTES
    ]
    return sum(losses, start=torch.zeros(()))


@torch.no_grad()
def classify_toys(
    model: AttributeClassifier, images: torch.Tensor, batch: int = 256
) -> list[dict[str, str]]:
    """Attribute -> value for each of (N, 3, size, size) images in -1...1. The six attributes are
    classified independently: together they may be no legal toy."""
    found: list[dict[str, str]] = []
    for part in images.split(batch):
        best = {name: logits.argmax(-1) for name, logits in model(part).items()}
        found += [
            {name: VALUES[name][best[name][i]] for name in ATTRIBUTES} for i in range(len(part))
        ]
    return found


def classifier_accuracy(found: list[dict[str, str]], truth: list[Identity]) -> dict[str, float]:
    """Attribute -> share of images in which it is right; ``mean`` over attributes; ``all six``: the
    share in which all are right."""
    right = {
        name: [f[name] == getattr(t, name) for f, t in zip(found, truth, strict=True)]
        for name in ATTRIBUTES
    }
    shares = {name: sum(values) / len(values) for name, values in right.items()}
    whole = [all(values) for values in zip(*right.values(), strict=True)]
    return shares | {"mean": sum(shares.values()) / len(shares), "all six": sum(whole) / len(whole)}


def save_attribute_classifier(model: AttributeClassifier, folder: Path, recipe: dict) -> None:
    """Write the model in half precision with its recipe."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(
        json.dumps({"shape": asdict(model.shape), **recipe}, indent=1) + "\n"
    )
    save_file(
        {name: p.half().contiguous() for name, p in model.state_dict().items()},
        folder / "model.safetensors",
    )


def load_attribute_classifier(folder: str | Path) -> AttributeClassifier:
    """Read a model that :func:`save_attribute_classifier` wrote.

    Raises:
        InputError: there is none; says how to make one.
    """
    folder = Path(local_weights(folder))
    if not (folder / "config.json").is_file():
        raise InputError(
            f"{folder} holds no attribute classifier; make one with byname tiny_model "
            "--config configs/tiny_models/toybox_attribute_classifier.yaml"
        )
    shape = json.loads((folder / "config.json").read_text())["shape"]
    model = AttributeClassifier(ClassifierShape(shape["image_px"], tuple(shape["widths"])))
    weights = load_file(folder / "model.safetensors")
    model.load_state_dict({name: value.float() for name, value in weights.items()})
    return model.eval()
