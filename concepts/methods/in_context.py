"""In-context personalization: references of the user's concepts stand in the prompt (RePIC).

References are handed over with the query (the *skip-retrieval* protocol of RePIC 2506.18369), or
the system finds them among the concepts that the user owns (its *retrieval* protocol)::

    retrieval:
      encoder: imagenet               # as in data_gen/images/encoders.py
      regions: {kind: windows}        # as in concepts/regions.py; null: the whole image only
      k: 2                            # null: the benchmark's number (RePIC: 2; 4 for four concepts)
      verify: 0.5                     # least p(yes) of the policy that keeps a reference; null: all

What was retrieved, how similar it is and what the policy said of it is part of every reply.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from concepts.concept import Concept
from concepts.index import build_index
from concepts.methods.protocol import (
    Evidence,
    Learned,
    Method,
    Picture,
    Query,
    Reference,
    Write,
)
from concepts.methods.verification import presence_probabilities, presence_row
from concepts.regions import DetectorError, load_proposer
from concepts.retrieval import Found, Retriever
from data_gen.files.errors import InputError
from data_gen.files.skipped import SkippedItems
from data_gen.images.encoders import EncoderError, load_encoder
from data_gen.images.features import PHOTO_PX, file_features
from data_gen.images.photos import open_photo
from rl.policy.generation import row_size
from rl.policy.likelihood import yes_probabilities


@dataclass(frozen=True)
class RetrievalSettings:
    """How a system finds references.

    Attributes:
        encoder: see :func:`data_gen.images.encoders.load_encoder`.
        regions: see :func:`concepts.regions.load_proposer`; ``None``: whole images only.
        k: references per query; ``None``: the benchmark's number, or 2.
        least: similarity below which nothing is retrieved.
        cache: directory of the references' features.
        verify: least p(yes) of the policy that keeps a reference (R2P 2503.18623); ``None`` keeps
            all.
    """

    encoder: str = ""
    regions: dict | None = field(default_factory=lambda: {"kind": "windows"})
    k: int | None = None
    least: float = -1.0
    cache: str = "runs/cache/features"
    verify: float | None = None

    def __post_init__(self):
        if not self.encoder:
            raise InputError("retrieval.encoder is missing: what compares images, such as imagenet")
        if self.k is not None and (not isinstance(self.k, int) or self.k < 1):
            raise InputError(f"retrieval.k must be a number of references, not {self.k!r}")
        verify = self.verify
        if verify is not None and (
            isinstance(verify, bool) or not isinstance(verify, int | float) or not 0 <= verify <= 1
        ):
            raise InputError(f"retrieval.verify must be a probability, not {verify!r}")


class ReferenceFinder:
    """Finds the references of queries among the concepts that a user owns, each query once.

    It does not depend on a policy, so systems that differ in their policy alone share one.

    Args:
        owned: bare name -> reference with a file, of every concept.
        settings: how.
        skipped: is given the references that cannot be opened.

    Raises:
        InputError: no such encoder or detector, or no reference that can be opened.
    """

    def __init__(
        self, owned: Mapping[str, Reference], settings: RetrievalSettings, skipped: SkippedItems
    ):
        self.owned, self.settings = owned, settings
        self._found: dict[str, list[Found]] = {}
        try:
            encoder, propose = load_encoder(settings.encoder), load_proposer(settings.regions)
        except (EncoderError, DetectorError) as error:
            raise InputError(f"retrieval: {error}") from None
        files = {
            name: reference.image
            for name, reference in owned.items()
            if isinstance(reference.image, Path)
        }
        vectors, broken = file_features(
            encoder, list(files.values()), settings.cache, progress=True
        )
        skipped.update(broken, prefix="reference that does not open: ")
        there = [name for name, file in files.items() if file in vectors]
        if not there:
            raise InputError("retrieval: no image of the database opens; nothing can be retrieved")
        index = build_index(np.stack([vectors[files[name]] for name in there]), there)
        self._retriever = Retriever(index, encoder, propose, least=settings.least)

    def find(self, query: Query) -> list[Found]:
        """The concepts that a query is about, names of its text first, then by similarity.

        Raises:
            PhotoError: its image does not open.
        """
        if query.id not in self._found:
            image = query.image
            if image is not None and not isinstance(image, Image.Image):
                image = open_photo(image, PHOTO_PX)
            k = self.settings.k or query.k or 2
            self._found[query.id] = self._retriever.retrieve(image, query.text, k)
        return self._found[query.id]


@dataclass(frozen=True)
class InContextSettings:
    """In-context has nothing to set besides ``retrieval``."""


class InContext(Method):
    """A policy with references in its prompt. Nothing is learned: a concept is known as soon as it
    is in the database.

    Args:
        verify: see :class:`RetrievalSettings`.
        load, write and others: as :class:`concepts.methods.protocol.Method`.
    """

    kind = "in_context"
    Settings = InContextSettings

    def __init__(self, load: Callable, write: Write, *, verify: float | None = None, **common):
        super().__init__(load, write, **common)
        self.verify = verify

    def learn(
        self,
        concepts: Sequence[Concept],
        negatives: Sequence[Picture] = (),
        progress: bool = False,
    ) -> list[Learned]:
        """Nothing is learned, which costs nothing."""
        return [Learned(concept.name, 0.0, 0, 0) for concept in concepts]

    def recognize(self, pairs: Sequence[tuple[Picture, str]]) -> list[float]:
        """The policy's p(yes) to the object-consistency question with the concept's picture."""
        rows = []
        for image, name in pairs:
            picture = self._opened(self.reference(name).image)
            rows.append(presence_row(self._opened(image), name, picture))
        model, processor = self.load()
        return yes_probabilities(model, processor, rows, batch_size=self.batch_size)

    def query_size(self, query: Query) -> tuple[int, int, int]:
        """As of the base, before retrieved references are verified."""
        references = query.references
        if references is None:
            references, _ = self._retrieved(query)
        return row_size(self.row(replace(query, image=self._opened(query.image)), references))

    def rows(self, queries: Sequence[Query]) -> tuple[list[dict], list[tuple[Evidence, ...]]]:
        """The references that were handed over or retrieved, then the image, then the words."""
        rows, concepts = [], []
        for query in queries:
            references, evidence = query.references, []
            if references is None:
                references, evidence = self._find(query)
                query = replace(query, image=self._opened(query.image))
            rows.append(self.row(query, references))
            concepts.append(tuple(evidence))
        return rows, concepts

    def _find(self, query: Query) -> tuple[list[Reference], list[Evidence]]:
        """The references that were retrieved and, where they are verified, confirmed."""
        references, evidence = self._retrieved(query)
        if self.verify is None or not references or query.image is None:
            return references, evidence
        threshold = self.verify
        model, processor = self.load()
        p = presence_probabilities(
            model,
            processor,
            self._opened(query.image),
            [(r.name, self._opened(r.image)) for r in references],
            batch_size=self.batch_size,
        )
        evidence = [
            replace(one, p=of, used=of >= threshold) for one, of in zip(evidence, p, strict=True)
        ]
        return [r for r, one in zip(references, evidence, strict=True) if one.used], evidence

    def _retrieved(self, query: Query) -> tuple[list[Reference], list[Evidence]]:
        if self.finder is None:
            raise InputError(
                f"query {query.id!r} comes without references; give the system "
                f"`retrieval`, such as {{encoder: imagenet}}"
            )
        found = self.finder.find(query)
        references = [
            replace(
                self.finder.owned[one.name], image=self._opened(self.finder.owned[one.name].image)
            )
            for one in found
        ]
        return references, [Evidence(one.name, one.similarity) for one in found]


def settings_digest(settings: RetrievalSettings | None) -> str:
    """What replies depend on of these settings, as text."""
    if settings is None:
        return ""
    return json.dumps({k: v for k, v in asdict(settings).items() if k != "cache"}, sort_keys=True)
