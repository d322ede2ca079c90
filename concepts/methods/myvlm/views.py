"""Augmented views of pictures: flipped, rotated, brighter or darker; the k-th is always the same.

Because the views of a picture are numbered, a frozen encoder sees each of them once, and its
features are cached by its file's content and the number.
"""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from concepts.methods.protocol import Picture
from data_gen.images.encoders import BATCH, Encoder
from data_gen.images.features import PHOTO_PX, VectorCache, content_key
from data_gen.images.photos import open_photo


@dataclass(frozen=True)
class Augmentation:
    """How views differ from their picture.

    Args:
        flip: share of views that are mirrored, 0-1.
        rotation: degrees; a view is turned by up to so much either way.
        brightness: 0-1; a view's brightness is multiplied by up to this much more or less than 1.
    """

    flip: float = 0.5
    rotation: float = 30.0
    brightness: float = 0.0


def opened(picture: Picture, size: int = PHOTO_PX, side: str = "long") -> Image.Image:
    """The picture as RGB; a file is shrunk until its ``side`` has ``size`` pixels.

    Raises:
        PhotoError: a file that does not open.
    """
    if isinstance(picture, Image.Image):
        return picture.convert("RGB")
    return open_photo(picture, size, side)


def view(image: Image.Image, number: int, how: Augmentation) -> Image.Image:
    """The ``number``-th view of an RGB image, of the same size; number 0 is the image itself.

    What a rotation uncovers takes the colour of the image's border, so that no black corners tell
    a rotated view from a photo.
    """
    if number == 0:
        return image
    rng = random.Random(number)
    if rng.random() < how.flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    angle = rng.uniform(-how.rotation, how.rotation)
    image = image.rotate(angle, Image.Resampling.BICUBIC, fillcolor=_border_colour(image))
    factor = rng.uniform(1 - how.brightness, 1 + how.brightness)
    return ImageEnhance.Brightness(image).enhance(factor) if how.brightness else image


def view_features(
    encoder: Encoder,
    pictures: Sequence[Picture],
    views: int,
    how: Augmentation,
    cache: str | Path | None = None,
) -> np.ndarray:
    """Features of the first views of N pictures.

    Args:
        encoder: frozen.
        pictures: files or opened images.
        views: V of each picture, its own first.
        cache: directory to read features of files from, and to add them to; those of opened images
            are not kept, for nobody could tell later whose they were.

    Returns:
        (N, V, D) float32, vectors of length 1.

    Raises:
        PhotoError: a file does not open.
    """
    found = np.zeros((len(pictures), views, encoder.dim), np.float32)
    kept = VectorCache(cache, encoder, f"{PHOTO_PX}-views")
    made = hashlib.sha256(str(how).encode()).hexdigest()[:8]
    todo: list[tuple[int, int, str | None]] = []
    images: list[Image.Image] = []

    def encode() -> None:
        if images:
            for (i, number, key), vector in zip(todo, encoder.images(images), strict=True):
                found[i, number] = vector
                if key:
                    kept.write(key, vector)
        todo.clear()
        images.clear()

    for i, picture in enumerate(pictures):
        image = opened(picture)
        content = None if isinstance(picture, Image.Image) else content_key(picture)
        for number in range(views):
            key = content and f"{content}-{number}" + (f"-{made}" if number else "")
            vector = kept.read(key, (encoder.dim,)) if key else None
            if vector is not None:
                found[i, number] = vector
                continue
            todo.append((i, number, key))
            images.append(view(image, number, how))
            if len(images) == BATCH:
                encode()
    encode()
    return found


def _border_colour(image: Image.Image) -> tuple[int, int, int]:
    pixels = np.asarray(image)
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    red, green, blue = np.median(edge, axis=0).astype(int).tolist()
    return red, green, blue
