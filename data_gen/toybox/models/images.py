"""Pictures to train on: drawn once, kept on disk, read as they are needed.

Picture ``i`` depends on the seed and ``i`` alone. A run that was killed goes on behind the last
whole file.
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


@dataclass
class Drawn:
    """Pictures and what is true of each. ``files``: arrays (:data:`PER_FILE`, height, width, 3) of
    bytes, mapped from disk; ``facts``: a dictionary for each picture."""

    files: list[np.ndarray]
    facts: list[dict]

    def __len__(self) -> int:
        return len(self.facts)

    def batch(self, indices: Sequence[int]) -> torch.Tensor:
        """(B, 3, height, width) values in -1...1."""
        found = np.stack([self.files[i // PER_FILE][i % PER_FILE] for i in indices])
        return torch.from_numpy(found).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def drawn(
    folder: Path, count: int, draw: Callable[[int], tuple[Image.Image, dict]], title: str
) -> Drawn:
    """The first ``count`` pictures, rounded up to whole files; those that are missing are drawn.

    Args:
        folder: holds them; its name must tell the seed and the size, which are not checked.
        draw: gives picture ``i`` and what is true of it, as JSON would have it.
        title: for the progress bar.
    """
    folder.mkdir(parents=True, exist_ok=True)
    remove_abandoned(folder)
    names = [folder / f"{k:05d}" for k in range(-(-count // PER_FILE))]
    missing = [name for name in names if not name.with_suffix(".json").exists()]
    with tqdm(total=len(names) * PER_FILE, unit="picture", desc=title, mininterval=1,
              initial=(len(names) - len(missing)) * PER_FILE, disable=not missing) as bar:
        for name in missing:
            first = int(name.name) * PER_FILE
            made = [draw(i) for i in range(first, first + PER_FILE)]
            with atomic_file(name.with_suffix(".npy")) as file:
                np.save(file, np.stack([np.asarray(image) for image, _ in made]))
            with atomic_file(name.with_suffix(".json")) as file:  # last: says that both are whole
                file.write(json.dumps([fact for _, fact in made]).encode())
            bar.update(PER_FILE)
    return Drawn([np.load(name.with_suffix(".npy"), mmap_mode="r") for name in names],
                 [fact for name in names
                  for fact in json.loads(name.with_suffix(".json").read_text())])


def drawn_pairs(folder: Path, count: int, size: int, seed: int, *, held_out: bool = False) -> Drawn:
    """Pairs of one toy (``{"toy": number, "scenes": [left, right]}``), ``size`` high and twice as
    wide."""
    def draw(i: int) -> tuple[Image.Image, dict]:
        rng = random.Random(f"pair-{seed}-{held_out}-{i}")
        pair = draw_pair(rng, draw_identity(rng, held_out=held_out), size)
        return pair.image, {"toy": to_number(pair.identity), "scenes": list(pair.scenes)}

    name = f"pairs-{size}px-{seed}{'-heldout' if held_out else ''}"
    return drawn(folder / name, count, draw, name)


def drawn_scenes(
    folder: Path, count: int, size: int, seed: int, toys: dict[int, float], *,
    held_out: bool = False,
) -> Drawn:
    """Scenes of a few toys, as rows show them (``{"toys": [number, ...]}``), or of one toy as in
    :func:`drawn_pairs` (with ``scene``).

    Args:
        toys: number of toys -> weight; 0 stands for half of a pair.
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
                "toys": [to_number(found[0])], "scene": pair.scenes[0]}
        scene = compose(rng, found, size)
        return scene.image, {"toys": [to_number(toy.identity) for toy in scene.toys]}

    name = f"scenes-{size}px-{seed}{'-heldout' if held_out else ''}"
    return drawn(folder / name, count, draw, name)


def identity_of(fact: dict) -> Identity:
    """The toy of a pair, or the first of a scene."""
    return from_number(fact["toy"] if "toy" in fact else fact["toys"][0])
