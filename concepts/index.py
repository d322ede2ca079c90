"""Search the nearest concepts of a vector with faiss, in an index that follows a database.

Vectors have length 1, so the nearest by L2 (RAP's and RePIC's choice) are the nearest by inner
product, and similarities are cosines. A concept may have several images: it is as near as the
nearest of them.

``flat`` compares with every vector and is exact. ``ivf`` looks only into the cells nearest to the
query: for hundreds of thousands of concepts (``docs/retrieval.md`` has both, measured).
"""

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import faiss
import numpy as np

from concepts.concept import Concept
from concepts.database import Database, DatabaseError
from data_gen.files.errors import InputError
from data_gen.files.files import atomic_file, refuse_pipe
from data_gen.files.skipped import SkippedItems
from data_gen.images.encoders import Encoder
from data_gen.images.features import file_features

IVF_SHARE = 32
"""Of an ``ivf`` index, one cell in so many is looked into."""

KINDS = ("flat", "ivf")

PATCHED = 0.05
"""Share of the concepts up to which an edit changes a flat index in place."""


class IndexFileError(InputError):
    """An index that cannot be used; the message names the file and the remedy."""


@dataclass(frozen=True, eq=False)
class ConceptIndex:
    """Vectors and whose they are.

    Attributes:
        faiss: the index of R vectors of length 1; by inner product or by L2.
        owners: R names: the concept that each vector is an image of; changed in place by
            :class:`LiveIndex`.
        most: vectors of the concept that has most.
    """

    faiss: faiss.Index
    owners: list[str]
    most: int


def build_index(vectors: np.ndarray, owners: Sequence[str], kind: str = "flat") -> ConceptIndex:
    """An index of R vectors.

    Args:
        vectors: (R, D) float32 of length 1.
        owners: R names of concepts.
        kind: ``flat`` or ``ivf``. Fewer than 4,096 vectors are always ``flat``.

    Raises:
        ValueError: no vectors, another number of owners, or no such kind.
    """
    if kind not in KINDS:
        raise ValueError(f"no index is called {kind!r}; there are {', '.join(KINDS)}")
    if len(vectors) == 0 or len(vectors) != len(owners):
        raise ValueError(f"{len(vectors)} vectors of {len(owners)} concepts make no index")
    vectors = np.ascontiguousarray(vectors, np.float32)
    index = faiss.IndexFlatIP(vectors.shape[1])
    if kind == "ivf" and len(vectors) >= 4096:
        cells = int(np.sqrt(len(vectors)))
        index = faiss.IndexIVFFlat(index, vectors.shape[1], cells, faiss.METRIC_INNER_PRODUCT)
        index.nprobe = max(1, cells // IVF_SHARE)
        index.train(vectors)
    index.add(vectors)
    return ConceptIndex(index, list(owners), max(Counter(owners).values()))


def nearest(index: ConceptIndex, vectors: np.ndarray, k: int) -> list[list[tuple[str, float]]]:
    """The k nearest concepts of each of Q vectors.

    Args:
        vectors: (Q, D) float32 of length 1.
        k: concepts; fewer are returned where there are fewer.

    Returns:
        Q lists of (name, cosine), nearest first, each name once.

    Raises:
        ValueError: the vectors are of another length than the index's.
    """
    if vectors.shape[1] != index.faiss.d:
        raise ValueError(
            f"the index holds vectors of {index.faiss.d} numbers, the encoder gives "
            f"{vectors.shape[1]}: it was made with another encoder"
        )
    rows = min(k * index.most, index.faiss.ntotal)  # k concepts however their images rank
    scores, places = index.faiss.search(np.ascontiguousarray(vectors, np.float32), rows)
    if index.faiss.metric_type == faiss.METRIC_L2:
        scores = 1 - scores / 2  # squared distance of vectors of length 1
    scores = scores.clip(-1, 1)  # a picture beside itself: 1, and not a rounding above
    answers = []
    for score_row, place_row in zip(scores.tolist(), places.tolist(), strict=True):
        found: dict[str, float] = {}
        for score, place in zip(score_row, place_row, strict=True):
            if place >= 0 and len(found) < k:  # -1: the cells held no more
                found.setdefault(index.owners[int(place)], score)
        answers.append(list(found.items()))
    return answers


def read_index(path: str | Path, ids: str | Path) -> ConceptIndex:
    """An existing faiss index.

    Args:
        path: as ``faiss.write_index`` wrote it; of vectors of length 1.
        ids: JSON list of names or tags, one for each vector in order; or text, one a line.

    Raises:
        IndexFileError: either cannot be read, or they do not belong together.
    """
    try:
        refuse_pipe(ids)
        text = Path(ids).read_text(encoding="utf-8")
        owners = json.loads(text) if text.lstrip().startswith("[") else text.splitlines()
        found = faiss.read_index(str(path))
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: faiss's own
        reason = str(error).strip().splitlines()[-1][:200]
        raise IndexFileError(f"index {path} with its ids {ids} cannot be read: {reason}") from None
    if found.metric_type not in (faiss.METRIC_INNER_PRODUCT, faiss.METRIC_L2):
        raise IndexFileError(f"index {path} compares neither by inner product nor by L2")
    if not owners or not all(isinstance(name, str) and name.strip() for name in owners):
        raise IndexFileError(f"ids {ids}: expected a list of names")
    if len(owners) != found.ntotal:
        raise IndexFileError(
            f"index {path} holds {found.ntotal} vectors, its ids {ids} are "
            f"{len(owners)}; they do not belong together"
        )
    owners = [_bare(name) for name in owners]
    return ConceptIndex(found, owners, max(Counter(owners).values()))


def write_index(index: ConceptIndex, path: str | Path, ids: str | Path) -> None:
    """Write an index and its id list, each whole or not at all."""
    with atomic_file(Path(path)) as file:
        file.write(faiss.serialize_index(index.faiss).tobytes())
    with atomic_file(Path(ids)) as file:
        file.write(json.dumps(list(index.owners), ensure_ascii=False).encode())


class LiveIndex:
    """An index of a database's images that follows its edits: only new images are encoded.

    Whether something has changed is asked of the database's file alone: an image that is replaced
    under the same name counts from the next edit of its concept on. Of a ``flat`` index, an edit
    changes the vectors of the concepts that were edited and no others.

    Args:
        database: whose concepts.
        encoder: of their images.
        cache: directory of features, see :mod:`data_gen.images.features`.
        kind: see :func:`build_index`.
        start: an existing index made with the same encoder: its concepts are not encoded again
            until their images change. It must be able to give its vectors back, as flat ones can.

    Attributes:
        skipped: images that could not be opened, by reason.
    """

    def __init__(
        self,
        database: Database,
        encoder: Encoder,
        cache: str | Path | None = None,
        *,
        kind: str = "flat",
        start: ConceptIndex | None = None,
    ):
        self.database, self.encoder, self.cache, self.kind = database, encoder, cache, kind
        self.skipped = SkippedItems()
        self._known: dict[tuple, np.ndarray] = {}  # (path, time, size) -> vector
        self._given: dict[tuple, np.ndarray] = {}  # a concept's images -> vectors
        self._version: tuple | None = None
        self._index: ConceptIndex | None = None
        self._seen: Mapping[str, Concept] = {}
        self._rows: dict[str, set[int]] = {}
        self._of: dict[str, tuple] = {}  # a concept's stamps
        if start is not None:
            self._take(start)

    def current(self) -> ConceptIndex:
        """The index of the database as it is now.

        Raises:
            DatabaseError: the database cannot be read, holds no usable concept, or none of its
                images can be opened.
        """
        concepts = self.database.concepts()
        version = self.database.loaded
        if self._index is not None and version == self._version:
            return self._index
        changes = self.database.changes
        if changes.before == self._version:
            changed, gone = changes.changed, changes.gone
        else:  # several edits ago; the database gives the same object for what has not changed
            changed = [name for name, one in concepts.items() if self._seen.get(name) is not one]
            gone = [name for name in self._seen if name not in concepts]
        few = PATCHED * len(concepts)
        index = self._index
        if index is not None and self.kind == "flat" and len(changed) + len(gone) <= few:
            self._index = self._patched(index, {n: concepts[n] for n in changed}, gone)
        else:
            self._index = self._built(concepts)
        self._seen, self._version = concepts, version
        return self._index

    def _built(self, concepts: Mapping[str, Concept]) -> ConceptIndex:
        """An index of all concepts."""
        stamps = {name: self._stamps(concept.images) for name, concept in concepts.items()}
        wanted = {stamp for found in stamps.values() if found not in self._given for stamp in found}
        new = sorted(stamp[0] for stamp in wanted - set(self._known))
        vectors, self.skipped = file_features(
            self.encoder, new, self.cache, progress=len(new) > 100
        )
        self._known = {
            stamp: self._known[stamp] if stamp in self._known else vectors[stamp[0]]
            for stamp in wanted
            if stamp in self._known or stamp[0] in vectors
        }
        owners, rows = [], []
        self._rows, self._of = {}, stamps
        for name, found in stamps.items():
            own = self._vectors(found)
            self._rows[name] = set(range(len(rows), len(rows) + len(own)))
            rows += own
            owners += [name] * len(own)
        if not rows:
            self._index, self._seen = None, {}
            raise DatabaseError(f"{self.database.path}: none of its images can be opened")
        return build_index(np.stack(rows), owners, self.kind)

    def _patched(
        self, index: ConceptIndex, changed: Mapping[str, Concept], gone: Sequence[str]
    ) -> ConceptIndex:
        """The flat index, in place, with some concepts changed or new, and others gone."""
        stamps = {name: self._stamps(concept.images) for name, concept in changed.items()}
        wanted = {s for found in stamps.values() if found not in self._given for s in found}
        vectors, self.skipped = file_features(
            self.encoder, sorted(s[0] for s in wanted if s not in self._known), self.cache
        )
        self._known |= {stamp: vectors[stamp[0]] for stamp in wanted if stamp[0] in vectors}
        for name in (*gone, *changed):
            self._drop(index, name)
        for name, found in stamps.items():
            own = self._vectors(found)
            self._rows[name] = set(range(index.faiss.ntotal, index.faiss.ntotal + len(own)))
            if own:
                index.faiss.add(np.stack(own))
                index.owners.extend([name] * len(own))
        if not index.owners:
            self._index, self._seen = None, {}
            raise DatabaseError(f"{self.database.path}: none of its images can be opened")
        self._of |= stamps
        still = {stamp for found in stamps.values() for stamp in found}  # as of a renamed one
        for name in gone:  # no vector of it stays
            for stamp in set(self._of.pop(name, ())) - still:
                self._known.pop(stamp, None)
        return replace(index, most=max(map(len, self._rows.values())))

    def _drop(self, index: ConceptIndex, name: str) -> None:
        """Take a concept's vectors out of a flat index: the last one takes the place of each."""
        for row in sorted(self._rows.pop(name, ()), reverse=True):
            last = index.faiss.ntotal - 1
            if row != last:
                vectors = _numbers(index.faiss)
                vectors[row] = vectors[last]
                moved = index.owners[last]
                index.owners[row] = moved
                self._rows[moved] = self._rows[moved] - {last} | {row}
            index.owners.pop()
            index.faiss.remove_ids(np.array([last], np.int64))  # pyright: ignore[reportArgumentType]

    def _vectors(self, stamps: tuple) -> list[np.ndarray]:
        own = self._given.get(stamps)
        return [self._known[s] for s in stamps if s in self._known] if own is None else list(own)

    def _stamps(self, images: Sequence[str]) -> tuple:
        """(path, time, size) of each image."""
        found = []
        for image in images:
            path = self.database.image_path(image)
            try:
                status = os.stat(path)
            except OSError:  # gone since the database was read
                continue
            found.append((path, status.st_mtime_ns, status.st_size))
        return tuple(found)

    def _take(self, start: ConceptIndex) -> None:
        """Vectors of an existing index for the concepts as they are now."""
        if start.faiss.d != self.encoder.dim:
            raise IndexFileError(
                f"the index holds vectors of {start.faiss.d} numbers, encoder "
                f"{self.encoder.name!r} gives {self.encoder.dim}"
            )
        try:
            vectors = start.faiss.reconstruct_n(0, start.faiss.ntotal)
        except RuntimeError:
            raise IndexFileError(
                "the index does not give its vectors back; use it without a "
                "database, or omit it and have the images encoded"
            ) from None
        rows: dict[str, list[int]] = {}
        for row, name in enumerate(start.owners):
            rows.setdefault(name, []).append(row)
        for name, concept in self.database.concepts().items():
            if name in rows:
                # Which vector is of which image is not known: they count as long as all do.
                self._given[self._stamps(concept.images)] = vectors[rows[name]]


def _bare(name: str) -> str:
    name = name.strip()
    return name[1:-1] if name.startswith("<") and name.endswith(">") and len(name) > 2 else name


def _numbers(flat: faiss.Index) -> np.ndarray:
    """(N, D) vectors of a flat index, where they lie."""
    found = faiss.rev_swig_ptr(flat.get_xb(), flat.ntotal * flat.d)  # pyright: ignore[reportAttributeAccessIssue]
    return found.reshape(-1, flat.d)
