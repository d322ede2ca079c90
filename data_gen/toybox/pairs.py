"""Draw one toy twice, side by side in two scenes, with the short prompt that describes the pair.

The tiny diffusion model is trained on these pairs. Their words are fewer than those of
:mod:`data_gen.toybox.language` and always in the same order, as a tiny text encoder has little
capacity.
"""

import random
import re
from dataclasses import dataclass

from PIL import Image

from data_gen.toybox.draw import CASTS, LIGHTS, STYLES, WALLS, Placed, Stage, draw_scene, outline
from data_gen.toybox.identity import (
    ACCESSORIES,
    COLOURS,
    KINDS,
    Identity,
    is_legal,
)

GROUNDS = {"plain": "plain", "gradient": "shaded", "dotted": "dotted", "lined": "lined"}
"""Ground -> its word. There is no clutter: a toy must be alone in its half."""

MARKS = {
    "striped": "stripes",
    "spotted": "spots",
    "checked": "checks",
    "starred": "star",
    "patched": "patch",
}

HEIGHT = (0.64, 0.80)
"""Height of an upright toy, as a share of its half: large, so that its attributes can be seen."""

ANGLE = 15
"""Largest tilt, in degrees."""


@dataclass
class ToyPair:
    """An image twice as wide as high, and its truth; ``scenes``: words for left and right."""

    image: Image.Image
    identity: Identity
    scenes: tuple[str, str]


def item_words(identity: Identity) -> str:
    """``red bear with white stripes and blue top hat``"""
    return (
        f"{identity.colour} {identity.kind} with {identity.second} {MARKS[identity.pattern]} "
        f"and {identity.accessory_colour} {identity.accessory}"
    )


def scene_words(stage: Stage) -> str:
    """``dotted mint wall``"""
    return f"{GROUNDS[stage.ground]} {stage.wall} wall"


def pair_words(item: str, scenes: tuple[str, str]) -> str:
    """The prompt that asks for the pair; ``configs/data/diffusion_toy.yaml`` has the same one."""
    return f"two pictures of {item} left {scenes[0]} right {scenes[1]}"


def read_item(text: str) -> Identity | None:
    """The inverse of :func:`item_words`; ``None`` for any other text."""
    match = _ITEM.fullmatch(text.strip())
    if not match:
        return None
    colour, kind, second, mark, accessory_colour, accessory = match.groups()
    pattern = next(p for p, noun in MARKS.items() if noun == mark)
    identity = Identity(kind, colour, pattern, second, accessory, accessory_colour)
    return identity if is_legal(identity) else None


_COLOUR = f"({'|'.join(COLOURS)})"
_ITEM = re.compile(
    rf"{_COLOUR} ({'|'.join(KINDS)}) with {_COLOUR} ({'|'.join(MARKS.values())}) "
    rf"and {_COLOUR} ({'|'.join(ACCESSORIES)})"
)


def draw_half(rng: random.Random, identity: Identity, stage: Stage, size: int) -> Image.Image:
    """One toy, large, tilted by at most :data:`ANGLE` degrees, wholly inside a square of ``size``
    pixels."""
    height = rng.uniform(*HEIGHT)
    angle = rng.uniform(-ANGLE, ANGLE)
    points = outline(Placed(identity, 0.0, 0.0, height, angle))
    extent = (points.max(0) - points.min(0)).max()
    if extent > 0.96:  # a balloon or a hat needs room
        height *= 0.96 / extent
        points = outline(Placed(identity, 0.0, 0.0, height, angle))
    (x1, y1), (x2, y2) = points.min(0).tolist(), points.max(0).tolist()
    x, y = rng.uniform(0.02 - x1, 0.98 - x2), rng.uniform(0.02 - y1, 0.98 - y2)
    return draw_scene([Placed(identity, x, y, height, angle)], stage, size)[0]


def draw_stages(rng: random.Random) -> tuple[Stage, Stage]:
    """Two scenes with different walls, drawn in one style."""
    style = rng.choice(STYLES)
    left, right = rng.sample(list(WALLS), 2)

    def stage(wall: str) -> Stage:
        return Stage(
            wall,
            rng.choice(list(GROUNDS)),
            rng.choice(list(LIGHTS)),
            rng.choice(list(CASTS)),
            style,
            rng.getrandbits(32),
        )

    return stage(left), stage(right)


def draw_pair(rng: random.Random, identity: Identity, size: int) -> ToyPair:
    """Draw one toy in two scenes.

    Args:
        identity: the toy of both halves.
        size: side of a half, in pixels.
    """
    stages = draw_stages(rng)
    image = Image.new("RGB", (2 * size, size))
    for i, stage in enumerate(stages):
        image.paste(draw_half(rng, identity, stage, size), (i * size, 0))
    return ToyPair(image, identity, (scene_words(stages[0]), scene_words(stages[1])))
