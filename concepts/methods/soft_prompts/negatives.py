"""Which of many pictures a concept is told apart from: some at random, and those most like it."""

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from concepts.methods.protocol import Picture
from data_gen.files.errors import ImageError
from data_gen.files.files import fingerprint_of
from data_gen.files.skipped import SkippedItems
from data_gen.images.encoders import Encoder
from data_gen.images.features import PHOTO_PX
from data_gen.images.photos import PhotoError, open_photo, photo_bytes
from data_gen.negatives.embedding import Embedded, embed
from data_gen.negatives.mining import Mining, mine
from data_gen.tasks.subjects import Subject, View


@dataclass(frozen=True)
class Chosen:
    """Negatives of one concept, as places in the pool; none of them twice."""

    random: list[int]
    hard: list[int]


def choose_negatives(
    photos: Mapping[str, Sequence[Picture]],
    pool: Sequence[Picture],
    encoder: Encoder | None,
    n_random: int,
    n_hard: int,
    *,
    near_duplicate: float = 1.0,
    cache: str | Path = "runs/cache/features",
    seed: int = 0,
) -> dict[str, Chosen]:
    """The negatives of each concept: of every photo's nearest pictures as many as make up
    ``n_hard``, photos taking turns, and ``n_random`` others; fewer where the pool is smaller.

    Args:
        photos: name of a concept -> its photos.
        pool: pictures that show none of the concepts.
        encoder: by whose cosines pictures are alike; ``None``: all are random.
        near_duplicate: cosine with a photo from which on a picture may show the concept itself: it
            is none of its negatives.
        cache: of the encoder's vectors of the pool.
        seed: of the random ones.
    """
    hard: dict[str, list[int]] = {name: [] for name in photos}
    same: dict[str, set[int]] = {name: set() for name in photos}
    if encoder is not None and n_hard and pool:
        hard, same = _nearest(photos, pool, encoder, n_hard, near_duplicate, Path(cache))
    chosen = {}
    for name in photos:
        rng = random.Random(f"{seed}/negatives")
        others = sorted(set(range(len(pool))) - set(hard[name]) - same[name])
        chosen[name] = Chosen(rng.sample(others, min(n_random, len(others))), hard[name])
    return chosen


def _nearest(
    photos: Mapping[str, Sequence[Picture]],
    pool: Sequence[Picture],
    encoder: Encoder,
    n: int,
    near_duplicate: float,
    cache: Path,
) -> tuple[dict[str, list[int]], dict[str, set[int]]]:
    """Of each concept the nearest pictures of the pool, and those that may show it itself."""
    own = [picture for of in photos.values() for picture in of]
    # One label for all photos: those of one concept are not mined as negatives of another.
    subjects = [
        *(_subject(f"photo-{i}", picture, "owned") for i, picture in enumerate(own)),
        *(_subject(f"pool-{i}", picture, None) for i, picture in enumerate(pool)),
    ]
    # Vectors of photos are not kept on disk: whoever forgets a concept would have to find them.
    parts = [
        embed(subjects[: len(own)], encoder, None, "", SkippedItems()),
        embed(
            subjects[len(own) :],
            encoder,
            cache,
            fingerprint_of(*map(_content, pool)),
            SkippedItems(),
        ),
    ]
    embedded = Embedded(
        [key for part in parts for key in part.keys],
        np.concatenate([part.vectors for part in parts]),
        np.concatenate([part.within for part in parts]),
    )
    settings = Mining(
        neighbours=n,
        # the nearest may be photos of the concepts, which are passed over
        candidates=n + len(own),
        near_duplicate=near_duplicate,
        same_category=False,
    )
    mined = mine(subjects, embedded, settings)
    found, same, place = {}, {}, 0
    for name, of in photos.items():
        keys = [f"photo-{place + i}" for i in range(len(of))]
        place += len(of)
        lists = [mined.nearest.get(key, []) for key in keys]
        alike = [
            other for a, b, _ in mined.duplicates for key, other in ((a, b), (b, a)) if key in keys
        ]
        same[name] = {_place(key) for key in alike if key.startswith("pool-")}
        turns = [near[i] for i in range(n) for near in lists if i < len(near)]
        found[name] = [i for i in map(_place, dict.fromkeys(turns)) if i not in same[name]][:n]
    return found, same


def _place(key: str) -> int:
    """Where in the pool a subject's picture is."""
    return int(key.removeprefix("pool-"))


def _subject(key: str, picture: Picture, label: str | None) -> Subject:
    def opened() -> Image.Image:
        if isinstance(picture, Image.Image):
            return picture
        try:
            return open_photo(picture, PHOTO_PX)
        except PhotoError as error:
            raise ImageError(str(picture), str(error)) from None

    return Subject(key, (View(key, opened),), label=label)


def _content(picture: Picture) -> str:
    if isinstance(picture, Image.Image):
        return hashlib.sha256(
            f"{picture.mode}{picture.size}".encode() + picture.tobytes()
        ).hexdigest()
    try:
        return hashlib.sha256(photo_bytes(picture)).hexdigest()
    except PhotoError as error:
        return str(error)
