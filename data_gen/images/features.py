"""Encode image files once each: features are cached by a file's content, not by its path.

A cache directory holds one small safetensors file per image and encoder,
``<encoder's fingerprint>/ab/<sha256 of the image's bytes>.safetensors``. Each is written whole or
not at all, so several processes may share a directory; a damaged one is written again.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save
from tqdm import tqdm

from data_gen.files.files import atomic_file
from data_gen.files.skipped import SkippedItems
from data_gen.images.encoders import BATCH, Encoder
from data_gen.images.photos import PhotoError, open_photo, reason_of

PHOTO_PX = 512
"""Long side, in pixels, with which an image is opened before the encoder's own resize."""


def file_features(
    encoder: Encoder,
    paths: Iterable[Path],
    cache: str | Path | None = None,
    *,
    batch_size: int = BATCH,
    progress: bool = False,
) -> tuple[dict[Path, np.ndarray], SkippedItems]:
    """Encode many image files, or read their features from the cache.

    Args:
        encoder: any.
        paths: files; two of the same content are encoded once.
        cache: directory to read from and add to.
        batch_size: images held in memory at a time.
        progress: show a bar.

    Returns:
        Path -> (D,) float32 of length 1, and the files that were skipped.
    """
    skipped = SkippedItems()
    of_content: dict[str, list[Path]] = defaultdict(list)
    for path in dict.fromkeys(paths):
        try:
            of_content[hashlib.sha256(path.read_bytes()).hexdigest()].append(path)
        except OSError as error:
            skipped.add(reason_of(error), str(path))
    known = _read(encoder, of_content, cache)
    todo = [digest for digest in of_content if digest not in known]
    shown = tqdm(
        range(0, len(todo), batch_size),
        desc=f"features, {encoder.name}",
        disable=None if progress else True,
    )
    for start in shown:
        images = {}
        for digest in todo[start : start + batch_size]:
            try:
                images[digest] = open_photo(of_content[digest][0], PHOTO_PX)
            except PhotoError as reason:
                for path in of_content[digest]:
                    skipped.add(str(reason), str(path))
        if images:
            vectors = encoder.images(list(images.values()))
            new = dict(zip(images, vectors, strict=True))
            known.update(new)
            _write(encoder, new, cache)
    found = {
        path: known[digest]
        for digest, same in of_content.items()
        if digest in known
        for path in same
    }
    return found, skipped


def _read(
    encoder: Encoder, digests: Iterable[str], cache: str | Path | None
) -> dict[str, np.ndarray]:
    found = {}
    if cache is None:
        return found
    for digest in digests:
        try:
            vector = load(_place(encoder, digest, cache).read_bytes())["feature"]
        except (OSError, SafetensorError, KeyError):
            continue
        if vector.shape == (encoder.dim,) and vector.dtype == np.float32:
            found[digest] = vector
    return found


def _write(encoder: Encoder, vectors: Mapping[str, np.ndarray], cache: str | Path | None) -> None:
    if cache is None:
        return
    for digest, vector in vectors.items():
        place = _place(encoder, digest, cache)
        place.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(place) as file:
            file.write(save({"feature": np.ascontiguousarray(vector)}))


def _place(encoder: Encoder, digest: str, cache: str | Path) -> Path:
    folder = f"{encoder.fingerprint}-{PHOTO_PX}"
    return Path(cache) / folder / digest[:2] / f"{digest}.safetensors"
