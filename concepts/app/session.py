"""What one user does on the page, without a browser: their concepts, questions, finds, corrections.

A session belongs to one database. Several sessions of one process share the policies, which answer
one question at a time; edits of the database are safe beside other processes
(:mod:`concepts.database`).
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from concepts.app import editing
from concepts.app.corrections import Correction, Corrections
from concepts.app.editing import NewConcept, UploadError
from concepts.app.sightings import SearchedPhoto, search
from concepts.database import Database
from concepts.methods.assistant import Assistant, Conversation
from concepts.methods.finding import RetrievalSettings
from concepts.methods.forgetting import forget, rename
from concepts.methods.protocol import Evidence
from concepts.methods.systems import System, policy_loader
from concepts.regions import load_proposer
from data_gen.files.errors import InputError
from data_gen.files.skipped import SkippedItems
from data_gen.images.boxes import Box
from data_gen.images.encoders import Encoder, load_encoder

MAX_QUESTION = 2000
"""Characters of a question."""

MAX_TURNS = 20
"""Questions about one picture; then the conversation begins anew."""

MAX_FOUND = 500
"""Photos that are looked through at once."""

ALIKE = 0.9
"""Cosine from which two concepts are said to look alike."""


@dataclass
class Policies:
    """The policies of a process, each loaded once, asked by one thread at a time.

    Args:
        dtype, device: see :func:`concepts.methods.systems.policy_loader`.
    """

    dtype: str = "float32"
    device: str = "auto"
    lock: threading.RLock = field(default_factory=threading.RLock)
    _loaders: dict[str, Callable] = field(default_factory=dict)
    _encoders: dict[str, Encoder] = field(default_factory=dict)

    def loader(self, path: str) -> Callable:
        """What loads a policy when it is first asked; transformers loads one at a time."""
        with self.lock:
            if path not in self._loaders:
                self._loaders[path] = policy_loader(path, dtype=self.dtype, device=self.device)
        load = self._loaders[path]

        def locked():
            with self.lock:
                return load()

        return locked

    def encoder(self, name: str) -> Encoder:
        """An encoder of images, loaded once."""
        with self.lock:
            if name not in self._encoders:
                self._encoders[name] = load_encoder(name)
            return self._encoders[name]


@dataclass(frozen=True)
class Said:
    """An answer, and what is shown beside it.

    Args:
        text: the policy's words.
        concepts: who was considered, and why they count as there or not.
        boxes: name and box in 0-1 of the image, of those that are there and were located.
    """

    text: str
    concepts: tuple[Evidence, ...]
    boxes: tuple[tuple[str, Box], ...] = ()

    @property
    def there(self) -> list[str]:
        """Names of those that are there."""
        return [one.name for one in self.concepts if one.used]


@dataclass(frozen=True)
class ListedConcept:
    """A concept as it is listed.

    Args:
        name, category, info: the user's words.
        photo: its first photo.
        n_photos: how many there are.
        learned: method -> seconds and bytes of learning it; of methods that have learned it.
    """

    name: str
    category: str
    info: str
    photo: Path
    n_photos: int
    learned: Mapping[str, tuple[float, int]]


class Session:
    """One user's concepts and questions.

    Args:
        database: of the user's concepts; its file need not exist yet.
        systems: label -> system, the first of which is asked by default.
        policies: shared with other sessions.
        size: long side of images, in pixels.
    """

    def __init__(
        self,
        database: Database,
        systems: Mapping[str, System],
        policies: Policies,
        size: int = 512,
    ):
        self.database, self.systems, self.policies, self.size = database, systems, policies, size
        self.corrections = Corrections(
            database.path.with_name(f"{database.path.name}.corrections"), database
        )
        self._assistants: dict[str, Assistant] = {}
        self._talks: dict[str, tuple[Image.Image, Conversation]] = {}

    # ---- my things ----

    def listed(self) -> list[ListedConcept]:
        """The user's concepts, in the order in which they were added."""
        known = []
        for concept in editing.known(self.database):
            learned = {}
            for assistant in self._assistants.values():
                store = assistant.method.store
                facts = store.facts(concept.name) if store is not None else None
                if store is not None and facts is not None:
                    seconds = facts.get("seconds")
                    seconds = float(seconds) if isinstance(seconds, int | float) else 0.0
                    learned[assistant.method.kind] = seconds, store.size(concept.name)
            photo = self.database.image_path(concept.images[0])
            known.append(
                ListedConcept(
                    concept.name,
                    concept.category,
                    editing.own_words(concept),
                    photo,
                    len(concept.images),
                    learned,
                )
            )
        return known

    def warnings(self, new: NewConcept) -> list[str]:
        """What may go wrong with a concept, before it is added."""
        with self.policies.lock:
            retrieval = self._retrieval()
            encoder = self.policies.encoder(retrieval.encoder) if retrieval else None
            cache = retrieval.cache if retrieval else ""
            return editing.warnings(new, self.database, encoder, ALIKE, cache)

    def crops(self, image: Image.Image) -> list[Image.Image]:
        """Parts of a photo that may show a concept alone; the whole one first."""
        retrieval = self._retrieval()
        return editing.crops(image, load_proposer(retrieval.regions if retrieval else None))

    def add(self, new: NewConcept) -> None:
        """Add a concept. Methods that learn do so before the next question.

        Raises:
            DatabaseError: the name is taken.
        """
        editing.add(self.database, new)

    def learn(self, label: str) -> list[str]:
        """Learn what is not learned yet; a line for each concept."""
        with self.policies.lock:
            costs = self._assistant(label).learn()
        return [
            f"{cost.name}: {cost.seconds:.1f} s, {cost.n_bytes:,} bytes, "
            f"{cost.n_parameters:,} parameters"
            for cost in costs
        ]

    def change(self, name: str, info: str, category: str) -> None:
        """Change what is said of a concept."""
        editing.change(self.database, name, info, category)

    def rename(self, name: str, to: str) -> None:
        """Give a concept another name, everywhere."""
        rename(self.database, name, to.strip().strip("<>"))
        self.corrections.rename(name, to.strip().strip("<>"))

    def remove(self, name: str) -> None:
        """Remove a concept: entry, copied photos, vectors, what was learned, corrections."""
        self.corrections.forget(name)
        parts = [part for s in self.systems.values() for part in (s.retrieval, s.settings)]
        caches = {getattr(part, "cache", RetrievalSettings.cache) for part in parts}
        forget(self.database, [name], caches)

    # ---- ask ----

    def ask(
        self, label: str, image: Image.Image | None, question: str = "", max_new_tokens: int = 256
    ) -> Said:
        """Answer a question about a picture, or describe it; questions about the same picture make
        a conversation.

        Raises:
            UploadError: no picture, or too long a question.
            InputError: nothing is known yet.
        """
        if image is None:
            raise UploadError("choose a picture to ask about")
        if len(question) > MAX_QUESTION:
            raise UploadError(f"ask shorter: at most {MAX_QUESTION} characters")
        with self.policies.lock:
            assistant = self._assistant(label)
            talk = self._talk(label, image)
            answer = assistant.say(talk, " ".join(question.split()), max_new_tokens)
            there = [one.name for one in answer.concepts if one.used]
            boxes = assistant.method.locate([(image, name) for name in there])
        located = tuple((n, b) for n, b in zip(there, boxes, strict=True) if b is not None)
        return Said(answer.text, answer.concepts, located)

    def turns(self, label: str) -> list[tuple[str, str]]:
        """Questions and answers about the picture that was last asked about."""
        return list(self._talks[label][1].turns) if label in self._talks else []

    def begin_anew(self) -> None:
        """Forget the conversations; the next question is the first one."""
        self._talks.clear()

    # ---- find ----

    def find(
        self,
        label: str,
        photos: Sequence[Path],
        skipped: SkippedItems,
    ) -> Iterator[SearchedPhoto]:
        """Who is where in some photos, one after the other: whoever does not want to go on stops
        asking.

        Args:
            skipped: is given the photos that do not open, by reason.

        Raises:
            UploadError: none, or too many.
        """
        if not 1 <= len(photos) <= MAX_FOUND:
            raise UploadError(f"choose 1 to {MAX_FOUND} photos, not {len(photos)}")
        with self.policies.lock:
            assistant = self._assistant(label)
        for photo in photos:
            with self.policies.lock:  # another user's question may come between two photos
                one = search(assistant, photo, skipped)
            if one is not None:
                yield one

    # ---- correct ----

    def correct(
        self,
        image: Image.Image | None,
        there: Sequence[str],
        boxes: Mapping[str, Box] | None = None,
        wrongly: Sequence[str] = (),
    ) -> int:
        """Keep what is true of a picture; returns how many rows there are.

        Args:
            there: names of those who are in it; everybody else is not.
            boxes: where, of some of them.
            wrongly: names that were found, whether they are there or not.

        Raises:
            UploadError: no picture.
            CorrectionError: it cannot be true.
        """
        if image is None:
            raise UploadError("choose a picture, and ask about it first")
        return self.corrections.add([(image, self._correction(there, boxes, wrongly))])

    def keep(self, searched: Sequence[SearchedPhoto]) -> int:
        """Keep what was found in photos, all of it being right; returns how many rows there are."""
        kept = []
        for one in searched:
            boxes = {s.name: s.box for s in one.sightings if s.box}
            kept.append((one.image, self._correction([s.name for s in one.sightings], boxes)))
        return self.corrections.add(kept)

    def _correction(
        self, there: Sequence[str], boxes: Mapping[str, Box] | None, wrongly: Sequence[str] = ()
    ) -> Correction:
        names = [concept.name for concept in editing.known(self.database)]
        absent = [name for name in names if name not in there]
        absent.sort(key=lambda name: name not in wrongly)
        return Correction(tuple(n for n in names if n in there), tuple(absent), boxes)

    def command(self, label: str) -> str:
        """What to type to train on the corrections."""
        return (
            f"byname grpo --config configs/grpo/corrections.yaml "
            f"--policy {self.systems[label].path} --rows {self.corrections.rows}"
        )

    # ---- inside ----

    def _assistant(self, label: str) -> Assistant:
        if label not in self.systems:
            raise InputError(f"there is no system {label!r}")
        if not editing.known(self.database):
            raise InputError("nothing of yours is known yet: add something under My things")
        if label not in self._assistants:
            system = self.systems[label]
            self._assistants[label] = Assistant(
                system,
                self.database,
                load=self.policies.loader(system.path),
                dtype=self.policies.dtype,
                size=self.size,
            )
        return self._assistants[label]

    def _talk(self, label: str, image: Image.Image) -> Conversation:
        before = self._talks.get(label)
        if before is not None and len(before[1].turns) < MAX_TURNS and same(before[0], image):
            return before[1]
        talk = Conversation(image)
        self._talks[label] = image, talk
        return talk

    def _retrieval(self) -> RetrievalSettings | None:
        """Of the first system that retrieves."""
        return next((s.retrieval for s in self.systems.values() if s.retrieval), None)


def same(a: Image.Image, b: Image.Image) -> bool:
    """Whether two images are equal, pixel by pixel."""
    return a.size == b.size and a.mode == b.mode and a.tobytes() == b.tobytes()
