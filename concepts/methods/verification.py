"""The policy's own word on what was found: is this thing really in the picture?

Each candidate's first picture and the query are put to the policy as an object-consistency
question, the very task it is trained on, and its answer is read off the probabilities of the first
token: ``p(yes) / (p(yes) + p(no))`` (R2P 2503.18623 verifies candidates so, one by one). Wrong
references are dropped before anything is written about them.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from accelerate import PartialState
from PIL import Image

from benchmarks.harness.question import Question
from concepts.database import Database
from concepts.methods.retrieval_cache import found_once, stamp
from concepts.retrieval import Found
from data_gen.files.skipped import LeftOut, leave
from data_gen.images.features import PHOTO_PX
from data_gen.images.photos import PhotoError, open_photo
from data_gen.tasks.questions import Reference, object_consistency_row
from rl.policy.likelihood import yes_probabilities


def verify(
    model, processor, image: Image.Image, found: Sequence[Found], database: Database, *,
    threshold: float = 0.5, batch_size: int = 8,
) -> tuple[list[Found], list[Found]]:
    """Ask the policy about each concept found, and drop those it does not see.

    Names written in the question are asked about too: a user may ask for what is not there.

    Args:
        image: the query.
        found: from :meth:`concepts.retrieval.Retriever.retrieve`.
        database: where their pictures are.
        threshold: least p(yes) that keeps a concept.

    Returns:
        Kept and dropped, each with ``p_yes``. A concept whose picture cannot be opened any more,
        or that has left the database, is dropped without having been asked about.
    """
    concepts = database.concepts()
    shown, asked, gone = [], [], []
    for one in found:
        concept = concepts.get(one.name)
        try:
            if concept is None or not concept.images:
                raise PhotoError("no picture")
            picture = open_photo(database.picture(concept.images[0]), PHOTO_PX)
        except PhotoError:
            gone.append(one)
            continue
        shown.append((one.name, picture))
        asked.append(one)
    sure = sure_of(model, processor, image, shown, batch_size=batch_size)
    told = [replace(one, p_yes=p) for one, p in zip(asked, sure, strict=True)]
    return ([one for one in told if one.p_yes >= threshold],
            [one for one in told if one.p_yes < threshold] + gone)


def sure_of(
    model, processor, image: Image.Image, shown: Sequence[tuple[str, Image.Image]], *,
    batch_size: int = 8,
) -> list[float]:
    """How sure the policy is that each of the things shown, (name, picture), is in ``image``:
    p(yes) / (p(yes) + p(no)), 0-1."""
    # The wording is drawn with a fixed seed: the same question always.
    rows = [object_consistency_row(random.Random(0), name, Reference(picture, name),
                                   image.convert("RGB"), same=True, source="verify")
            for name, picture in shown]
    return yes_probabilities(model, processor, rows, batch_size=batch_size)


SET = "naming_verified"


FILE = "verified.json"
"""Beside a policy's predictions: question -> names it kept."""


def to_verify(questions: Sequence[Question]) -> list[Question]:
    """The questions with found references, under ids of their own."""
    return [replace(q, id=f"{q.id.removesuffix('-found')}-verified") for q in questions]


def verified_questions(
    load: Callable, questions: Sequence[Question], folder: Path, left_out: LeftOut, *,
    fingerprint: str, threshold: float, batch_size: int, size: int, side: str, title: str,
) -> list[Question]:
    """The questions with the references that a policy keeps; asked once, by the first process.

    Args:
        load: gives ``(model, processor)``.
        questions: of :func:`to_verify`.
        folder: of the policy's predictions.
        left_out: is given the questions a picture of which does not open.
        fingerprint: of the policy.
        threshold: least p(yes) that keeps a reference.
        batch_size: references per call of the model.
        size, side: see :func:`benchmarks.harness.question.open_rows`.
        title: of the bar.
    """
    by_id = {question.id: question for question in questions}

    def find(key: str) -> list[str] | None:
        question = by_id[key]
        try:
            picture = open_photo(question.query, size, side)
            shown = [(r.name, open_photo(r.image, size, side)) for r in question.references]
        except PhotoError as reason:
            leave(left_out, f"picture that does not open: {reason}", key)
            return None
        sure = sure_of(*load(), picture, shown, batch_size=batch_size)
        return [name for (name, _), p in zip(shown, sure, strict=True) if p >= threshold]

    pictures = {key: stamp(q.query, *(part for r in q.references for part in (r.name, r.image)))
                for key, q in by_id.items()}
    with PartialState().main_process_first():
        kept = found_once(folder / FILE, f"{fingerprint}-{threshold:g}-{size}-{side}", pictures,
                          find, title)
    return [replace(question, references=tuple(
        r for r in question.references if r.name in kept[question.id]))
        for question in questions if question.id in kept]
