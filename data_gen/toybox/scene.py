"""Compose scenes: which toys stand where, in what light. None of it is part of a toy's identity."""

import random
from dataclasses import dataclass

from PIL import Image

from data_gen.toybox.draw import (
    CASTS,
    GROUNDS,
    LIGHTS,
    STYLES,
    WALLS,
    Placed,
    Stage,
    box_of,
    draw_scene,
    outline,
)
from data_gen.toybox.identity import Identity
from data_gen.toybox.looks import Look, apply_look, stage_of

HEIGHTS = {1: (0.50, 0.78), 2: (0.42, 0.56), 3: (0.36, 0.46), 4: (0.32, 0.40)}
"""Number of toys -> lowest and highest share of the image that an upright toy takes in height."""

Box = tuple[float, float, float, float]


@dataclass
class Scene:
    """An image and its truth; toys and boxes in the same order, left to right."""

    image: Image.Image
    toys: list[Placed]
    boxes: list[Box]
    stage: Stage


def draw_stage(rng: random.Random) -> Stage:
    """A random background, light and drawing style."""
    return Stage(
        wall=rng.choice(list(WALLS)),
        ground=rng.choice(GROUNDS),
        light=rng.choice(list(LIGHTS)),
        cast=rng.choice(list(CASTS)),
        style=rng.choice(STYLES),
        seed=rng.getrandbits(32),
    )


def compose(
    rng: random.Random, identities: list[Identity], size: int, look: Look | None = None
) -> Scene:
    """Draw one to four toys at random places, turned, lit and partly hidden at random.

    Args:
        identities: the toys to draw.
        size: pixels on a side.
        look: of the whole picture; where the toys stand does not depend on it.

    Raises:
        ValueError: for no toy or more than four.
    """
    if not 1 <= len(identities) <= 4:
        raise ValueError(f"a scene has one to four toys, not {len(identities)}")
    toys = _place(rng, identities)
    toys.sort(key=lambda toy: toy.x)
    stage = draw_stage(rng)
    if look is not None:
        stage = stage_of(stage, look)
    image, boxes = draw_scene(toys, stage, size)
    if look is not None:
        image = apply_look(image, look, stage.seed)
    return Scene(image, toys, boxes, stage)


def _place(rng: random.Random, identities: list[Identity]) -> list[Placed]:
    low, high = HEIGHTS[len(identities)]
    for attempt in range(50):
        shrink = 0.96**attempt  # toys that do not fit are made smaller
        toys: list[Placed] = []
        boxes: list[Box] = []
        for identity in identities:
            toy = _fit(rng, identity, rng.uniform(low, high) * shrink, boxes)
            if toy is None:
                break
            toys.append(toy)
            boxes.append(box_of(outline(toy)))
        if len(toys) == len(identities):
            return toys
    raise AssertionError("four small toys always fit")


def _fit(rng: random.Random, identity: Identity, height: float, boxes: list[Box]) -> Placed | None:
    angle = rng.uniform(-25, 25)
    hidden = rng.choice((-1, 1)) if rng.random() < 0.2 else 0
    x1, y1, x2, y2 = _extent(identity, height, angle)
    if x2 - x1 > 0.98 or y2 - y1 > 0.98:
        return None
    for _ in range(12):
        x = rng.uniform(0.01 - x1, 0.99 - x2)
        y = rng.uniform(0.01 - y1, 0.99 - y2)
        box = (x1 + x, y1 + y, x2 + x, y2 + y)
        if all(_overlap(box, other) < 0.05 for other in boxes):
            return Placed(identity, x, y, height, angle, hidden)
    return None


def _extent(identity: Identity, height: float, angle: float) -> Box:
    points = outline(Placed(identity, 0.0, 0.0, height, angle))
    (x1, y1), (x2, y2) = points.min(0).tolist(), points.max(0).tolist()
    return x1, y1, x2, y2


def _overlap(a: Box, b: Box) -> float:
    """Intersection over the smaller of the two areas."""
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    return w * h / min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))
