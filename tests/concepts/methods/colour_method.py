"""A method small enough to see through: it learns a concept's mean colour, and nothing else."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from concepts.concept import Concept
from concepts.methods.prompting import without_pictures
from concepts.methods.protocol import Evidence, Learned, Method, Picture, Query
from data_gen.files.errors import InputError
from data_gen.images.photos import PhotoError, open_photo

ADDRESS = "tests.concepts.methods.colour_method:Colour"


@dataclass(frozen=True)
class ColourSettings:
    """How far a colour may be off."""

    reach: float = 0.5


class Colour(Method):
    """p falls from 1 at the very colour to 0 at ``reach``."""

    kind = "colour"
    Settings = ColourSettings
    learns = True

    def learn(
        self,
        concepts: Sequence[Concept],
        negatives: Sequence[Picture] = (),
        progress: bool = False,
    ) -> list[Learned]:
        costs = []
        for concept in concepts:
            kept = self.store.load(concept)
            if kept is not None:
                costs.append(
                    Learned(
                        concept.name, kept[1]["seconds"], self.store.size(concept.name), 3, True
                    )
                )
                continue
            began = time.perf_counter()
            seen = []
            for image in concept.images:
                try:
                    seen.append(mean(open_photo(self.database.image_path(image), 32)))
                except PhotoError:
                    continue
            if not seen:
                raise InputError(f"{concept.name!r} has no photo that opens")
            seconds = time.perf_counter() - began
            n_bytes = self.store.save(
                concept, {"colour": torch.stack(seen).mean(0)}, {"seconds": seconds}
            )
            costs.append(Learned(concept.name, seconds, n_bytes, 3))
        return costs

    def recognize(self, pairs: Sequence[tuple[Picture, str]]) -> list[float]:
        found = []
        for image, name in pairs:
            kept = self.store.load(self.database.concepts()[name])
            assert kept is not None, f"{name} was asked about before it was learned"
            off = float((kept[0]["colour"] - mean(self._opened(image))).abs().mean())
            found.append(max(0.0, 1 - off / self.settings.reach))
        return found

    def rows(self, queries: Sequence[Query]) -> tuple[list[dict], list[tuple[Evidence, ...]]]:
        rows = []
        for query in queries:
            references = query.references or ()
            query = replace(query, image=self._opened(query.image))
            rows.append(without_pictures(self.row(query, references), len(references)))
        return rows, [() for _ in queries]


def mean(image) -> torch.Tensor:
    """(3,) in 0-1."""
    pixels = torch.frombuffer(bytearray(image.convert("RGB").tobytes()), dtype=torch.uint8)
    return pixels.view(-1, 3).float().mean(0) / 255
