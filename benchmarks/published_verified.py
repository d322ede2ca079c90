"""Found references that the policy itself has looked at: those it does not see are dropped before a
caption is asked for (R2P 2503.18623 verifies one by one; see :mod:`concepts.verify`).

    retrieval: {encoder: imagenet, verify: 0.5}     # least p(yes) that keeps a reference

Every policy drops others, so each has questions of its own under the same ids. What is due, and
what counts as wrong, stays as it is where nothing was dropped.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from accelerate import PartialState

from benchmarks.files import LeftOut, leave
from benchmarks.found import found_once, read_found, stamp
from benchmarks.intervals import Metric, ratio
from benchmarks.questions import Question
from concepts.verify import sure_of
from data_gen.photos import PhotoError, open_photo

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
        size, side: see :func:`benchmarks.questions.open_rows`.
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


def verified_metrics(questions: Sequence[Question], folder: Path) -> dict[str, Metric]:
    """What a policy's looking was worth.

    Returns:
        ``kept_right`` (share of right references that it kept) and ``dropped_wrong`` (share of
        wrong ones that it dropped), 0-1.
    """
    known = read_found(folder / FILE)
    kept = [set(known.get(question.id, ())) for question in questions]
    wrong = [{r.name for r in q.references} & set(q.absent_names) for q in questions]
    right = [{r.name for r in q.references} - of for q, of in zip(questions, wrong, strict=True)]
    return {
        "kept_right": ratio([len(k & of) for k, of in zip(kept, right, strict=True)],
                            [len(of) for of in right]),
        "dropped_wrong": ratio([len(of - k) for k, of in zip(kept, wrong, strict=True)],
                               [len(of) for of in wrong]),
    }
