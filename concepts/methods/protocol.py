"""The protocol of personalization methods: what they learn, what they are asked, what they return.

A *method* is how a policy comes to know a user's concepts. The evaluation loop hands it queries,
which hold no truth, and keeps its replies; a benchmark's question (:mod:`benchmarks.harness`) is a
query with its truth. The loop and the programs know :class:`Method` and nothing else of a method;
:mod:`concepts.methods.registry` lists those that there are.
"""

import random
import time
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from PIL import Image
from torch import Tensor

from concepts.concept import Concept
from concepts.database import Database
from concepts.methods.learned import LearnedStore
from concepts.methods.verification import REASON_TOKENS, reasoned_probabilities
from concepts.retrieval import Found
from data_gen.files.errors import InputError
from data_gen.files.skipped import SkippedItems
from data_gen.images.boxes import Box, relative
from data_gen.images.photos import PhotoError, open_photo
from data_gen.rows import OCT
from data_gen.tasks.questions import Reference, visual_localization_row
from rewards.parsing import answer_part, one_box
from rl.policy.boxes import box_frames
from rl.policy.generation import complete, length_batches, row_size
from rl.policy.likelihood import option_log_likelihoods, yes_probabilities

Picture = Path | Image.Image
"""A file, or an image that is open."""

LOCATE_TOKENS = 64
"""Where a completion that holds one box is cut."""


@dataclass(frozen=True)
class Query:
    """What a system is asked.

    Args:
        id: differs for every query of a set.
        task: a name of ``data_gen.tasks.table.TASKS``, or ``multiple_choice``.
        text: the question, in words.
        image: what is asked about, a file or an opened image; ``None`` for words alone.
        references: concepts that are handed over, in the order in which they are shown; ``None``:
            the system finds them itself.
        options: what there is to choose from.
        k: how many concepts the protocol lets a system retrieve; ``None``: the system's own number.
        prompt: the whole conversation where the benchmark has written it already, with a
            placeholder for each reference and then one for ``image``.
        judged: who is there has been asked already: no gate asks again.
    """

    id: str
    task: str
    text: str = ""
    image: Path | Image.Image | None = None
    references: tuple[Reference, ...] | None = ()
    options: tuple[str, ...] = ()
    k: int | None = None
    prompt: list[dict[str, Any]] | None = None
    judged: bool = False

    @property
    def asks_presence(self) -> bool:
        """Whether it asks if the one concept that is handed over is in the image."""
        return self.task == OCT and len(self.references or ()) == 1


@dataclass(frozen=True)
class Evidence:
    """Why a concept was used for a reply, or was not.

    Args:
        name: the concept's.
        similarity: cosine of its nearest image to the query; ``None`` where its name was in the
            question, or it was handed over.
        p: the policy's p(yes) that it is in the image, where it was asked; 0-1.
        used: whether its reference stood in the prompt.
    """

    name: str
    similarity: float | None = None
    p: float | None = None
    used: bool = True


@dataclass(frozen=True)
class Reply:
    """What a system answers to one query.

    Args:
        id: the query's.
        text: the completion without special tokens.
        n_tokens: its length as the naming rewards count it: without end, padding and other special
            tokens, and blanks beyond four in a row add nothing.
        box_frame: [width, height] of the frame in which the policy writes boxes; ``None`` where no
            box is asked for.
        concepts: the concepts that were retrieved, the most similar first, and what became of each;
            of references that were handed over only where the policy was asked for them first.
    """

    id: str
    text: str
    n_tokens: int
    box_frame: list[float] | None = None
    concepts: tuple[Evidence, ...] = ()

    @property
    def caption(self) -> str:
        """The text without reasoning: see :func:`rewards.parsing.answer_part`."""
        return answer_part(self.text)


@dataclass(frozen=True)
class Learned:
    """What learning one concept cost.

    Args:
        name: the concept's.
        seconds: of learning, when it was learned (:func:`busy_seconds`).
        n_bytes: on disk.
        n_parameters: numbers that were trained for it.
        reused: whether it had been learned before, by the same policy from the same pictures.
    """

    name: str
    seconds: float
    n_bytes: int
    n_parameters: int
    reused: bool = False


Write = Callable[[Query, Sequence[Reference]], list[dict]]
"""Writes the conversation that asks a query, given its references: the benchmark's wording."""


def reference_of(database: Database, concept: Concept) -> Reference:
    """A concept with the first of its pictures that opens, a file, its info, and the pictures that
    come after that one.

    Raises:
        InputError: none of them does.
    """
    skipped = SkippedItems()
    photo = next(database.photos(concept, skipped), None)
    if photo is None:
        raise InputError(
            f"no photo of {concept.name!r} can be used ({skipped.line()}); give it one that opens"
        )
    files = [database.image_path(image) for image in concept.images]
    return Reference(concept.name, photo, concept.info, tuple(files[files.index(photo) + 1 :]))


def busy_seconds() -> float:
    """A clock for what methods cost, to take differences of: the processor time of this process, so
    that other programs on the machine do not count; where there is an accelerator, the time."""
    return time.perf_counter() if torch.accelerator.is_available() else time.process_time()


class Finder(Protocol):
    """What finds references that are not handed over
    (:mod:`concepts.methods.finding`)."""

    owned: Mapping[str, Reference]

    def find(self, query: Query) -> list[Found]:
        """The concepts that a query is about."""
        ...


class Method(ABC):
    """A way by which a policy comes to know concepts. All calls are batched.

    A subclass says which rows ask a batch of queries (:meth:`rows`), or, where prompt and images do
    not hold all that the model is given, overrides :meth:`reply`, :meth:`likelihoods` and
    :meth:`locate`.

    Class attributes:
        kind: the key of :data:`concepts.methods.registry.METHODS`.
        Settings: the dataclass of its own settings.
        learns: whether a concept must be learned before it is asked about. Such a method answers
            from what it learned of a name; pictures that are handed over with a query are not
            shown to the policy (:func:`concepts.methods.prompting.without_pictures`).
        uses_database: whether it looks at ``database`` and ``store``.
        names_matter: see :class:`concepts.methods.learned.LearnedStore`.

    Args:
        load: gives ``(model, processor)``; called when a query is asked, and only then.
        write: see :data:`Write`.
        settings: an instance of ``Settings``; ``None``: its defaults.
        store: where learned concepts lie; ``None``: they are kept in memory alone.
        finder: where references come from that are not handed over; ``None``: they must be.
        database: the user's concepts; ``None``: only those that are handed over.
        size: long or short ``side`` of every image, in pixels; larger ones are shrunk.
        batch_size: rows per call of the model where a method makes calls of its own.
        box_convention: how the policy writes boxes where its family is not known (``rl.policy``).
    """

    kind: ClassVar[str]
    Settings: ClassVar[type]
    learns: ClassVar[bool] = False
    uses_database: ClassVar[bool] = True
    names_matter: ClassVar[bool] = False

    def __init__(
        self,
        load: Callable,
        write: Write,
        *,
        settings: Any = None,
        store: LearnedStore | None = None,
        finder: Finder | None = None,
        database: Database | None = None,
        size: int = 512,
        side: str = "long",
        batch_size: int = 64,
        box_convention: str | None = None,
    ):
        self.load, self.write, self.store = load, write, store
        self.settings = self.Settings() if settings is None else settings
        self.finder, self.database = finder, database
        self.size, self.side, self.batch_size = size, side, batch_size
        self.box_convention = box_convention

    # ---- concepts ----

    @classmethod
    def learned_from(cls, settings: Any) -> dict:
        """The settings that what is learned depends on; others may change without learning anew."""
        return asdict(settings)

    @abstractmethod
    def learn(
        self,
        concepts: Sequence[Concept],
        negatives: Sequence[Picture] = (),
        progress: bool = False,
    ) -> list[Learned]:
        """Learn N concepts, each kept as soon as it is learned, so that a run that is killed goes
        on with the next one. What was learned before from the same is read back.

        Args:
            concepts: of ``database``, whose root their images are relative to.
            negatives: pictures that show none of them.
            progress: show a bar.

        Returns:
            N costs, in the order of ``concepts``.

        Raises:
            InputError: a concept cannot be learned: which and why.
        """

    def forget(self, names: Sequence[str]) -> None:
        """Drop what was learned of these concepts, from memory and from the store. Names of which
        nothing was learned are no error."""
        if self.store is not None:
            for name in names:
                self.store.remove(name)

    # ---- queries ----

    @property
    def least(self) -> float:
        """Least p of :meth:`recognize` from which a concept is there, 0-1, where none was chosen
        from its owner's photos."""
        return 0.5

    @abstractmethod
    def recognize(self, pairs: Sequence[tuple[Picture, str]]) -> list[float]:
        """p in 0-1 that the named concept is in the image, for N pairs of image and name.

        Raises:
            InputError: a concept is not known: which.
        """

    @abstractmethod
    def rows(self, queries: Sequence[Query]) -> tuple[list[dict], list[tuple[Evidence, ...]]]:
        """``prompt`` and ``images`` with which the policy is asked each query of :meth:`open`, and
        which concepts were used for it."""

    def reply(
        self,
        queries: Sequence[Query],
        max_new_tokens: int,
        wants_box: bool = False,
        temperature: float = 0.0,
    ) -> list[Reply]:
        """Replies to one batch of queries of :meth:`open`.

        Args:
            queries: N of them, all with images or all without.
            max_new_tokens: where a completion is cut.
            wants_box: say in which frame the policy writes boxes.
            temperature: of sampling, which the queries' ids seed; 0 is greedy.
        """
        if self.with_reasons(queries[0]):
            max_new_tokens = max(max_new_tokens, REASON_TOKENS)
        rows, concepts = self.rows(queries)
        model, processor = self.load()
        frames: Sequence[list[float] | None] = [None] * len(rows)
        if wants_box:
            frames = box_frames(model, processor, rows, self.box_convention)
        seed = zlib.crc32("\n".join(query.id for query in queries).encode())
        texts = complete(model, processor, rows, max_new_tokens, temperature, seed)
        return [
            Reply(query.id, text, n, frame, of)
            for query, (text, n), frame, of in zip(queries, texts, frames, concepts, strict=True)
        ]

    def likelihoods(self, queries: Sequence[Query]) -> list[list]:
        """What the policy's probabilities say of one batch of queries of :meth:`open`.

        Returns:
            For each query ``[p(yes)]``, or for one with options their log-likelihoods and lengths
            (:func:`rl.policy.likelihood.option_log_likelihoods`).
        """
        rows, _ = self.rows(queries)
        model, processor = self.load()
        if queries[0].options:
            return [
                option_log_likelihoods(model, processor, row, query.options)
                for row, query in zip(rows, queries, strict=True)
            ]
        reasoned = self.with_reasons(queries[0])
        ask = reasoned_probabilities if reasoned else yes_probabilities
        return [[p] for p in ask(model, processor, rows, batch_size=len(rows))]

    def with_reasons(self, query: Query) -> bool:
        """Whether this query, is a concept there?, is asked for reasons before its yes or no."""
        return False

    def locate(self, pairs: Sequence[tuple[Picture, str]]) -> list[Box | None]:
        """Where the named concept is, for N pairs of image and name: x0 y0 x1 y1 in 0-1 of the
        image, ``None`` where the policy writes no box. Asked as the localization task is, with the
        concept's first picture.

        Raises:
            InputError: a concept is not known: which.
        """
        return self._where([(image, self.reference(name)) for image, name in pairs])

    def _where(self, pairs: Sequence[tuple[Picture, Reference]]) -> list[Box | None]:
        """As :meth:`locate`, of N pairs of image and reference."""
        rows = [
            visual_localization_row(
                random.Random(0),  # the same words always
                reference.name,
                replace(reference, image=self._opened(reference.image)),
                self._opened(image),
                (0.0, 0.0, 1.0, 1.0),  # the truth, which is not asked for
                source="locate",
            )
            for image, reference in pairs
        ]
        return self.boxes(rows)

    def boxes(self, rows: Sequence[dict]) -> list[Box | None]:
        """The boxes with which the policy answers N rows, in 0-1 of the last image."""
        if not rows:
            return []
        model, processor = self.load()
        found: list[Box | None] = [None] * len(rows)
        for batch in length_batches([row_size(row) for row in rows], self.batch_size):
            asked = [rows[i] for i in batch]
            frames = box_frames(model, processor, asked, self.box_convention)
            texts = complete(model, processor, asked, LOCATE_TOKENS)
            for i, frame, (text, _) in zip(batch, frames, texts, strict=True):
                box = one_box(answer_part(text))
                if box is not None:
                    x0, y0, x1, y1 = box
                    found[i] = inside((x0, y0, x1, y1), frame)
        return found

    # ---- what a query is asked with ----

    def open(self, query: Query) -> Query:
        """The query with its images opened, RGB. The image of a query without references stays a
        file until it is asked: retrieval looks at it in another size.

        Raises:
            PhotoError: an image cannot be opened.
        """
        references = query.references
        if references is not None:
            references = tuple(replace(r, image=self._opened(r.image)) for r in references)
            return replace(query, references=references, image=self._opened(query.image))
        self._opened(query.image)
        return query

    def query_size(self, query: Query) -> tuple[int, int, int]:
        """Images, pixels and characters with which a query of :meth:`open` is asked, as
        :func:`rl.policy.generation.row_size`; it decides which queries share a batch."""
        query = replace(query, image=self._opened(query.image))
        return row_size(self.row(query, query.references or ()))

    def row(self, query: Query, references: Sequence[Reference]) -> dict:
        """``prompt`` and ``images`` that ask a query with references in the prompt."""
        images = [reference.image for reference in references]
        prompt = query.prompt or self.write(query, references)
        return {
            "prompt": prompt,
            "images": [*images, *([] if query.image is None else [query.image])],
        }

    def reference(self, name: str) -> Reference:
        """A concept of the user's with its first picture, a file.

        Raises:
            InputError: there is no such concept, or it has no picture.
        """
        if self.finder is not None and name in self.finder.owned:
            return self.finder.owned[name]
        concept = self.database.concepts().get(name) if self.database is not None else None
        if self.database is None or concept is None or not concept.images:
            raise InputError(
                f"{name!r} is no concept with a picture"
                + (f" of {self.database.path}" if self.database is not None else "")
                + "; add it to the database first"
            )
        return reference_of(self.database, concept)

    def photos(
        self, concept: Concept, most: int | None = None, size: int | None = None
    ) -> dict[Path, Image.Image]:
        """The photos of a concept that open, by their file.

        Args:
            concept: of the database.
            most: the first so many of those that open; ``None``: all.
            size: their long side in pixels; ``None``: as the policy is shown images.

        Raises:
            InputError: there is no database, or no photo of the concept opens.
        """
        if self.database is None:
            raise InputError(f"{self.kind} learns concepts of a database; give the method one")
        found: dict[Path, Image.Image] = {}
        reason = "it has none"
        for image in concept.images:
            file = self.database.image_path(image)
            try:
                found[file] = self._opened(file) if size is None else open_photo(file, size)
            except PhotoError as error:
                reason = f"{image}: {error}"
            if len(found) == most:
                break
        if not found:
            raise InputError(
                f"no photo of {concept.name!r} can be used ({reason}); give it one that opens"
            )
        return found

    def _opened(self, image: Any) -> Any:
        if image is None or isinstance(image, Image.Image):
            return image
        return open_photo(image, self.size, self.side)


class LearnedMethod(Method):
    """A method that answers from tensors which it learned of each concept.

    A subclass says how concepts are learned (:meth:`_learn_new`). What lies in ``store`` counts for
    the database as it is now: either may be edited, by other processes too, while this one answers.
    """

    learns = True

    def __init__(self, load: Callable, write: Write, **common: Any):
        super().__init__(load, write, **common)
        self._learned: dict[str, dict[str, Tensor]] = {}
        self._stamp: tuple = ()

    def learn(
        self,
        concepts: Sequence[Concept],
        negatives: Sequence[Picture] = (),
        progress: bool = False,
    ) -> list[Learned]:
        """See :meth:`Method.learn`. All photos are opened before the first concept is learned."""
        costs = {one.name: cost for one in concepts if (cost := self._stored(one)) is not None}
        new = [(one, self.photos(one, self._most)) for one in concepts if one.name not in costs]
        if new:
            costs |= {cost.name: cost for cost in self._learn_new(new, negatives, progress)}
        return [costs[concept.name] for concept in concepts]

    @abstractmethod
    def _learn_new(
        self,
        new: Sequence[tuple[Concept, dict[Path, Image.Image]]],
        negatives: Sequence[Picture],
        progress: bool,
    ) -> Iterable[Learned]:
        """Learn concepts from their photos, one after another, each kept by :meth:`_keep`."""

    @property
    def _most(self) -> int | None:
        """How many photos of a concept are learned from; ``None``: all."""
        return None

    def forget(self, names: Sequence[str]) -> None:
        """See :meth:`Method.forget`."""
        super().forget(names)
        for name in names:
            self._learned.pop(name, None)

    def _stored(self, concept: Concept) -> Learned | None:
        """Read back what was learned of a concept; ``None`` where it must be learned."""
        stored = self.store.load(concept) if self.store is not None else None
        if self.store is None or stored is None:
            return None
        self._learned[concept.name], facts = stored
        size = self.store.size(concept.name)
        return Learned(concept.name, facts["seconds"], size, facts["n_parameters"], reused=True)

    def _keep(self, concept: Concept, tensors: dict[str, Tensor], facts: dict) -> Learned:
        """Keep what was learned of a concept; ``facts`` have ``seconds`` and ``n_parameters``."""
        size = sum(tensor.nbytes for tensor in tensors.values())
        if self.store is not None:
            size = self.store.save(concept, tensors, facts)
        self._learned[concept.name] = tensors
        return Learned(concept.name, facts["seconds"], size, facts["n_parameters"])

    def _refresh(self) -> None:
        """Read the store anew where it or the database has changed."""
        if self.store is None or self.database is None:
            return
        concepts, folder = self.database.concepts(), self.store.folder
        stamp = self.database.loaded, folder.stat().st_mtime_ns if folder.is_dir() else 0
        if stamp == self._stamp:
            return
        stored = {name: self.store.load(concept) for name, concept in concepts.items()}
        self._learned = {name: found[0] for name, found in stored.items() if found is not None}
        self._stamp = stamp

    def _need(self, names: Sequence[str]) -> None:
        """Refuse names of which nothing was learned."""
        self._refresh()
        if missing := [name for name in names if name not in self._learned]:
            raise InputError(
                f"{missing[0]!r} has not been learned by this policy; run byname learn first"
            )


def inside(box: Box | None, frame: Sequence[float] | None) -> Box | None:
    """A box in 0-1 of its frame, what leads out of it cut off; ``None`` where nothing is left."""
    if box is None or frame is None:
        return None
    x0, y0, x1, y1 = (min(1.0, max(0.0, v)) for v in relative(box, (frame[0], frame[1])))
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None
