"""Controls: the same questions with one part changed, to show what a score depends on.

    absent   concept absent    the references stay, the image shows other concepts: no name is
                               expected
    wrong    wrong reference   each name is shown with another concept's image and info: no name is
                               expected, and the answer to recognition is no
    none     no reference      no reference is shown: what is right now was right without them
    blind    no image          nor is the image asked about: words alone

RePIC's model (2506.18369) writes the name in 54-64 % of captions when given a wrong reference.
Each control maps questions to questions; those it has no change for are skipped.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from benchmarks.harness.benchmark import Question
from concepts.methods.prompting import MULTIPLE_CHOICE
from concepts.methods.protocol import Reference
from data_gen.files.errors import InputError
from data_gen.rows import ICT, OCT
from rewards.names import name_key

TITLES = {
    "absent": "concept absent",
    "wrong": "wrong reference",
    "none": "no reference",
    "blind": "no reference, no image",
}
"""Control -> its label in tables."""


def concept_absent(questions: Sequence[Question], seed: int = 0) -> list[Question]:
    """Captions asked for of an image of other concepts.

    The image is drawn from the questions none of whose names is given here; where there is none,
    the question is skipped.
    """
    found = []
    for question in questions:
        given = _given(question)
        others = [q for q in questions if q.image is not None and not _given(q) & given]
        if question.task == ICT and others:
            other = random.Random(f"{seed}-{question.id}").choice(others)
            found.append(
                replace(
                    question,
                    id=f"{question.id}-absent",
                    image=other.image,
                    names=(),
                    absent_names=question.names + question.absent_names,
                    source=f"{question.source}; image of {other.source}",
                )
            )
    return found


def wrong_reference(questions: Sequence[Question], seed: int = 0) -> list[Question]:
    """Each name with the image and the info of a concept that is not in the question.

    Recognition keeps its positives only, whose answer is no now; where too few others are there,
    a question is skipped.
    """
    everybody = {r.name: r for q in questions for r in q.references or ()}
    found = []
    for question in questions:
        given, references = _given(question), question.references or ()
        others = [name for name in everybody if name_key(name) not in given]
        few = not references or len(others) < len(references)
        if few or question.answer == "no" or question.task == MULTIPLE_CHOICE:
            continue
        donors = random.Random(f"{seed}-{question.id}").sample(others, len(references))
        found.append(
            replace(
                question,
                id=f"{question.id}-wrong",
                names=(),
                absent_names=question.names + question.absent_names,
                answer="no" if question.task == OCT else question.answer,
                references=tuple(
                    _disguised(everybody[donor], reference.name)
                    for donor, reference in zip(donors, references, strict=True)
                ),
                source=f"{question.source}; reference of {', '.join(donors)}",
            )
        )
    return found


def no_reference(questions: Sequence[Question], seed: int = 0) -> list[Question]:
    """The questions alone; expected names stay expected. Those without references are skipped."""
    return [replace(q, id=f"{q.id}-none", references=()) for q in questions if q.references]


def no_image(questions: Sequence[Question], seed: int = 0) -> list[Question]:
    """Neither references nor the image asked about; questions that show neither are skipped."""
    return [
        replace(q, id=f"{q.id}-blind", references=(), image=None)
        for q in questions
        if q.references or q.image is not None
    ]


CONTROLS: dict[str, Callable[..., list[Question]]] = {
    "absent": concept_absent,
    "wrong": wrong_reference,
    "none": no_reference,
    "blind": no_image,
}

SENSIBLE = {
    ICT: ("absent", "wrong", "none"),
    OCT: ("wrong", "none"),
    MULTIPLE_CHOICE: ("none", "blind"),
}
"""Task -> its controls. Recognition has its own absent concepts, the negatives."""


def control_sets(
    questions: Sequence[Question], names: Sequence[str], seed: int = 0
) -> dict[str, list[Question]]:
    """The questions under each control, without the controls of no use (no question left).

    Args:
        questions: of one task.
        names: which controls.
        seed: of the draws.

    Raises:
        InputError: a control that this task does not have.
    """
    sensible = SENSIBLE[questions[0].task]
    if unknown := [name for name in names if name not in sensible]:
        raise InputError(
            f"{questions[0].task} has no control {unknown[0]!r}; it has {', '.join(sensible)}"
        )
    found = {name: CONTROLS[name](questions, seed) for name in names}
    return {name: of for name, of in found.items() if of}


def _given(question: Question) -> set[str]:
    names = {*question.names, *question.absent_names, *(r.name for r in question.references or ())}
    return {name_key(name) for name in names}


def _disguised(donor: Reference, name: str) -> Reference:
    """A concept under another's name, in the info too."""
    info = donor.info and donor.info.replace(f"<{donor.name}>", f"<{name}>")
    return Reference(name, donor.image, info)
