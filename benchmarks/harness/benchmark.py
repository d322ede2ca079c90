"""The base class of benchmarks: sets of questions, how they are asked, how replies are scored.

A benchmark is a subclass of :class:`Benchmark` in a file of its own, and a line in
:mod:`benchmarks.registry`. The loop (:mod:`benchmarks.harness.evaluation`) asks every system every
question of ``sets`` and hands the replies to ``score``; nothing in it knows a benchmark by name.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar

from PIL import Image

from benchmarks.metrics.intervals import Metric
from concepts.concept import Concept
from concepts.methods.protocol import Picture, Query, Reference, Reply
from data_gen.files.errors import InputError
from data_gen.files.skipped import SkippedItems

IMAGE_CHUNK = 128
"""Questions whose images are held in memory at a time, unless a benchmark holds all of them."""

SHOWN = 6
"""Samples of a set that a page shows unless a config says how many."""


@dataclass(frozen=True)
class Question(Query):
    """A query with its truth.

    Args:
        names, absent_names, answer, box: as in the row contract.
        correct: place of the right option.
        source: file and place.
        truth: what else a benchmark scores with, by name.
    """

    names: tuple[str, ...] = ()
    absent_names: tuple[str, ...] = ()
    answer: str | None = None
    box: tuple[float, float, float, float] | None = None
    correct: int | None = None
    source: str = ""
    truth: Mapping[str, Any] = field(default_factory=dict)

    @property
    def query(self) -> Query:
        """The question without its truth: what a system is given."""
        return Query(**{f.name: getattr(self, f.name) for f in fields(Query)})


def picture_digest(picture: Picture) -> str:
    """Tells pictures apart: a file by its path, an open image by its pixels."""
    if not isinstance(picture, Image.Image):
        return str(picture)
    pixels = hashlib.sha256(repr((picture.size, picture.mode)).encode() + picture.tobytes())
    return pixels.hexdigest()


def contract_row(question: Question, written: dict) -> dict:
    """A question as a row of the row contract, with the columns ``options`` and ``correct``.

    Args:
        question: the truth.
        written: ``prompt`` and ``images`` as a system was asked.
    """
    return {
        "id": question.id,
        "task": question.task,
        "prompt": written["prompt"],
        "images": written["images"],
        "answer": question.answer,
        "box": list(question.box) if question.box else None,
        "names": list(question.names),
        "absent_names": list(question.absent_names),
        "source": question.source,
        "options": list(question.options),
        "correct": question.correct,
    }


class Benchmark(ABC):
    """The base of all benchmarks. What a subclass does not set does not apply to it.

    Class attributes:
        name: as in the registry.
        Settings: dataclass of its own settings, which stand next to the loop's in a config.
        headlines: metrics to look at first, ``<set>/<metric>``.
        limits: set, or a group that :meth:`group` maps it to -> where completions are cut, in
            tokens; a config's ``max_new_tokens`` is laid over it.
        box_sets: sets whose replies are boxes: a reply without a frame cannot be scored.
        retrieval_sets: sets for which a system that can retrieve finds the references in ``owned``
            itself, even where they are handed over to others.
        caption_sets: sets of captions, for further scores of captions (``captions``).
        fixed_concepts: whether a name stands for the same concept in all questions, so that it can
            be learned.
        drawn: whether its questions, and toys, are drawn with ``seed`` and ``toys_seed``.
        in_memory: whether questions hold opened images; otherwise they are opened
            :data:`IMAGE_CHUNK` at a time.

    Attributes:
        settings: an instance of ``Settings``.
        sets: set -> questions.
        titles: set, or pool of sets -> its label in tables.
        columns: head -> metric, for a table with a line for each system.
        skipped: what could not be asked, by reason.
        owned: name -> reference of every concept that can be retrieved.
        size, side: bound of images that are opened when they are asked about, in pixels.
        shown: set -> how many of its first questions a page shows.
        truths: question id -> true captions, where a config names a file of them.
        finders: retrieval settings -> what finds references so, for all systems that do.
        temperature: of sampling; 0 is greedy.
    """

    name: ClassVar[str]
    Settings: ClassVar[type]
    headlines: ClassVar[tuple[str, ...]] = ()
    limits: ClassVar[dict[str, int]] = {}
    box_sets: ClassVar[tuple[str, ...]] = ()
    retrieval_sets: ClassVar[tuple[str, ...]] = ()
    caption_sets: ClassVar[tuple[str, ...]] = ()
    fixed_concepts: ClassVar[bool] = True
    drawn: ClassVar[bool] = False
    in_memory: bool = False

    def __init__(self, settings: Any, limit: int | None = None):
        self.settings = settings
        self.limit = limit
        self.sets: dict[str, list[Question]] = {}
        self.titles: dict[str, str] = {}
        self.columns: dict[str, str] = {}
        self.skipped = SkippedItems()
        self.owned: dict[str, Reference] = {}
        self.size: int = getattr(settings, "size", 512)
        self.side: str = getattr(settings, "side", "long")
        self.shown: dict[str, int] = {}
        self.truths: dict[str, Sequence[str]] = {}
        self.finders: dict[str, Any] = {}
        self.temperature: float = 0.0

    @classmethod
    def redrawn(cls, settings: Any, k: int) -> Any:
        """The settings of the k-th draw, from 0 on: those given, with other seeds from 1 on.

        Raises:
            InputError: the benchmark's questions are not drawn.
        """
        seeds = [f.name for f in fields(settings) if f.name in ("seed", "toys_seed")]
        if k and not (cls.drawn and seeds):
            raise InputError(
                f"draws: the questions of {cls.name} are not drawn, so there is one draw"
            )
        return replace(settings, **{name: getattr(settings, name) + k for name in seeds})

    def group(self, name: str) -> str:
        """The key of ``limits`` for a set."""
        return name

    def asks_likelihood(self, name: str) -> bool:
        """Whether a set is also scored by the system's probabilities."""
        return False

    def open(self, question: Question) -> Question:
        """The question as it is asked; for benchmarks that make images when they are needed."""
        return question

    def write(self, query: Query, references: Sequence[Reference]) -> list[dict]:
        """The conversation that asks a query without a prompt of its own; for benchmarks that have
        such questions.

        Raises:
            InputError: this benchmark writes no prompts.
        """
        raise InputError(
            f"{self.name}: question {query.id} has no prompt, and this benchmark writes none; give "
            f"it one, or the benchmark a method `write`"
        )

    def concepts(self) -> list[tuple[Concept, Sequence[Picture]]]:
        """The concepts that a method may learn before it is asked, and their pictures: those that
        are owned and those that the questions hand over, unless a benchmark has training pictures
        of its own.

        A name owns the pictures under which it first stands: a control may show them under others.

        Raises:
            InputError: nothing can be learned of its names.
        """
        pictures: dict[str, list[Picture]] = {}
        infos: dict[str, str] = {}
        owners: dict[str, str] = {}
        asked = self.sets.values() if self.fixed_concepts else ()
        handed_over = (r for of in asked for q in of for r in q.references or ())
        for reference in (*self.owned.values(), *handed_over):
            name, picture = reference.name, picture_digest(reference.image)
            if picture not in owners:
                owners[picture] = name
                infos.setdefault(name, reference.info or "")
                pictures.setdefault(name, []).append(reference.image)
        if not pictures:
            raise InputError(
                f"{self.name} hands over no concept whose name stays the same from question to "
                f"question, so nothing can be learned; ask a method that is shown its references, "
                f"such as in_context"
            )
        return [(Concept(name, info=infos[name]), of) for name, of in pictures.items()]

    def negatives(self) -> Sequence[Picture]:
        """Pictures that show none of the concepts, for methods that learn and whose system names no
        folder of them."""
        return ()

    @abstractmethod
    def score(
        self,
        replies: Mapping[str, Sequence[tuple[Question, Reply]]],
        likelihoods: Mapping[str, Sequence[list]],
    ) -> dict[str, Metric]:
        """All metrics of one system, ``<set or pool>/<metric>``.

        Args:
            replies: set -> N questions with their replies.
            likelihoods: set -> N times what :meth:`Method.likelihoods` says, for sets where it
                is known of every system.
        """

    def info(self, question: Question) -> str:
        """The given words that a caption could copy instead of describing the image."""
        return "\n".join(r.info for r in question.references or () if r.info)

    def true_captions(self, path: str) -> dict[str, Sequence[str]]:
        """Question id -> true captions of its image, read from a file.

        Raises:
            InputError: there are none for this benchmark.
        """
        raise InputError(f"captions.references: {self.name} has no true captions; leave them out")

    def describe(self) -> dict:
        """What ``evaluation.json`` records about the benchmark in addition to its settings;
        ``unit`` is what the rows of its metrics are, where they are no questions."""
        return {}
