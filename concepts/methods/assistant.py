"""Ask a policy about one's own concepts: who is in an image, why, and whatever the user asks.

    database = photo_database("my_photos")                  # my_photos/<name>/*.jpg
    assistant = Assistant(System("mine", "toybox_base", retrieval), database)
    answer = assistant.ask("new.jpg", "Describe this picture.")
    print(answer.text, answer.names)

Whatever the method: the concepts that retrieval proposes (all of them, where there is none) are
judged by the method's ``recognize``; those at or above the threshold (the method's own, where none
was chosen from photos), and those that the question names, are handed over with the question.
The database may be edited meanwhile; an edit counts at the next question, and a new concept is
learned before it is answered.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from PIL import Image

from concepts.concept import Concept
from concepts.database import Database
from concepts.importers import loose_photos
from concepts.methods.calibration import (
    Threshold,
    calibrate,
    read_threshold,
    write_threshold,
)
from concepts.methods.finding import LiveFinder
from concepts.methods.learned import learned_folder
from concepts.methods.protocol import Evidence, Learned, Picture, Query, Reference
from concepts.methods.systems import System, open_method, policy_loader, system_fingerprint
from concepts.retrieval import name_keys, names_in
from data_gen.files.skipped import SkippedItems
from data_gen.images.features import PHOTO_PX
from data_gen.images.photos import open_photo
from data_gen.rows import ICT
from data_gen.tasks.prompts import conversation, load_prompts

ROUNDS = 3
"""How often concepts that were edited while they were learned are learned again."""


@dataclass(frozen=True)
class Answer:
    """What the assistant says.

    Args:
        text: the policy's words.
        concepts: those that were considered, and why: similarity and p; ``used``: it is there.
    """

    text: str
    concepts: tuple[Evidence, ...]

    @property
    def names(self) -> list[str]:
        """Who is there, or is asked for."""
        return [one.name for one in self.concepts if one.used]


@dataclass
class Conversation:
    """Questions about one image, and the answers; each is asked with those before it.

    Args:
        image: ``None``: questions about concepts alone.
    """

    image: Picture | None
    turns: list[tuple[str, str]] = field(default_factory=list)


class Assistant:
    """A system with a user's database.

    Args:
        system: policy, method, retrieval and settings; its ``database`` is not looked at.
        database: of the user's concepts.
        load: gives ``(model, processor)``; by default the system's policy, loaded once.
        dtype, device: of the default ``load``.
        size: long side of every image, in pixels.
        batch_size: rows per call of the model.
        box_convention: as of :class:`concepts.methods.protocol.Method`.

    Attributes:
        method: the system's.
        threshold: least p of a concept that is there; ``None`` where it was not calibrated.
        skipped: concepts that could not be learned, by reason.
    """

    def __init__(
        self,
        system: System,
        database: Database,
        *,
        load: Callable | None = None,
        dtype: str = "float32",
        device: str = "auto",
        size: int = 512,
        batch_size: int = 8,
        box_convention: str | None = None,
    ):
        database.concepts()  # an unusable database is told before anything loads
        self.system, self.database = system, database
        self.skipped = SkippedItems()
        self.method = open_method(
            system,
            load or policy_loader(system.path, dtype=dtype, device=device),
            write_question,
            database=database,
            learned=learned_folder(database.path),
            finder=LiveFinder(database, system.retrieval) if system.retrieval else None,
            size=size,
            batch_size=batch_size,
            box_convention=box_convention,
        )
        self._fingerprint = system_fingerprint(system, dtype, size)
        self.threshold = read_threshold(self._threshold_file, self._fingerprint)
        self._learned: dict[str, Concept] = {}
        self._broken: dict[str, Concept] = {}
        self._loaded: tuple | None = None

    # ---- learning ----

    def learn(self, names: Sequence[str] | None = None, progress: bool = False) -> list[Learned]:
        """Learn the named concepts, or all; a concept that cannot be learned is left out and named
        in ``skipped``, and one that is edited meanwhile is learned again.

        Raises:
            InputError: ``negatives`` of the system is no folder of photos.
        """
        negatives = loose_photos(self.system.negatives) if self.system.negatives else []
        costs: dict[str, Learned] = {}
        for _ in range(ROUNDS):
            wanted = [
                concept
                for name, concept in self.database.concepts().items()
                if (names is None or name in names) and self._learned.get(name) != concept
            ]
            usable = [concept for concept in wanted if self._opens(concept)]
            if not usable:
                break
            for cost in self.method.learn(usable, negatives, progress):
                costs[cost.name] = cost
            self._learned.update((concept.name, concept) for concept in usable)
        self._forget_gone()
        return list(costs.values())

    def calibrate(self) -> Threshold:
        """Choose the threshold from the database's photos and the system's negatives, and keep it.

        Raises:
            InputError: there is nothing to choose it from.
        """
        negatives = loose_photos(self.system.negatives) if self.system.negatives else []
        self.threshold = calibrate(self.method, self.database, negatives)
        write_threshold(self._threshold_file, self.threshold, self._fingerprint)
        return self.threshold

    # ---- asking ----

    @property
    def least(self) -> float:
        """Least p of a concept that is there: chosen from photos, or else the method's own."""
        return self.method.least if self.threshold is None else self.threshold.value

    def who(self, image: Picture | None, question: str = "") -> tuple[Evidence, ...]:
        """Who is in an image, or is asked for: candidates with similarity and p, the likeliest
        first.

        Raises:
            PhotoError: the image does not open.
        """
        self._follow()
        named = names_in(question, name_keys(self.database.concepts()))
        if image is None:
            return tuple(Evidence(name) for name in named if self._known(name))
        opened = image if isinstance(image, Image.Image) else open_photo(image, PHOTO_PX)
        similarities: dict[str, float | None] = dict.fromkeys(named)
        if self.method.finder is not None:
            query = Query("ask", ICT, question, opened, references=None)
            similarities |= {one.name: one.similarity for one in self.method.finder.find(query)}
        else:
            similarities |= dict.fromkeys(self.database.concepts())
        known = [name for name in similarities if self._known(name)]
        p = self.method.recognize([(opened, name) for name in known])
        found = [
            Evidence(name, similarities[name], likely, used=likely >= self.least or name in named)
            for name, likely in zip(known, p, strict=True)
        ]
        return tuple(sorted(found, key=lambda one: -(one.p or 0.0)))

    def ask(self, image: Picture | None, question: str = "", max_new_tokens: int = 256) -> Answer:
        """One question about an image; without one, a caption is asked for.

        Raises:
            PhotoError: the image does not open.
        """
        return self.say(Conversation(image), question, max_new_tokens)

    def say(
        self, conversation: Conversation, question: str = "", max_new_tokens: int = 256
    ) -> Answer:
        """The next turn of a conversation, which is added to it."""
        asked = [*(words for words, _ in conversation.turns), question]
        concepts = self.who(conversation.image, "\n".join(asked))
        references = tuple(self.method.reference(one.name) for one in concepts if one.used)
        query = Query("ask", ICT, asked[0], conversation.image, references, judged=True)
        query = self.method.open(query)
        if conversation.turns:
            prompt = write_question(query, query.references or ())
            for (_, said), words in zip(conversation.turns, asked[1:], strict=True):
                prompt += [_turn("assistant", said), _turn("user", words)]
            query = replace(query, text=question, prompt=prompt)
        (reply,) = self.method.reply([query], max_new_tokens)
        conversation.turns.append((question, reply.text))
        return Answer(reply.text, concepts)

    def _follow(self) -> None:
        """Learn what has come to the database, and forget what has left it."""
        self.database.concepts()
        if self.database.loaded == self._loaded:
            return
        self._loaded = self.database.loaded
        self._forget_gone()
        if self.method.learns:
            self.learn()

    def _forget_gone(self) -> None:
        """Forget what was learned of concepts that have left the database, perhaps while they were
        learned."""
        concepts = self.database.concepts()
        gone = [name for name in self._learned if name not in concepts]
        self.method.forget(gone)
        for name in gone:
            del self._learned[name]

    def _known(self, name: str) -> bool:
        concept = self.database.concepts().get(name)
        if concept is None or (self.method.learns and name not in self._learned):
            return False
        return self._opens(concept)

    def _opens(self, concept: Concept) -> bool:
        """Whether one of its photos opens; where none does, that is counted once."""
        skipped = SkippedItems()
        if next(self.database.photos(concept, skipped), None) is not None:
            self._broken.pop(concept.name, None)
            return True
        if self._broken.get(concept.name) != concept:
            self._broken[concept.name] = concept
            reason = next(iter(skipped.counts), "it has none")
            self.skipped.add(f"concept none of whose photos opens: {reason}", concept.name)
        return False

    @property
    def _threshold_file(self) -> Path:
        return learned_folder(self.database.path) / f"{self.system.method}.threshold.json"


def write_question(query: Query, references: Sequence[Reference]) -> list[dict[str, Any]]:
    """The conversation of a question, worded as the rows that policies are trained on; without a
    question, it asks for a caption."""
    templates = dict(load_prompts())
    if query.text:
        words = query.text.replace("{", "{{").replace("}", "}}")
        templates[ICT] = {**templates[ICT], "ask": [words], "suffix": [""]}
    messages = conversation(
        random.Random(0),  # the same words always
        ICT,
        [one.name for one in references],
        [one.info or None for one in references],
        templates,
    )
    if query.image is None:  # the placeholder of the picture that is asked about, the last one
        parts = messages[0]["content"]
        del parts[max(i for i, part in enumerate(parts) if part["type"] == "image")]
    return messages


def _turn(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": text}]}
