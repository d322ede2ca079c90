"""Things as vectors: every view through an encoder, in batches, kept on disk."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from data_gen.files.errors import ImageError
from data_gen.files.files import atomic_file, remove_abandoned, stamp_of
from data_gen.images.boxes import absolute
from data_gen.images.encoders import Encoder
from data_gen.tasks.subjects import Thing

PER_FILE = 256
"""Things in one file of the cache: what a kill can cost."""

BATCH = 64
"""Pictures held in memory at a time."""


@dataclass(frozen=True)
class Embedded:
    """N things as vectors of length 1.

    Args:
        keys: of the things, in the order of the source.
        vectors: (N, D) float32: the mean of a thing's views, of length 1 again; zeros where none
            of its pictures could be used.
        within: (N,) mean cosine of its views with each other; NaN where it has only one.
    """

    keys: list[str]
    vectors: np.ndarray
    within: np.ndarray


def embed(
    things: Sequence[Thing], encoder: Encoder, cache: Path, stamp: str, left_out: Counter
) -> Embedded:
    """Embed all things, or read what an earlier run has written.

    Args:
        cache: directory; a file of it is found again by the encoder's fingerprint, ``stamp`` and
            the keys in it.
        stamp: changes when pictures do, though their things' keys do not.
        left_out: is given the pictures that could not be used, reason -> count; those of things
            that were read from the cache are not counted again.
    """
    cache.mkdir(parents=True, exist_ok=True)
    remove_abandoned(cache)
    keys: list[str] = []
    parts: list[np.ndarray] = []
    with tqdm(total=len(things), unit="thing", desc=f"embedding by {encoder.name}",
              mininterval=1) as bar:
        for chunk in chunks(things):
            names = [thing.key for thing in chunk]
            path = cache / f"{stamp_of(encoder.fingerprint, stamp, *names)}.npy"
            if not path.exists():
                with atomic_file(path) as file:
                    np.save(file, _chunk(chunk, encoder, left_out))
            parts.append(np.load(path, allow_pickle=False))
            keys += names
            bar.update(len(chunk))
    whole = np.concatenate(parts)
    return Embedded(keys, np.ascontiguousarray(whole[:, :-1]), whole[:, -1])


def chunks(things: Sequence[Thing]) -> Iterator[list[Thing]]:
    """Things in their order, :data:`PER_FILE` at a time."""
    made = (things[i] for i in range(len(things)))
    while chunk := list(islice(made, PER_FILE)):
        yield chunk


def seen(thing: Thing, left_out: Counter) -> Iterator[Image.Image]:
    """The thing itself in each of its views: the picture, or what its box frames."""
    for view in thing.views:
        try:
            picture = view.open()
        except ImageError as error:
            left_out[error.reason] += 1
            continue
        if view.box:
            x1, y1, x2, y2 = absolute(view.box, picture.size)
            picture = picture.crop((round(x1), round(y1), max(round(x1) + 1, round(x2)),
                                    max(round(y1) + 1, round(y2))))
        yield picture


def _chunk(chunk: list[Thing], encoder: Encoder, left_out: Counter) -> np.ndarray:
    """(n, D + 1): mean vectors, and how alike a thing's own views are."""
    pictures = ((k, image) for k, thing in enumerate(chunk) for image in seen(thing, left_out))
    of: list[int] = []
    parts: list[np.ndarray] = [np.zeros((0, encoder.dim), np.float32)]
    while batch := list(islice(pictures, BATCH)):
        of += [k for k, _ in batch]
        parts.append(encoder.images([image for _, image in batch]))
    features, owner = np.concatenate(parts), np.array(of, dtype=int)
    found = np.zeros((len(chunk), encoder.dim + 1), np.float32)
    for k in range(len(chunk)):
        own = features[owner == k]
        total = own.sum(0)
        length = np.linalg.norm(total)
        found[k, :-1] = total / length if length > 0 else 0
        n = len(own)
        # |sum|^2 holds each of the n vectors with itself, and each pair of different ones twice.
        found[k, -1] = (length**2 - n) / (n * (n - 1)) if n > 1 else np.nan
    return found
