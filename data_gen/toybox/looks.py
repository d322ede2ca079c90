"""Looks: the art style, colours, medium, saturation and detail that a whole picture is drawn in.

A look is what a user may like or dislike in a picture, whatever toys are in it: the five elements
of PreferThinker (arXiv 2511.00609), each with a few values that are visible at 64 pixels. No other
rows have a look: without one, :func:`data_gen.toybox.scene.compose` draws what it always drew.
"""

import random
from dataclasses import asdict, dataclass, replace

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from data_gen.toybox.draw import Stage

ART_STYLES = ("cartoon", "flat design", "pop art", "pixel art", "mosaic")
COLOURS = ("golden", "rosy", "minty", "icy", "dusky")
MEDIUMS = ("digital", "oil paint", "watercolour", "pencil", "crayon")
SATURATIONS = ("muted", "natural", "vivid")
DETAILS = ("minimal", "moderate", "intricate")

ELEMENTS = {
    "art_style": ART_STYLES,
    "colour": COLOURS,
    "medium": MEDIUMS,
    "saturation": SATURATIONS,
    "detail": DETAILS,
}
"""Element -> its values."""

_TINTS = {
    "golden": (255, 206, 84),
    "rosy": (255, 128, 168),
    "minty": (96, 226, 168),
    "icy": (104, 184, 255),
    "dusky": (92, 60, 140),
}
_CHROMA = {"muted": 0.35, "natural": 1.0, "vivid": 1.9}
_DRAWN = {"cartoon": "outlined"}
_LEVELS = np.array([85 * round(v / 85) for v in range(256)], np.uint8)


@dataclass(frozen=True)
class Look:
    """One value for each of :data:`ELEMENTS`."""

    art_style: str
    colour: str
    medium: str
    saturation: str
    detail: str

    @property
    def terms(self) -> tuple[str, ...]:
        """The five values, in the order of :data:`ELEMENTS`."""
        return tuple(asdict(self).values())


def draw_look(rng: random.Random) -> Look:
    """A random look."""
    return Look(**{name: rng.choice(values) for name, values in ELEMENTS.items()})


def stage_of(stage: Stage, look: Look) -> Stage:
    """The stage that a look asks for: its drawing style, and how much is drawn behind the toys.
    Light and cast are neutral, as the look decides about colours."""
    grounds = {"minimal": "plain", "moderate": "lined", "intricate": "cluttered"}
    return replace(
        stage,
        style=_DRAWN.get(look.art_style, "flat"),
        ground=grounds[look.detail],
        light="even",
        cast="neutral",
    )


def apply_look(image: Image.Image, look: Look, seed: int) -> Image.Image:
    """The finished picture of a scene, drawn on :func:`stage_of` its stage, in its look.

    Args:
        image: square, RGB.
        look: of the picture.
        seed: of strokes and of fine ornaments.
    """
    grain = np.random.default_rng(seed)
    if look.detail == "intricate":
        image = _ornaments(image, grain)
    image = {
        "pop art": _pop,
        "pixel art": _pixels,
        "mosaic": _tiles,
    }.get(look.art_style, lambda drawn: drawn)(image)
    image = {
        "digital": lambda drawn: drawn,
        "oil paint": lambda drawn: _oil(drawn, grain),
        "watercolour": lambda drawn: _watercolour(drawn, grain),
        "pencil": _pencil,
        "crayon": lambda drawn: _crayon(drawn, grain),
    }[look.medium](image)
    image = ImageEnhance.Color(image).enhance(_CHROMA[look.saturation])
    tint = Image.new("RGB", image.size, _TINTS[look.colour])
    return Image.blend(image, tint, 0.36)


def _ornaments(image: Image.Image, grain: np.random.Generator) -> Image.Image:
    """Small light and dark dots all over."""
    values = np.asarray(image).copy()
    side = image.width
    y, x = grain.integers(0, side - 1, (2, side * side // 60))
    for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
        values[y[::2] + dy, x[::2] + dx] = 30
        values[y[1::2] + dy, x[1::2] + dx] = 250
    return Image.fromarray(values)


def _pop(image: Image.Image) -> Image.Image:
    """Few, hard colours."""
    return Image.fromarray(_LEVELS[np.asarray(ImageEnhance.Contrast(image).enhance(1.6))])


def _pixels(image: Image.Image) -> Image.Image:
    """Squares of one colour, a twenty-fourth of the side each."""
    side = max(1, round(image.width / 24))
    n = -(-image.width // side)
    small = image.resize((n, n), Image.Resampling.BOX)
    whole = small.resize((n * side, n * side), Image.Resampling.NEAREST)
    return whole.crop((0, 0, *image.size))


def _tiles(image: Image.Image) -> Image.Image:
    """Tiles with dark joints, a twelfth of the side each."""
    values = np.asarray(image).copy()
    step = max(3, round(image.width / 12))
    values[::step] = values[::step] // 3
    values[:, ::step] = values[:, ::step] // 3
    return Image.fromarray(values)


def _oil(image: Image.Image, grain: np.random.Generator) -> Image.Image:
    """Blotches: neighbouring pixels trade places, and the middle one wins."""
    values = np.asarray(image)
    side = image.width
    reach = max(1, side // 32)
    y, x = np.mgrid[:side, :side]
    dy, dx = grain.integers(-reach, reach + 1, (2, side, side))
    values = values[np.clip(y + dy, 0, side - 1), np.clip(x + dx, 0, side - 1)]
    return Image.fromarray(values).filter(ImageFilter.MedianFilter(3))


def _watercolour(image: Image.Image, grain: np.random.Generator) -> Image.Image:
    """Soft edges, on paper that shines through in clouds."""
    side = image.width
    soft = image.filter(ImageFilter.GaussianBlur(side / 80))
    clouds = Image.fromarray(grain.integers(120, 235, (6, 6), dtype=np.uint8)).resize(
        image.size, Image.Resampling.BICUBIC
    )
    return Image.composite(Image.new("RGB", image.size, (252, 250, 244)), soft, clouds)


def _pencil(image: Image.Image) -> Image.Image:
    """Dark lines at edges, pale between them."""
    edges = (
        image.convert("L")
        .filter(ImageFilter.FIND_EDGES)
        .point([min(255, 3 * v) for v in range(256)])
    )
    pale = Image.blend(image, Image.new("RGB", image.size, (248, 248, 246)), 0.55)
    return Image.composite(Image.new("RGB", image.size, (40, 40, 44)), pale, edges)


def _crayon(image: Image.Image, grain: np.random.Generator) -> Image.Image:
    """Slanting strokes of wax."""
    side = image.width
    y, x = np.mgrid[:side, :side]
    phase = grain.normal(0, 0.5, (side, side))
    stroke = np.sin((x + y) * 2 * np.pi / max(4, side / 14) + phase) * 34
    noisy = (
        np.asarray(image).astype(float) + stroke[..., None] + grain.normal(0, 14, (side, side, 1))
    )
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
