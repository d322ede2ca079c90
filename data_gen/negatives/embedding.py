"""Embed subjects: every view through an encoder, in batches, cached on disk."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from data_gen.files.errors import ImageError
from data_gen.files.files import fingerprint_of
from data_gen.files.skipped import SkippedItems
from data_gen.images.boxes import absolute
from data_gen.images.encoders import Encoder
from data_gen.images.features import VectorCache
from data_gen.tasks.subjects import Subject

PER_FILE = 256
"""Subjects in one file of the cache: the most that a kill loses."""

BATCH = 64
"""Images held in memory at a time."""


@dataclass(frozen=True)
class Embedded:
    """N subjects as vectors of length 1.

    Args:
        keys: of the subjects, in the order of the source.
        vectors: (N, D) float32: the mean over a subject's views, scaled to length 1; zeros where
            none of its images could be used.
        within: (N,) mean cosine of its views with each other; NaN where it has only one.
    """

    keys: list[str]
    vectors: np.ndarray
    within: np.ndarray


def embed(
    subjects: Sequence[Subject],
    encoder: Encoder,
    cache: Path | None,
    fingerprint: str,
    skipped: SkippedItems,
) -> Embedded:
    """Embed all subjects, or read what an earlier run has written.

    Args:
        cache: directory, or ``None`` to keep nothing; the key of what is kept there is made from
            the encoder's fingerprint, ``fingerprint`` and the subjects' keys.
        fingerprint: changes when images do, though their subjects' keys do not.
        skipped: counts the images that could not be used, except those of subjects that were read
            from the cache.
    """
    kept = VectorCache(cache, encoder, "subjects")
    keys: list[str] = []
    parts: list[np.ndarray] = []
    with tqdm(
        total=len(subjects), unit="subject", desc=f"embedding by {encoder.name}", mininterval=1
    ) as bar:
        for chunk in chunks(subjects):
            names = [subject.key for subject in chunk]
            key = fingerprint_of(encoder.fingerprint, fingerprint, *names)
            part = kept.read(key, (len(chunk), encoder.dim + 1))
            if part is None:
                part = _chunk(chunk, encoder, skipped)
                kept.write(key, part)
            parts.append(part)
            keys += names
            bar.update(len(chunk))
    whole = np.concatenate(parts)
    return Embedded(keys, np.ascontiguousarray(whole[:, :-1]), whole[:, -1])


def chunks(subjects: Sequence[Subject]) -> Iterator[list[Subject]]:
    """Subjects in their order, :data:`PER_FILE` at a time."""
    made = (subjects[i] for i in range(len(subjects)))
    while chunk := list(islice(made, PER_FILE)):
        yield chunk


def crops(subject: Subject, skipped: SkippedItems) -> Iterator[Image.Image]:
    """The subject itself in each of its views: the whole image, or what is in its box."""
    for view in subject.views:
        try:
            image = view.open()
        except ImageError as error:
            skipped.add(error.reason, error.where)
            continue
        if view.box:
            x1, y1, x2, y2 = absolute(view.box, image.size)
            image = image.crop(
                (round(x1), round(y1), max(round(x1) + 1, round(x2)), max(round(y1) + 1, round(y2)))
            )
        yield image


def _chunk(chunk: list[Subject], encoder: Encoder, skipped: SkippedItems) -> np.ndarray:
    """(n, D + 1): per subject its mean vector and, last, the mean cosine of its own views."""
    images = ((k, image) for k, subject in enumerate(chunk) for image in crops(subject, skipped))
    of: list[int] = []
    parts: list[np.ndarray] = [np.zeros((0, encoder.dim), np.float32)]
    while batch := list(islice(images, BATCH)):
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
        # |sum|^2 counts each of the n vectors with itself, and each pair of different ones twice.
        found[k, -1] = (length**2 - n) / (n * (n - 1)) if n > 1 else np.nan
    return found
