"""Toys as a source of subjects, for code that works on any source, such as negative mining."""

import random
from collections.abc import Sequence

from PIL import Image

from data_gen.tasks.subjects import Source, Subject, View
from data_gen.toybox.identity import Identity, draw_identity, to_number
from data_gen.toybox.pairs import item_words
from data_gen.toybox.scene import compose


class Toys(Sequence):
    """Different toys of one side of the split, each with images of it alone.

    Args:
        count: number of toys.
        seed: of the choice of toys and of the images.
        split: ``train`` or ``heldout``.
        size: side of the images, in pixels.
        views: images per toy.
    """

    def __init__(
        self, count: int, seed: int, split: str = "heldout", size: int = 64, views: int = 2
    ):
        self.seed, self.size, self.views = seed, size, views
        rng, found = random.Random(f"toys-{seed}"), {}
        while len(found) < count:
            found[draw_identity(rng, held_out=split == "heldout")] = None
        self.identities: list[Identity] = list(found)

    def __len__(self) -> int:
        return len(self.identities)

    def __getitem__(self, i: int) -> Subject:
        identity = self.identities[i]
        key = f"toy-{to_number(identity)}"
        views = tuple(
            View(f"{key}/{k}", lambda k=k: self._open(identity, k)) for k in range(self.views)
        )
        return Subject(key, views, identity.kind, identity.description, label=item_words(identity))

    def _open(self, identity: Identity, k: int) -> Image.Image:
        rng = random.Random(f"toys-{self.seed}-{to_number(identity)}-{k}")
        return compose(rng, [identity], self.size).image


def toy_source(
    count: int, seed: int, split: str = "heldout", size: int = 64, views: int = 2
) -> Source:
    """Toys as a source of rows; arguments as for :class:`Toys`."""
    return Source("toys", Toys(count, seed, split, size, views))
