"""Draw training images of toys once, cache them on disk, and read them in batches.

Image ``i`` depends only on the seed and ``i``. A run that was killed resumes after the last
complete file.
"""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from data_gen.files.files import atomic_file, remove_abandoned
from data_gen.toybox.identity import Identity, draw_identity, from_number, to_number
from data_gen.toybox.pairs import draw_pair
from data_gen.toybox.scene import compose

PER_FILE = 512
"""Images per file of the cache."""


@dataclass
class DrawnImages:
    """Images and the truth about each.

    Args:
        files: arrays (:data:`PER_FILE`, height, width, 3) of bytes, memory-mapped.
        facts: for each image a dictionary, see :func:`drawn_pairs` and :func:`drawn_scenes`.
    """

    files: list[np.ndarray]
    facts: list[dict]

    def __len__(self) -> int:
        return len(self.facts)

    def batch(self, indices: Sequence[int] | np.ndarray) -> torch.Tensor:
        """(B, 3, height, width) values in -1...1."""
        found = np.stack([self.files[i // PER_FILE][i % PER_FILE] for i in indices])
        return torch.from_numpy(found).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def drawn_images(
    folder: Path, count: int, draw: Callable[[int], tuple[Image.Image, dict]], title: str
) -> DrawnImages:
    """The first ``count`` images, rounded up to whole files; missing files are drawn.

    Args:
        folder: the cache; its name must contain the seed and the size, which are not checked.
        draw: index -> the image, and the truth about it as a JSON object.
        title: of the progress bar.
    """
    folder.mkdir(parents=True, exist_ok=True)
    remove_abandoned(folder)
    names = [folder / f"{k:05d}" for k in range(-(-count // PER_FILE))]
    missing = [name for name in names if not name.with_suffix(".json").exists()]
    with tqdm(
        total=len(names) * PER_FILE,
        unit="image",
        desc=title,
        mininterval=1,
        initial=(len(names) - len(missing)) * PER_FILE,
        disable=not missing,
    ) as bar:
        for name in missing:
            first = int(name.name) * PER_FILE
            made = [draw(i) for i in range(first, first + PER_FILE)]
            with atomic_file(name.with_suffix(".npy")) as file:
                np.save(file, np.stack([np.asarray(image) for image, _ in made]))
            with atomic_file(name.with_suffix(".json")) as file:  # last: it marks both as complete
                file.write(json.dumps([fact for _, fact in made]).encode())
            bar.update(PER_FILE)
    return DrawnImages(
        [np.load(name.with_suffix(".npy"), mmap_mode="r") for name in names],
        [fact for name in names for fact in json.loads(name.with_suffix(".json").read_text())],
    )


def drawn_pairs(
    folder: Path, count: int, size: int, seed: int, *, held_out: bool = False
) -> DrawnImages:
    """Images (``size``, 2 ``size``) that show one toy twice; facts: ``{"toy": number, "scenes":
    [left, right]}``."""

    def draw(i: int) -> tuple[Image.Image, dict]:
        rng = random.Random(f"pair-{seed}-{held_out}-{i}")
        pair = draw_pair(rng, draw_identity(rng, held_out=held_out), size)
        return pair.image, {"toy": to_number(pair.identity), "scenes": list(pair.scenes)}

    name = f"pairs-{size}px-{seed}{'-heldout' if held_out else ''}"
    return drawn_images(folder / name, count, draw, name)


def drawn_scenes(
    folder: Path,
    count: int,
    size: int,
    seed: int,
    toys: dict[int, float],
    *,
    held_out: bool = False,
) -> DrawnImages:
    """Square images of a few toys, as rows show them (facts: ``{"toys": [number, ...]}``), or of
    one toy as in :func:`drawn_pairs` (facts with ``scene``, too).

    Args:
        toys: number of toys -> weight; 0 stands for one half of a pair.
    """

    def draw(i: int) -> tuple[Image.Image, dict]:
        rng = random.Random(f"scene-{seed}-{held_out}-{i}")
        n = rng.choices(list(toys), list(toys.values()))[0]
        found: list[Identity] = []
        while len(found) < max(1, n):
            identity = draw_identity(rng, held_out=held_out)
            if identity not in found:
                found.append(identity)
        if n == 0:
            pair = draw_pair(rng, found[0], size)
            return pair.image.crop((0, 0, size, size)), {
                "toys": [to_number(found[0])],
                "scene": pair.scenes[0],
            }
        scene = compose(rng, found, size)
        return scene.image, {"toys": [to_number(toy.identity) for toy in scene.toys]}

    name = f"scenes-{size}px-{seed}{'-heldout' if held_out else ''}"
    return drawn_images(folder / name, count, draw, name)


def identity_of(fact: dict) -> Identity:
    """The toy of a pair, or the first toy of a scene."""
    return from_number(fact["toy"] if "toy" in fact else fact["toys"][0])
