"""A reader of attributes: which toy does a square picture show?

It measures what the diffusion model draws, so it is trained on drawn toys alone, and its own
accuracy on held-out drawn toys belongs beside every figure it gives.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from data_gen.toybox.identity import (
    ACCESSORIES,
    ATTRIBUTES,
    COLOURS,
    KINDS,
    PATTERNS,
    Identity,
)
from data_gen.toybox.models.images import Drawn, identity_of

VALUES = {"kind": KINDS, "colour": COLOURS, "pattern": PATTERNS, "second": COLOURS,
          "accessory": ACCESSORIES, "accessory_colour": COLOURS}


@dataclass
class ReaderShape:
    """Shape of the model. The defaults give 1.0 M parameters."""

    image_px: int = 48
    widths: tuple[int, ...] = (48, 96, 144, 192)


class Reader(nn.Module):
    """Convolutions that halve the picture, then one linear layer for each attribute."""

    def __init__(self, shape: ReaderShape):
        super().__init__()
        self.shape = shape
        layers: list[nn.Module] = []
        before = 3
        for width in shape.widths:
            layers += [nn.Conv2d(before, width, 3, stride=2, padding=1), nn.GroupNorm(8, width),
                       nn.SiLU(), nn.Conv2d(width, width, 3, padding=1, groups=4), nn.SiLU()]
            before = width
        side = -(-shape.image_px // 2 ** len(shape.widths))
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(before * side * side, 256),
                                  nn.SiLU())
        self.heads = nn.ModuleDict({name: nn.Linear(256, len(VALUES[name])) for name in ATTRIBUTES})

    def forward(self, pictures: torch.Tensor) -> dict[str, torch.Tensor]:
        """(B, 3, H, W) in -1...1 -> attribute -> (B, values) scores."""
        seen = self.body(pictures)
        return {name: head(seen) for name, head in self.heads.items()}


def labels(identities: list[Identity]) -> dict[str, torch.Tensor]:
    """Attribute -> (B,) places of the true values."""
    return {name: torch.tensor([VALUES[name].index(getattr(i, name)) for i in identities])
            for name in ATTRIBUTES}


def halves(data: Drawn, picks) -> tuple[torch.Tensor, list[Identity]]:
    """(2 B, 3, size, size) left and right halves of pairs, and who is in them."""
    pictures = data.batch(picks)
    found = [identity_of(data.facts[i]) for i in picks]
    return torch.cat(pictures.chunk(2, dim=-1)), found * 2


def reader_loss(model: Reader, data: Drawn, picks, generator: torch.Generator) -> torch.Tensor:
    """Cross-entropy summed over attributes. Pictures are mirrored, softened and made noisy at
    random, as what a model draws is never quite clean."""
    pictures, truth = halves(data, picks)
    size = pictures.shape[-1]
    mirrored = torch.rand(len(pictures), generator=generator) < 0.5
    pictures[mirrored] = pictures[mirrored].flip(-1)
    if torch.rand((), generator=generator) < 0.3:
        small = nn.functional.interpolate(pictures, size=size * 2 // 3, mode="area")
        pictures = nn.functional.interpolate(small, size=size, mode="bilinear")
    strength = 0.1 * torch.rand(len(pictures), 1, 1, 1, generator=generator)
    pictures = pictures + strength * torch.randn(pictures.shape, generator=generator)
    scores, wanted = model(pictures), labels(truth)
    return sum(nn.functional.cross_entropy(scores[name].float(), wanted[name])
               for name in ATTRIBUTES)


@torch.no_grad()
def read_toys(model: Reader, pictures: torch.Tensor, batch: int = 256) -> list[dict[str, str]]:
    """What each of (N, 3, size, size) pictures in -1...1 shows, attribute by attribute. The six are
    read one by one: together they may be no legal toy."""
    found: list[dict[str, str]] = []
    for part in pictures.split(batch):
        best = {name: scores.argmax(-1) for name, scores in model(part).items()}
        found += [{name: VALUES[name][best[name][i]] for name in ATTRIBUTES}
                  for i in range(len(part))]
    return found


def agreement(read: list[dict[str, str]], truth: list[Identity]) -> dict[str, float]:
    """Share of pictures in which each attribute is as it should be; the mean over attributes, and
    the share in which all six are."""
    right = {name: [r[name] == getattr(t, name) for r, t in zip(read, truth, strict=True)]
             for name in ATTRIBUTES}
    shares = {name: sum(values) / len(values) for name, values in right.items()}
    whole = [all(values) for values in zip(*right.values(), strict=True)]
    return shares | {"mean": sum(shares.values()) / len(shares), "all six": sum(whole) / len(whole)}


def save_reader(model: Reader, folder: Path, recipe: dict) -> None:
    """Write the model in half precision with its recipe."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(
        json.dumps({"shape": asdict(model.shape), **recipe}, indent=1) + "\n")
    save_file({name: p.half().contiguous() for name, p in model.state_dict().items()},
              folder / "model.safetensors")


def load_reader(folder: str | Path) -> Reader:
    """Read a model that :func:`save_reader` wrote.

    Raises:
        FileNotFoundError: there is none; says how to make one.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{folder} holds no reader; make one with python launch/reader.py "
                                f"--config configs/tiny_models/toybox_attribute_classifier.yaml")
    shape = json.loads((folder / "config.json").read_text())["shape"]
    model = Reader(ReaderShape(shape["image_px"], tuple(shape["widths"])))
    weights = load_file(folder / "model.safetensors")
    model.load_state_dict({name: value.float() for name, value in weights.items()})
    return model.eval()
