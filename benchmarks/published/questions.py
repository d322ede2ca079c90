"""What the published benchmarks share: settings, file paths, references, DreamBooth folders.

    naming            RePIC queries: {image: ["<a>", "<b>"]}; with four concepts {image: [[...]]}
                      DreamBooth folders: <subject>/NN.jpg, the first photo being the reference
    recognition       RAP: [{"image", "question", "concept", "type", "correct_answer"}, ...]
                      Yo'LLaVA: {image: [{"Human", "AI"}, ...]}; DreamBooth folders
    multiple_choice   Yo'LLaVA, visual: {concept: {image: {"question", "options",
                      "correct_answer"}}}; text: {concept: {"0": {"question", "option", ...}}}

Entries that are wrong or whose files are missing are counted and named; a benchmark without any
usable question is an error.
"""

import random
from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.formats.files import find_image, is_name, read_database, read_json
from benchmarks.harness.benchmark import Benchmark, Question
from benchmarks.published.controls import TITLES, control_sets
from concepts.concept import Concept
from concepts.methods.prompting import conversation, load_templates
from concepts.methods.protocol import Query, Reference
from data_gen.files.errors import InputError
from data_gen.files.skipped import SkippedItems
from data_gen.rows import ICT, OCT
from data_gen.sources.needed import check_needed
from data_gen.sources.photo_folders import scan

MISSING_IMAGE = "image missing on disk"
MISSING_REFERENCE = "reference image missing on disk"


@dataclass(kw_only=True)
class PublishedSettings:
    """Where a published benchmark lies and how it is asked."""

    path: str = field(metadata={"help": "Its file (queries, questions) or DreamBooth folder."})
    images: str | dict[str, str] | None = field(
        default=None,
        metadata={"help": "Folder of all images, or beginning of published paths -> folder."},
    )
    database: str | None = field(
        default=None,
        metadata={"help": "database.json with the references; without it none are shown."},
    )
    reference_images: str | None = field(
        default=None, metadata={"help": ".../{name}/00.jpg: where references lie instead."}
    )
    prompts: str | None = field(default=None, metadata={"help": "Template file; ours by default."})
    size: int = field(
        default=512, metadata={"help": "Images are shrunk until `side` has so many pixels."}
    )
    side: str = field(default="long", metadata={"help": "long or short."})
    controls: list[str] = field(
        default_factory=list,
        metadata={"help": "The same questions with one part changed: absent, wrong, none, blind."},
    )
    seed: int = field(default=0, metadata={"help": "Of controls and of the order of options."})

    def __post_init__(self):
        if not self.path:
            raise InputError("path is missing: the benchmark's file or folder")
        if self.side not in ("long", "short") or not 8 <= self.size <= 4096:
            raise InputError("size must be 8-4096 pixels of side, long or short")

    @property
    def roots(self) -> dict[str, str]:
        """``images`` as beginning -> folder."""
        return self.images if isinstance(self.images, dict) else {"": self.images or "."}


class Published(Benchmark):
    """A benchmark from its own files: the questions, and the same under each control.

    Subclasses read the questions (:meth:`load`) and score a set (:meth:`score_set`).

    Class attributes:
        title: label in tables of the set without a control.
    """

    title: str

    def __init__(self, settings: PublishedSettings, limit: int | None = None):
        super().__init__(settings, limit)
        check_needed(vars(settings))
        self.templates = load_templates(settings.prompts)
        questions = self.load()
        first = questions[:limit]
        self.sets = {self.name: first}
        # Controls of the first few questions may use images and references of all questions.
        controls: dict[str, list[Question]] = {}
        if settings.controls:
            controls = control_sets(questions, settings.controls, settings.seed)
        for control, of in controls.items():
            ids = {f"{question.id}-{control}" for question in first}
            self.sets[f"{self.name}_{control}"] = [q for q in of if q.id in ids]
        for control in settings.controls:
            if not self.sets.get(f"{self.name}_{control}"):
                self.sets.pop(f"{self.name}_{control}", None)
                self.skipped.add("control without any question", control)
        self.titles = {
            self.name: self.title,
            **{
                f"{self.name}_{control}": f"{self.title}, {title}"
                for control, title in TITLES.items()
            },
        }
        self.all_questions = questions

    @abstractmethod
    def load(self) -> list[Question]:
        """All questions; what cannot be asked goes to ``skipped``."""

    @abstractmethod
    def score_set(
        self,
        control: str,
        questions: Sequence[Question],
        replies: Sequence,
        likelihoods: Sequence[list] | None,
    ) -> dict:
        """The metrics of one set, ``control`` being empty for the benchmark itself."""

    def group(self, name: str) -> str:
        return self.name

    def write(self, query: Query, references: Sequence[Reference]) -> list[dict]:
        return conversation(query, references, self.templates)

    def score(self, replies, likelihoods) -> dict:
        metrics = {}
        for name, pairs in replies.items():
            found = self.score_set(
                name.removeprefix(self.name).removeprefix("_"),
                [q for q, _ in pairs],
                [r for _, r in pairs],
                likelihoods.get(name),
            )
            metrics |= {f"{name}/{key}": metric for key, metric in found.items()}
        return metrics

    def references(self) -> "References":
        """Finds the references of the settings."""
        s = self.settings
        return References(s.database, s.roots, s.reference_images, self.skipped)


class References:
    """Finds a concept's reference: in the database, or by a pattern where its images lie.

    Args:
        database: a ``database.json``, or ``None``: nothing is shown, unless there is a pattern.
        roots: see :func:`benchmarks.formats.files.find_image`.
        pattern: ``.../{name}/00.jpg``, used instead of the database's images.
        skipped: is given the database's broken entries.
    """

    def __init__(
        self,
        database: str | None,
        roots: dict[str, str],
        pattern: str | None,
        skipped: SkippedItems,
    ):
        self.roots, self.pattern = roots, pattern
        self.concepts: dict[str, Concept] = {}
        self.shown = bool(database or pattern)
        if database:
            self.concepts, broken = read_database(database)
            skipped.update(broken, prefix="database: ")

    def of(self, names: Sequence[str]) -> tuple[Reference, ...] | str:
        """References of bare names, or why there are none."""
        found = []
        for name in names if self.shown else []:
            concept = self.concepts.get(name)
            if concept is None and (self.concepts or not self.pattern):
                return "name that the database lacks"
            file: Path | None = None
            if self.pattern:
                file = Path(self.pattern.format(name=Path(name).name))
                file = file if file.is_file() else None
            elif concept and concept.images:
                file = find_image(concept.images[0], self.roots)
            if not file:
                return MISSING_REFERENCE
            found.append(Reference(name, file, (concept.info if concept else None) or None))
        return tuple(found)


def owned_references(
    questions: Sequence[Question], references: References, skipped: SkippedItems
) -> dict[str, Reference]:
    """Everything that can be retrieved: name -> reference, of the database and of all questions.

    Args:
        questions: of the whole benchmark.
        references: of the database.
        skipped: is given the concepts of the database that have no image on disk.
    """
    found = {r.name: r for question in questions for r in question.references or ()}
    for name in references.concepts:
        given = references.of([name])
        if isinstance(given, str):
            skipped.add(f"database: {given}", name)
        else:
            found[name] = given[0]
    return found


def dreambooth_questions(
    root: str | Path, templates: dict, task: str, skipped: SkippedItems
) -> list[Question]:
    """Captions to write, or yes-or-no questions, about ``<subject>/NN.jpg``: a subject's first
    photo is its reference, the others are asked about.

    Each photo is asked about once with its own subject and, for recognition, once with another,
    drawn by the photo's name: half of the questions are to be answered no.
    """
    try:
        folders, passed_over = scan(root, keep=Path(root) / "prompts_and_classes.txt")
    except OSError as error:
        raise InputError(f"{root} cannot be listed ({error.strerror})") from None
    # Files that systems and authors put next to the subjects' folders are no loss.
    for reason in passed_over.counts:
        if reason not in ("hidden", "beside the subjects' folders"):
            for where in passed_over.places(reason):
                skipped.add(reason, where, 0)
            skipped.add(reason, None, passed_over[reason])
    requests, found = templates[task]["requests"], []
    first = {f.name: Reference(f.name, f.photos[0]) for f in folders if is_name(f.name)}
    for folder in folders:
        for photo in folder.photos[1:] if folder.name in first else []:
            place = f"{folder.name}/{photo.name}"
            others = [name for name in first if name != folder.name]
            asks = [(folder.name, "yes")]
            if task == OCT and others:
                asks.append((random.Random(place).choice(others), "no"))
            for name, answer in asks:
                text = requests[len(found) % len(requests)].format(name=f"<{name}>")
                found.append(
                    Question(
                        f"{place}-{name}",
                        task,
                        text,
                        photo,
                        (first[name],),
                        names=(name,) if task == ICT else (),
                        source=f"dreambooth: {place}",
                        answer=answer if task == OCT else None,
                    )
                )
    return checked(found, root, skipped)


def read_object(path: str | Path, skipped: SkippedItems, form: str) -> dict[str, Any]:
    """A JSON object.

    Raises:
        InputError: it is something else; ``form`` says what was expected.
    """
    data = read_json(path, skipped)
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected an object {form}, found {type(data).__name__}")
    return data


def checked(questions: list[Question], path: str | Path, skipped: SkippedItems) -> list[Question]:
    """The questions, after a check that there are some and that their ids differ.

    Raises:
        InputError: there is none.
    """
    if not questions:
        raise InputError(f"{path}: no question is left to ask; {skipped.line() or 'it is empty'}")
    # The same id would be answered once and counted twice.
    twice = [i for i, n in Counter(q.id for q in questions).items() if n > 1]
    assert not twice, twice[:3]
    return questions
