"""Retrieve the concepts that a question is about: by the names in it, and by what its image shows.

Names written in the question (by the one rule of ``rewards.names``) come first: whoever writes a
name means it. Then the whole image and each proposed region are compared with the images of all
concepts, and the nearest ones fill up to k (RAP 2410.13360: detector crops, L2 nearest, names in
the text looked up directly). The policy itself may then be asked whether each is really there
(:mod:`concepts.methods.verification`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from PIL import Image

from concepts.index import ConceptIndex, LiveIndex, nearest
from concepts.regions import Proposer, crop
from data_gen.images.boxes import Box
from data_gen.images.encoders import Encoder
from rewards.names import name_key, names_written

PER_REGION = 2
"""Concepts that a region may add, unless said otherwise; it seldom shows two, but the nearest one
may be wrong."""


@dataclass(frozen=True)
class Found:
    """A concept that a question may be about.

    Attributes:
        name: the concept's.
        by: ``question``, ``image`` or ``region``.
        similarity: cosine to its nearest image; ``None`` where its name is in the question.
        box: the region, in 0-1 of the image; ``None`` for names and the whole image.
    """

    name: str
    by: str
    similarity: float | None = None
    box: Box | None = None


class Retriever:
    """Finds concepts.

    Args:
        index: a :class:`LiveIndex`, which follows its database, or a fixed one read from disk.
        encoder: the one that the index was made with.
        propose: regions of an image; ``None`` looks at the whole image only.
        least: similarity below which a concept is not retrieved by an image.
        whole: whether the whole image is compared beside its regions: ``always``; ``fallback``,
            where no region is proposed; ``never``.
        per_region: concepts that a region may add.
    """

    def __init__(
        self,
        index: LiveIndex | ConceptIndex,
        encoder: Encoder,
        propose: Proposer | None = None,
        *,
        least: float = -1.0,
        whole: str = "always",
        per_region: int = PER_REGION,
    ):
        self.index, self.encoder, self.propose, self.least = index, encoder, propose, least
        self.whole, self.per_region = whole, per_region
        self._keys: dict[str, str] = {}
        self._keys_of: object = None

    def retrieve(self, image: Image.Image | None, question: str = "", k: int = 2) -> list[Found]:
        """Concepts for one question.

        Args:
            image: the image asked about, if there is one.
            question: the user's words.
            k: how many to retrieve by the image, less those named in the question; names alone
                may be more than k.

        Returns:
            Names of the question in the order of the database, then by similarity. No name twice.

        Raises:
            DatabaseError: the database cannot be read or is empty.
        """
        if isinstance(self.index, LiveIndex):
            index = self.index.current()
            names = self.index.database.concepts()
        else:
            index = self.index
            names = index.owners
        if self._keys_of is not index:
            self._keys = {n: self._keys.get(n) or name_key(n) for n in names}
            self._keys_of = index
        found = {name: Found(name, "question") for name in names_in(question, self._keys)}
        places = k - len(found)
        if image is None or places <= 0:
            return list(found.values())
        boxes: list[Box | None] = list(self.propose(image)) if self.propose else []
        if self.whole == "always" or (self.whole == "fallback" and not boxes):
            boxes.insert(0, None)
        if not boxes:
            return list(found.values())
        parts = [image if box is None else crop(image, box) for box in boxes]
        answers = nearest(index, self.encoder.images(parts), max(k, self.per_region))
        best: dict[str, tuple[float, Found]] = {}
        for box, answer in zip(boxes, answers, strict=True):
            by = "image" if box is None else "region"
            for name, similarity in answer if box is None else answer[: self.per_region]:
                if name not in best or similarity > best[name][0]:
                    best[name] = similarity, Found(name, by, similarity, box)
        ranked = sorted(best.values(), key=lambda one: -one[0])
        new = [
            one for similarity, one in ranked if one.name not in found and similarity >= self.least
        ]
        return [*found.values(), *new[:places]]


def name_keys(names: Iterable[str]) -> dict[str, str]:
    """Name -> the form in which names are compared, worked out once for many questions."""
    return {name: name_key(name) for name in names}


def names_in(question: str, keys: Mapping[str, str]) -> list[str]:
    """The names that a question writes, in the order of ``keys`` (from :func:`name_keys`).

    Equal to ``rewards.names.names_written`` over all names, which takes long for many: a name whose
    key is no part of the question's cannot be written in it.
    """
    text = name_key(question)
    candidates = [name for name, key in keys.items() if key in text]
    if not candidates:
        return []
    written = names_written(question, candidates)
    return [name for name in candidates if name in written]
