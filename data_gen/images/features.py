"""Features of picture files, each made once: kept by what a file holds, not by where it lies.

A cache directory holds one small safetensors file per picture and encoder,
``<encoder's fingerprint>/ab/<sha256 of the picture's bytes>.safetensors``. Each is written whole or
not at all, so several processes may share a directory; a damaged one is made anew.
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
from data_gen.images.encoders import BATCH, Encoder
from data_gen.images.photos import PhotoError, open_photo, reason_of

PHOTO_PX = 512
"""Long side, in pixels, with which a picture is opened before the encoder's own resize."""


def file_features(
    encoder: Encoder, paths: Iterable[Path], cache: str | Path | None = None, *,
    batch_size: int = BATCH, progress: bool = False,
) -> tuple[dict[Path, np.ndarray], dict[str, list[Path]]]:
    """Features of many pictures.

    Args:
        encoder: any.
        paths: files; two of the same content are encoded once.
        cache: directory to read from and add to.
        batch_size: pictures held in memory at a time.
        progress: show a bar.

    Returns:
        Path -> (D,) float32 of length 1, and what was left out: reason -> paths.
    """
    left_out: dict[str, list[Path]] = defaultdict(list)
    of_content: dict[str, list[Path]] = defaultdict(list)
    for path in dict.fromkeys(paths):
        try:
            of_content[hashlib.sha256(path.read_bytes()).hexdigest()].append(path)
        except OSError as error:
            left_out[reason_of(error)].append(path)
    known = _read(encoder, of_content, cache)
    todo = [digest for digest in of_content if digest not in known]
    shown = tqdm(range(0, len(todo), batch_size), desc=f"features, {encoder.name}",
                 disable=None if progress else True)
    for start in shown:
        pictures = {}
        for digest in todo[start : start + batch_size]:
            try:
                pictures[digest] = open_photo(of_content[digest][0], PHOTO_PX)
            except PhotoError as reason:
                left_out[str(reason)] += of_content[digest]
        if pictures:
            vectors = encoder.images(list(pictures.values()))
            new = dict(zip(pictures, vectors, strict=True))
            known.update(new)
            _write(encoder, new, cache)
    found = {path: known[digest] for digest, same in of_content.items() if digest in known
             for path in same}
    return found, dict(left_out)


def _read(encoder: Encoder, digests: Iterable[str], cache) -> dict[str, np.ndarray]:
    found = {}
    for digest in digests if cache else ():
        try:
            vector = load(_place(encoder, digest, cache).read_bytes())["feature"]
        except (OSError, SafetensorError, KeyError):
            continue
        if vector.shape == (encoder.dim,) and vector.dtype == np.float32:
            found[digest] = vector
    return found


def _write(encoder: Encoder, vectors: Mapping[str, np.ndarray], cache) -> None:
    for digest, vector in vectors.items() if cache else ():
        place = _place(encoder, digest, cache)
        place.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(place) as file:
            file.write(save({"feature": np.ascontiguousarray(vector)}))


def _place(encoder: Encoder, digest: str, cache: str | Path) -> Path:
    folder = f"{encoder.fingerprint}-{PHOTO_PX}"
    return Path(cache) / folder / digest[:2] / f"{digest}.safetensors"
