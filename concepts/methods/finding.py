"""Find the references of queries among the concepts that a user owns.

    retrieval:
      encoder: imagenet               # as in data_gen/images/encoders.py
      regions: {kind: windows}        # as in concepts/regions.py; null: the whole image only
      whole: always                   # fallback: only where no region is found; never
      per_region: 2                   # concepts that one region may add
      k: 2                            # null: the benchmark's number (RePIC: 2; 4 for four concepts)

A detector that is given no ``labels`` looks for the categories of the concepts (RAP 2410.13360).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

from concepts.concept import Concept
from concepts.database import Database
from concepts.index import LiveIndex, build_index
from concepts.methods.protocol import Query, Reference, reference_of
from concepts.regions import DetectorError, Proposer, load_proposer
from concepts.retrieval import Found, Retriever
from data_gen.files.errors import InputError
from data_gen.files.skipped import SkippedItems
from data_gen.images.encoders import Encoder, EncoderError, load_encoder
from data_gen.images.features import PHOTO_PX, file_features
from data_gen.images.photos import open_photo

WHOLE = ("always", "fallback", "never")
"""When a whole image is looked up beside its regions."""


@dataclass(frozen=True)
class RetrievalSettings:
    """How a system finds references.

    Attributes:
        encoder: see :func:`data_gen.images.encoders.load_encoder`.
        regions: see :func:`concepts.regions.load_proposer`; ``None``: whole images only.
        whole: whether the whole image is looked up beside its regions: ``always``; ``fallback``,
            where no region is proposed; ``never`` (RAP's: nothing is found without a detection).
        per_region: concepts that one region may add; RAP's 2.
        k: references per query; ``None``: the benchmark's number, or 2.
        least: similarity below which nothing is retrieved.
        cache: directory of the references' features.
    """

    FORMER: ClassVar[dict[str, str]] = {"verify": "'gate' in the settings of the method"}

    encoder: str = ""
    regions: dict | None = field(default_factory=lambda: {"kind": "windows"})
    whole: str = "always"
    per_region: int = 2
    k: int | None = None
    least: float = -1.0
    cache: str = "runs/cache/features"

    def __post_init__(self):
        if not self.encoder:
            raise InputError("retrieval.encoder is missing: what compares images, such as imagenet")
        if not isinstance(self.per_region, int) or self.per_region < 1:
            raise InputError(f"retrieval.per_region must be 1 or more, not {self.per_region!r}")
        if self.k is not None and (not isinstance(self.k, int) or self.k < 1):
            raise InputError(f"retrieval.k must be a number of references, not {self.k!r}")
        if self.whole not in WHOLE:
            raise InputError(
                f"retrieval.whole must be one of {', '.join(WHOLE)}, not {self.whole!r}"
            )
        if self.regions is None and self.whole != "always":
            raise InputError(
                f"retrieval.whole is {self.whole!r} and there are no regions: nothing would be "
                f"looked up; give `regions`, or leave `whole` out"
            )


class ReferenceFinder:
    """Finds the references of queries among the concepts that a user owns, each query once.

    It does not depend on a policy, so systems that differ in their policy alone share one.

    Args:
        owned: bare name -> reference with a file, of every concept.
        settings: how.
        skipped: is given the references that cannot be opened.
        categories: of the concepts, for a detector without labels.

    Raises:
        InputError: no such encoder or detector, or no reference that can be opened.
    """

    def __init__(
        self,
        owned: Mapping[str, Reference],
        settings: RetrievalSettings,
        skipped: SkippedItems,
        categories: Sequence[str] = (),
    ):
        self.owned, self.settings = owned, settings
        self._found: dict[str, list[Found]] = {}
        encoder, propose = _tools(settings, categories)
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
        self._retriever = Retriever(
            index,
            encoder,
            propose,
            least=settings.least,
            whole=settings.whole,
            per_region=settings.per_region,
        )

    def find(self, query: Query) -> list[Found]:
        """The concepts that a query is about, names of its text first, then by similarity.

        Raises:
            PhotoError: its image does not open.
        """
        if query.id not in self._found:
            self._found[query.id] = _retrieve(self._retriever, self.settings, query)
        return self._found[query.id]


class LiveFinder:
    """Finds the references of queries in a database that may be edited meanwhile: an edit counts at
    the next query.

    Args:
        database: of the user's concepts.
        settings: how.

    Raises:
        InputError: no such encoder or detector.
    """

    def __init__(self, database: Database, settings: RetrievalSettings):
        self.database, self.settings = database, settings
        self.owned: Mapping[str, Reference] = _Owned(database)
        categories = dict.fromkeys(c.category for c in database.concepts().values() if c.category)
        encoder, propose = _tools(settings, tuple(categories))
        self._live = LiveIndex(database, encoder, settings.cache)
        self._retriever = Retriever(
            self._live,
            encoder,
            propose,
            least=settings.least,
            whole=settings.whole,
            per_region=settings.per_region,
        )

    def encode(self) -> int:
        """Encode all pictures now, not when the first query asks; how many numbers stand for one.

        Raises:
            DatabaseError: none of the pictures opens.
        """
        return self._live.current().faiss.d

    def find(self, query: Query) -> list[Found]:
        """As :meth:`ReferenceFinder.find`, in the database as it is now."""
        return _retrieve(self._retriever, self.settings, query)


class _Owned(Mapping[str, Reference]):
    """The concepts of a database as references, made when they are asked for."""

    def __init__(self, database: Database):
        self.database = database

    def __getitem__(self, name: str) -> Reference:
        return reference_of(self.database, self.database.concepts()[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.database.concepts())

    def __len__(self) -> int:
        return len(self.database.concepts())


def as_reference(database: Database, concept: Concept) -> Reference:
    """A concept with its first picture, a file, its info, and its other pictures."""
    first, *others = (database.image_path(image) for image in concept.images)
    return Reference(concept.name, first, concept.info, tuple(others))


def _tools(
    settings: RetrievalSettings, categories: Sequence[str]
) -> tuple[Encoder, Proposer | None]:
    regions = settings.regions
    if regions is not None and regions.get("kind") == "transformers" and "labels" not in regions:
        regions = {**regions, "labels": list(categories)}
    try:
        return load_encoder(settings.encoder), load_proposer(regions)
    except (EncoderError, DetectorError) as error:
        raise InputError(f"retrieval: {error}") from None


def _retrieve(retriever: Retriever, settings: RetrievalSettings, query: Query) -> list[Found]:
    image = query.image
    if image is not None and not isinstance(image, Image.Image):
        image = open_photo(image, PHOTO_PX)
    return retriever.retrieve(image, query.text, settings.k or query.k or 2)


def settings_digest(settings: RetrievalSettings | None) -> str:
    """What replies depend on of these settings, as text."""
    if settings is None:
        return ""
    given = {k: v for k, v in asdict(settings).items() if k != "cache"}
    given["verify"] = None  # was a setting: replies that were kept before stay good
    for key, before in (("whole", "always"), ("per_region", 2)):
        if given[key] == before:
            del given[key]  # came later: replies that were kept before stay good
    return json.dumps(given, sort_keys=True)
