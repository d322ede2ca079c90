"""Move boxes with their image when it is resized, padded, mirrored or cropped; compare boxes.

A box is ``(x1, y1, x2, y2)``: its left, top, right and bottom edges. Functions on boxes alone count
in pixels from the image's top left corner and keep fractions, as torchvision's ``tv_tensors`` do
(the tests compare the two). A :class:`Framed` image carries its box in 0-1, the row contract's
unit, which resizing does not change.
"""

import random
from dataclasses import dataclass

from PIL import Image, ImageOps

Box = tuple[float, float, float, float]

Size = tuple[int, int]
"""Width and height in pixels."""


# ---- boxes in pixels ----


def resized(box: Box, old: tuple[float, float], new: tuple[float, float]) -> Box:
    """The box after the image went from ``old`` to ``new`` pixels, each side by its own scale."""
    across, down = new[0] / old[0], new[1] / old[1]
    return box[0] * across, box[1] * down, box[2] * across, box[3] * down


def padded(box: Box, left: float, top: float) -> Box:
    """The box after ``left`` columns and ``top`` rows were added before the image."""
    return box[0] + left, box[1] + top, box[2] + left, box[3] + top


def mirrored(box: Box, width: float) -> Box:
    """The box after the image, ``width`` pixels wide, was mirrored left to right."""
    return width - box[2], box[1], width - box[0], box[3]


def cropped(box: Box, window: Box) -> Box:
    """The part of the box inside ``window``, counted from the window's corner. Where nothing is
    inside, a box without area at the window's edge."""
    width, height = window[2] - window[0], window[3] - window[1]
    x1, y1, x2, y2 = padded(box, -window[0], -window[1])
    return (
        min(max(x1, 0), width),
        min(max(y1, 0), height),
        min(max(x2, 0), width),
        min(max(y2, 0), height),
    )


def area(box: Box) -> float:
    """Square pixels; 0 for an inverted box."""
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def shared(a: Box, b: Box) -> float:
    """Area that both boxes cover, in square pixels."""
    return area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))


def hidden(a: Box, b: Box) -> float:
    """Share of the smaller box that the other one covers, 0-1."""
    least = min(area(a), area(b))
    return shared(a, b) / least if least else 0.0


def relative(box: Box, size: tuple[float, float]) -> Box:
    """Pixels -> 0-1 of an image, or another frame, of ``size``."""
    return resized(box, size, (1, 1))


def absolute(box: Box, size: Size) -> Box:
    """0-1 -> pixels of an image of ``size``."""
    return resized(box, (1, 1), size)


# ---- images with their box ----


@dataclass(frozen=True)
class Framed:
    """An image and the box of one subject in it, in 0-1."""

    image: Image.Image
    box: Box


def crop(framed: Framed, window: tuple[int, int, int, int]) -> Framed:
    """Keep a window, in whole pixels inside the image."""
    box = cropped(absolute(framed.box, framed.image.size), window)
    image = framed.image.crop(window)
    return Framed(image, relative(box, image.size))


def mirror(framed: Framed) -> Framed:
    """Left becomes right."""
    return Framed(ImageOps.mirror(framed.image), mirrored(framed.box, 1.0))


def pad(framed: Framed, left: int, top: int, right: int, bottom: int) -> Framed:
    """Add white margins, in pixels."""
    width, height = framed.image.size
    image = Image.new("RGB", (width + left + right, height + top + bottom), "white")
    image.paste(framed.image, (left, top))
    return Framed(
        image, relative(padded(absolute(framed.box, (width, height)), left, top), image.size)
    )


def close_up(image: Image.Image, box: Box, margin: float = 0.05) -> Image.Image:
    """The subject by itself: its box and ``margin`` times the box's sides around it, as far as the
    image reaches."""
    x1, y1, x2, y2 = absolute(box, image.size)
    across, down = margin * (x2 - x1), margin * (y2 - y1)
    return image.crop(_whole((x1 - across, y1 - down, x2 + across, y2 + down), image.size))


def surroundings(rng: random.Random, framed: Framed, most: float = 1.0) -> Framed:
    """A crop that holds the whole box and some of what is around it: each side moves out by up to
    ``most`` times the box's own length, as far as the image reaches."""
    x1, y1, x2, y2 = absolute(framed.box, framed.image.size)
    across, down = most * (x2 - x1), most * (y2 - y1)
    window = (
        x1 - rng.random() * across,
        y1 - rng.random() * down,
        x2 + rng.random() * across,
        y2 + rng.random() * down,
    )
    return crop(framed, _whole(window, framed.image.size))


def _whole(window: Box, size: Size) -> tuple[int, int, int, int]:
    """A window rounded outward to whole pixels, within an image of ``size``."""
    return (
        max(0, int(window[0])),
        max(0, int(window[1])),
        min(size[0], -int(-window[2] // 1)),
        min(size[1], -int(-window[3] // 1)),
    )
