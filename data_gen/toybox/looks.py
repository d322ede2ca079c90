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
_CHROMA = {"muted": 0.5, "natural": 1.1, "vivid": 2.4}
_DRAWN = {"cartoon": "outlined"}
_ORNAMENTS = {"minimal": 0, "moderate": 20, "intricate": 80}  # in a picture
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

    No element hides another one: what a style shows beside its shapes and the ornaments of its
    detail are drawn over the medium, and the chroma is changed after the tint, which every
    picture has, however grey its toys are.

    Args:
        image: square, RGB.
        look: of the picture.
        seed: of strokes and of ornaments.
    """
    grain = np.random.default_rng(seed)
    image = _shapes(image, look.art_style)
    image = {
        "digital": lambda drawn: drawn,
        "oil paint": lambda drawn: _oil(drawn, grain),
        "watercolour": lambda drawn: _watercolour(drawn, grain),
        "pencil": _pencil,
        "crayon": lambda drawn: _crayon(drawn, grain),
    }[look.medium](image)
    values = np.array(image)
    _marks(values, look.art_style)
    _ornaments(values, _ORNAMENTS[look.detail], grain)
    image = Image.blend(
        Image.fromarray(values), Image.new("RGB", image.size, _TINTS[look.colour]), 0.36
    )
    return ImageEnhance.Color(image).enhance(_CHROMA[look.saturation])


def _shapes(image: Image.Image, style: str) -> Image.Image:
    """What a style makes of the shapes, before they are painted."""
    if style == "pop art":  # few, hard colours
        return Image.fromarray(_LEVELS[np.asarray(ImageEnhance.Contrast(image).enhance(1.6))])
    if style == "pixel art":  # squares of one colour, a sixteenth of the side each
        side = max(1, round(image.width / 16))
        n = -(-image.width // side)
        small = image.resize((n, n), Image.Resampling.BOX)
        whole = small.resize((n * side, n * side), Image.Resampling.NEAREST)
        return whole.crop((0, 0, *image.size))
    return image


def _marks(values: np.ndarray, style: str) -> None:
    """What a style draws over the paint: a cartoon's frame, pop art's rows of dots, the checks
    that pixel art shades with, a mosaic's joints."""
    side = len(values)
    if style == "cartoon":
        width = max(2, side // 24)
        for edge in (np.s_[:width], np.s_[-width:], np.s_[:, :width], np.s_[:, -width:]):
            values[edge] = 24
    elif style == "pop art":
        step = max(4, side // 16)
        for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
            values[1 + dy :: step, 1 + dx :: step] //= 2
    elif style == "pixel art":
        block = max(1, round(side / 16))
        n = -(-side // block)
        checks = np.kron(np.indices((n, n)).sum(0) % 2, np.ones((block, block), int))
        shaded = values - 40 * checks[:side, :side, None]
        values[:] = shaded.clip(0, 255)
    elif style == "mosaic":
        step = max(5, round(side / 8))
        values[::step] //= 4
        values[:, ::step] //= 4


def _ornaments(values: np.ndarray, count: int, grain: np.random.Generator) -> None:
    """Small crosses anywhere, every other one light, the others dark."""
    reach = max(1, len(values) // 64)
    y, x = grain.integers(reach, len(values) - reach, (2, count))
    for d in range(-reach, reach + 1):
        for dy, dx in ((d, 0), (0, d)):
            values[y[::2] + dy, x[::2] + dx] = 16
            values[y[1::2] + dy, x[1::2] + dx] = 255


def _oil(image: Image.Image, grain: np.random.Generator) -> Image.Image:
    """Short dabs of a thick brush, lighter and darker, whose edges are rough."""
    values = np.asarray(image)
    side = image.width
    reach = max(1, side // 64)
    y, x = np.mgrid[:side, :side]
    dy, dx = grain.integers(-reach, reach + 1, (2, side, side))
    values = values[np.clip(y + dy, 0, side - 1), np.clip(x + dx, 0, side - 1)]
    dabs = grain.integers(-44, 45, (max(4, side // 3), max(3, side // 9)), dtype=np.int16)
    high, wide = (-(-side // n) for n in dabs.shape)
    dabs = np.repeat(np.repeat(dabs, high, 0), wide, 1)[:side, :side, None]
    return Image.fromarray((values + dabs).clip(0, 255).astype(np.uint8))


def _watercolour(image: Image.Image, grain: np.random.Generator) -> Image.Image:
    """Soft edges, on paper that shines through in clouds."""
    side = image.width
    soft = image.filter(ImageFilter.GaussianBlur(side / 80))
    clouds = Image.fromarray(grain.integers(0, 230, (6, 6), dtype=np.uint8)).resize(
        image.size, Image.Resampling.BICUBIC
    )
    return Image.composite(Image.new("RGB", image.size, (252, 250, 244)), soft, clouds)


def _pencil(image: Image.Image) -> Image.Image:
    """Dark lines at edges, pale between them."""
    edges = np.array(
        image.convert("L")
        .filter(ImageFilter.FIND_EDGES)
        .point([min(255, 3 * v) for v in range(256)])
    )
    edges[[0, -1]] = 0
    edges[:, [0, -1]] = 0
    pale = Image.blend(image, Image.new("RGB", image.size, (248, 248, 246)), 0.55)
    return Image.composite(Image.new("RGB", image.size, (40, 40, 44)), pale, Image.fromarray(edges))


def _crayon(image: Image.Image, grain: np.random.Generator) -> Image.Image:
    """Slanting strokes of wax."""
    side = image.width
    y, x = np.mgrid[:side, :side]
    phase = grain.normal(0, 0.5, (side, side))
    stroke = np.sin((x + y) * 2 * np.pi / max(4, side / 14) + phase) * 40
    noisy = np.asarray(image) + stroke[..., None] + grain.normal(0, 14, (side, side, 1))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
