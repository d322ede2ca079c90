"""Published files as questions."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from accelerate import PartialState

from benchmarks.formats.files import (
    find_picture,
    is_name,
    read_database,
    read_json,
)
from benchmarks.harness.predictions import _keep_scores, predict
from benchmarks.harness.question import Benchmark, Question, open_rows
from concepts.concept import Concept
from concepts.methods.protocol import Reference
from data_gen.files.settings import BenchmarkError
from data_gen.files.skipped import LeftOut, leave, left_out_line
from data_gen.rows import ICT, OCT
from data_gen.sources.photo_folders import scan


def owned_references(
    questions: Sequence[Question], database: str | None, roots: dict, pictures: str | None,
    left_out: LeftOut,
) -> dict[str, Reference]:
    """Everything that can be found: name -> reference, of the database and of all questions.

    Args:
        questions: of the whole benchmark.
        database, roots, pictures: see :class:`benchmarks.published.loading.References`.
        left_out: is given the concepts of the database that have no picture on disk.
    """
    found = {r.name: r for question in questions for r in question.references}
    if database:
        references = References(database, roots, pictures, {})
        for name in references.concepts:
            given = references.of([name])
            if isinstance(given, str):
                leave(left_out, f"database: {given}", name)
            else:
                found[name] = given[0]
    return found


MISSING_IMAGE = "picture missing on disk"


def dreambooth_questions(root: str | Path, words: dict, task: str = ICT) -> Benchmark:
    """Captions to write, or yes-or-no questions, about ``<subject>/NN.jpg``: a subject's first
    photo is its reference, the others are asked about.

    Each photo is asked about once with its own subject and, for recognition, once with another,
    drawn by the photo's name: half of the questions are to be answered no.
    """
    left_out: LeftOut = {}
    try:
        subjects, left = scan(root, keep=Path(root) / "prompts_and_classes.txt")
    except OSError as error:
        raise BenchmarkError(f"{root} cannot be listed ({error.strerror})") from None
    # What systems and authors put beside the subjects is no loss.
    left_out.update({reason: where for reason, where in left.items()
                     if reason not in ("hidden", "beside the subjects' folders")})
    asked, found = words[task]["requests"], []
    first = {s.name: Reference(s.name, s.photos[0]) for s in subjects if is_name(s.name)}
    for subject in subjects:
        for photo in subject.photos[1:] if subject.name in first else []:
            place = f"{subject.name}/{photo.name}"
            others = [name for name in first if name != subject.name]
            asks = [(subject.name, "yes")]
            if task == OCT and others:
                asks.append((random.Random(place).choice(others), "no"))
            for name, answer in asks:
                request = asked[len(found) % len(asked)].format(name=f"<{name}>")
                found.append(Question(
                    f"{place}-{name}", task, request, photo, (first[name],),
                    (name,) if task == ICT else (), source=f"dreambooth: {place}",
                    answer=answer if task == OCT else None))
    return _benchmark(found, left_out, root)


def _object(path, left_out: LeftOut, form: str) -> dict:
    data = read_json(path, left_out)
    if not isinstance(data, dict):
        raise BenchmarkError(f"{path}: expected an object {form}, found {type(data).__name__}")
    return data


def _benchmark(found: list[Question], left_out: LeftOut, path) -> Benchmark:
    if not found:
        raise BenchmarkError(f"{path}: no question is left to ask; "
                             f"{left_out_line(left_out) or 'it is empty'}")
    # The same id would be answered once and counted twice.
    twice = [i for i, n in Counter(q.id for q in found).items() if n > 1]
    assert not twice, twice[:3]
    return Benchmark(found, left_out)


MISSING_REFERENCE = "reference picture missing on disk"


class References:
    """Finds a concept's reference: in the database, or by a pattern where its pictures lie.

    Args:
        database: a ``database.json``, or ``None``: nothing is shown, unless there is a pattern.
        roots: see :func:`benchmarks.formats.files.find_picture`.
        pictures: ``.../{name}/00.jpg``, used instead of the database's pictures.
        left_out: is given the database's broken entries.
    """

    def __init__(self, database, roots: dict, pictures: str | None, left_out: LeftOut):
        self.roots, self.pictures = roots, pictures
        self.concepts: dict[str, Concept] = {}
        self.shown = bool(database or pictures)
        if database:
            self.concepts, broken = read_database(database)
            left_out.update({f"database: {reason}": where for reason, where in broken.items()})

    def of(self, names: list[str]) -> tuple[Reference, ...] | str:
        """References of bare names, or why there are none."""
        found = []
        for name in names if self.shown else []:
            concept = self.concepts.get(name)
            if concept is None and (self.concepts or not self.pictures):
                return "name that the database lacks"
            if self.pictures:
                file = Path(self.pictures.format(name=Path(name).name))
                file = file if file.is_file() else None
            else:
                file = concept.images and find_picture(concept.images[0], self.roots)
            if not file:
                return MISSING_REFERENCE
            found.append(Reference(name, file, (concept and concept.info) or None))
        return tuple(found)


PART = 128
"""Questions whose pictures are held in memory at a time."""


def answer_questions(
    load: Callable,
    questions: Sequence[Question],
    words: dict,
    folder: str | Path,
    name: str,
    left_out: LeftOut,
    *,
    fingerprint: str,
    max_new_tokens: int,
    batch_size: int,
    likelihood: bool = False,
    size: int = 512,
    side: str = "long",
    title: str = "",
) -> None:
    """Ask a policy and keep what it says below ``folder``; see :func:`read_answers`.

    Args:
        load: called at most once, gives ``(model, processor)``.
        questions: of one set.
        words, size, side: see :func:`benchmarks.harness.question.open_rows`.
        name: of the set.
        left_out: is given the questions whose pictures do not open.
        fingerprint, max_new_tokens, batch_size, title: see :func:`benchmarks.harness.predictions.predict`.
        likelihood: also keep probabilities, for recognition and multiple choice.
    """
    path = Path(folder) / f"{name}.jsonl"
    for k in range(0, len(questions), PART):
        rows = list(open_rows(questions[k : k + PART], words, left_out, size, side))
        if rows:
            predict(load, rows, path, fingerprint=fingerprint, max_new_tokens=max_new_tokens,
                    batch_size=batch_size, title=f"{title} {k + 1}-{k + len(rows)}")
        if rows and likelihood and PartialState().is_main_process:
            _keep_scores(load, rows, path.with_suffix(".scores.jsonl"), fingerprint, batch_size)
