"""Draw placed toys and their surroundings as one image, and give the exact box of each toy.

Everything is a polygon on a canvas two or three times as large as the image, which is then reduced:
one code path for every size.
"""

import math
import random
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from data_gen.toybox.identity import Identity
from data_gen.toybox.shapes import template

Colour = tuple[int, int, int]

RGB = {
    "red": (212, 38, 40),
    "orange": (245, 134, 22),
    "yellow": (248, 218, 48),
    "green": (44, 152, 64),
    "blue": (40, 96, 210),
    "purple": (124, 58, 168),
    "pink": (246, 150, 190),
    "white": (246, 246, 242),
    "black": (46, 46, 52),
}
WALLS = {
    "cream": (240, 228, 200),
    "mint": (196, 226, 206),
    "sky": (188, 212, 232),
    "lilac": (214, 204, 230),
    "peach": (240, 208, 188),
    "silver": (200, 202, 204),
}
FIXED = {
    "ink": (30, 28, 32),
    "eye": (252, 252, 250),
    "beak": (240, 150, 30),
    "blush": (236, 150, 160),
}
STYLES = ("flat", "outlined", "shaded", "crayon")
GROUNDS = ("plain", "gradient", "dotted", "lined", "cluttered")
LIGHTS = {"bright": 1.12, "even": 1.0, "dim": 0.84}
CASTS = {"warm": (1.07, 1.0, 0.88), "neutral": (1.0, 1.0, 1.0), "cool": (0.9, 0.99, 1.08)}
OCCLUDER = (150, 116, 84)


@dataclass
class Placed:
    """A toy and where it stands.

    Args:
        x, y: its centre, in 0-1 of the image's width and height.
        height: of the upright toy (two units of its template), in 0-1 of the image's height.
        angle: in degrees.
        hidden: -1, 0 or 1: the side (left, none, right) whose lower corner a wooden block covers.
    """

    identity: Identity
    x: float
    y: float
    height: float
    angle: float = 0.0
    hidden: int = 0


@dataclass
class Stage:
    """What surrounds the toys; none of it is part of their identity."""

    wall: str = "cream"
    ground: str = "plain"
    light: str = "even"
    cast: str = "neutral"
    style: str = "flat"
    seed: int = 0  # of the clutter and of the crayon's wobble


def draw_scene(
    toys: list[Placed], stage: Stage, size: int
) -> tuple[Image.Image, list[tuple[float, float, float, float]]]:
    """Draw a square image.

    Args:
        toys: back to front.
        stage: background, light and style.
        size: pixels on a side, 32 or more.

    Returns:
        The RGB image, and for each toy its box, x1 y1 x2 y2 in 0-1: the extent of its outline
        within the frame, whether or not something stands in front of it.
    """
    rng = random.Random(stage.seed)
    factor = 3 if size < 256 else 2
    full = size * factor
    canvas = Image.new("RGB", (full, full), WALLS[stage.wall])
    draw = ImageDraw.Draw(canvas)
    _draw_ground(canvas, draw, stage, full, rng)
    boxes = [_draw_toy(draw, toy, stage, full, rng) for toy in toys]
    image = canvas.reduce(factor)
    gains = [LIGHTS[stage.light] * c for c in CASTS[stage.cast]]
    if any(g != 1.0 for g in gains):
        image = image.point([min(255, round(v * g)) for g in gains for v in range(256)])
    return image, boxes


def outline(toy: Placed) -> np.ndarray:
    """(N, 2) points of all polygons of the toy, in 0-1 of the image, not clipped at its edge."""
    shape = template(toy.identity.kind, toy.identity.pattern, toy.identity.accessory)
    a, s = math.radians(toy.angle), toy.height / 2
    turn = np.array([[math.cos(a), math.sin(a)], [-math.sin(a), math.cos(a)]]) * s
    return shape.points @ turn + (toy.x, toy.y)


def box_of(points: np.ndarray) -> tuple[float, float, float, float]:
    """x1 y1 x2 y2 in 0-1 around the points (N, 2), clipped at the image's edge."""
    low, high = points.min(0).clip(0, 1), points.max(0).clip(0, 1)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _draw_toy(
    draw: ImageDraw.ImageDraw, toy: Placed, stage: Stage, full: int, rng: random.Random
) -> tuple[float, float, float, float]:
    identity = toy.identity
    shape = template(identity.kind, identity.pattern, identity.accessory)
    points = outline(toy)
    box = box_of(points)
    pixels = points * full
    if stage.style == "crayon":
        wobble = np.random.default_rng(rng.getrandbits(32))
        pixels = pixels + wobble.normal(0, 0.006 * toy.height * full, pixels.shape)
    colours = palette(identity)
    flat = pixels.ravel().tolist()
    shadow = [toy.x - 0.3 * toy.height, 0, toy.x + 0.3 * toy.height, 0]
    shadow[1], shadow[3] = box[3] - 0.03 * toy.height, box[3] + 0.03 * toy.height
    draw.ellipse([v * full for v in shadow], fill=_mix(WALLS[stage.wall], (60, 50, 60), 0.25))
    ink = FIXED["ink"]
    width = max(1, round(0.02 * toy.height * full)) if stage.style == "outlined" else 0
    for i, role in enumerate(shape.roles):
        xy = flat[2 * shape.start[i] : 2 * shape.start[i + 1]]
        if stage.style == "flat" and role == "main_light":
            role = "main"
        draw.polygon(xy, fill=colours[role])
        if width and shape.outlined[i]:
            draw.line(xy + xy[:2], fill=ink, width=width)
    if toy.hidden:
        side = 0.24 * toy.height
        cx = toy.x + toy.hidden * 0.20 * toy.height
        cy = toy.y + 0.44 * toy.height
        block = [
            (cx - side / 2) * full,
            (cy - side / 2) * full,
            (cx + side / 2) * full,
            (cy + side / 2) * full,
        ]
        draw.rectangle(
            block, fill=OCCLUDER, outline=_mix(OCCLUDER, (0, 0, 0), 0.3), width=max(1, full // 96)
        )
    return box


def palette(identity: Identity) -> dict[str, Colour]:
    """Role -> RGB of one toy."""
    main, extra = RGB[identity.colour], RGB[identity.accessory_colour]
    return {
        **FIXED,
        "main": main,
        "main_dark": _mix(main, (0, 0, 0), 0.16) if identity.colour != "black" else (66, 66, 74),
        "main_light": _mix(main, (255, 255, 255), 0.28),
        "second": RGB[identity.second],
        "extra": extra,
        "extra_dark": _mix(extra, (0, 0, 0), 0.22),
    }


def _mix(a: Colour, b: Colour, share: float) -> Colour:
    red, green, blue = (round(x + (y - x) * share) for x, y in zip(a, b, strict=True))
    return red, green, blue


def _draw_ground(
    canvas: Image.Image, draw: ImageDraw.ImageDraw, stage: Stage, full: int, rng: random.Random
) -> None:
    wall = WALLS[stage.wall]
    dark, light = _mix(wall, (80, 70, 90), 0.22), _mix(wall, (255, 255, 255), 0.5)
    if stage.ground == "gradient":
        ramp = Image.linear_gradient("L").resize((full, full))
        canvas.paste(
            Image.composite(
                Image.new("RGB", (1, 1), dark).resize((full, full)),
                Image.new("RGB", (1, 1), light).resize((full, full)),
                ramp,
            )
        )
    elif stage.ground == "dotted":
        step, r = full / 7, full / 40
        for i in range(8):
            for j in range(8):
                x, y = (i + 0.5 * (j % 2)) * step, j * step
                draw.ellipse([x - r, y - r, x + r, y + r], fill=dark)
    elif stage.ground == "lined":
        step = full / 9
        for i in range(9):
            draw.rectangle([i * step, 0, i * step + step / 3, full], fill=light)
    elif stage.ground == "cluttered":
        for _ in range(rng.randint(5, 9)):
            _draw_clutter(draw, full, rng)


def _draw_clutter(draw: ImageDraw.ImageDraw, full: int, rng: random.Random) -> None:
    """A small object that is not a toy: a ball, a block or a cone, in any colour."""
    colour = _mix(RGB[rng.choice(list(RGB))], (200, 196, 190), 0.35)
    x, y, r = rng.random() * full, rng.random() * full, rng.uniform(0.03, 0.075) * full
    edge = _mix(colour, (0, 0, 0), 0.25)
    kind = rng.randrange(3)
    if kind == 0:
        draw.ellipse([x - r, y - r, x + r, y + r], fill=colour, outline=edge)
    elif kind == 1:
        draw.rectangle([x - r, y - r, x + r, y + r], fill=colour, outline=edge)
    else:
        draw.polygon([x - r, y + r, x + r, y + r, x, y - r], fill=colour, outline=edge)
