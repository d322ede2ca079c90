"""Encode image files once each: features are cached by a file's content, not by its path.

The one cache of vectors (:class:`VectorCache`) holds a small safetensors file for each key and
encoder, written whole or not at all; hard-negative mining keeps its subjects' vectors in it, too.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save
from tqdm import tqdm

from data_gen.files.files import atomic_file
from data_gen.files.skipped import SkippedItems
from data_gen.images.encoders import BATCH, Encoder
from data_gen.images.photos import PhotoError, open_photo, photo_bytes

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
            of_content[content_key(path)].append(path)
        except PhotoError as reason:
            skipped.add(str(reason), str(path))
    kept = VectorCache(cache, encoder, str(PHOTO_PX))
    read = {digest: kept.read(digest, (encoder.dim,)) for digest in of_content}
    known = {digest: vector for digest, vector in read.items() if vector is not None}
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
            for digest, vector in new.items():
                kept.write(digest, vector)
    found = {
        path: known[digest]
        for digest, same in of_content.items()
        if digest in known
        for path in same
    }
    return found, skipped


def content_key(path: Path) -> str:
    """Under which a file's vectors are cached.

    Raises:
        PhotoError: it cannot be read.
    """
    return hashlib.sha256(photo_bytes(path)).hexdigest()


def forget_features(cache: str | Path, keys: Iterable[str]) -> int:
    """Delete the vectors of these contents (:func:`content_key`), and of views of them, of every
    encoder; how many."""
    gone = 0
    for key in keys:
        for file in Path(cache).glob(f"*/{key[:2]}/{key}*.safetensors"):
            file.unlink(missing_ok=True)
            gone += 1
    return gone


class VectorCache:
    """Vectors of one encoder by key: a small safetensors file each, written whole or not at all, so
    that several processes may share a directory. A damaged file counts as missing.

    Args:
        folder: of the cache; ``None``: nothing is kept.
        encoder: whose fingerprint names a folder in it.
        kind: what the vectors are of, which ends that folder's name.
    """

    def __init__(self, folder: str | Path | None, encoder: Encoder, kind: str):
        self.folder = Path(folder) / f"{encoder.fingerprint}-{kind}" if folder is not None else None

    def read(self, key: str, shape: tuple[int, ...]) -> np.ndarray | None:
        """float32 of ``shape``, or ``None`` where there is none."""
        if self.folder is None:
            return None
        try:
            vector = load(self._place(self.folder, key).read_bytes())["feature"]
        except (OSError, SafetensorError, KeyError):
            return None
        return vector if vector.shape == shape and vector.dtype == np.float32 else None

    def write(self, key: str, vector: np.ndarray) -> None:
        """Keep a vector, or an array of them."""
        if self.folder is None:
            return
        place = self._place(self.folder, key)
        place.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(place) as file:
            file.write(save({"feature": np.ascontiguousarray(vector)}))

    @staticmethod
    def _place(folder: Path, key: str) -> Path:
        return folder / key[:2] / f"{key}.safetensors"
