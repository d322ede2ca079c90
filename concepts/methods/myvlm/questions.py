"""The ten questions that a concept's vector is trained on: ``questions.yaml``, or one like it."""

from functools import cache
from pathlib import Path

from concepts.concept import Concept
from data_gen.files.errors import InputError
from data_gen.files.settings import read_yaml

QUESTIONS = Path(__file__).parent / "questions.yaml"

PERSONS = ("person", "man", "woman", "boy", "girl", "child", "baby")
"""Categories of concepts that are persons."""


@cache
def load_questions(name: str = "") -> dict[str, tuple[str, ...]]:
    """Questions of things and of persons, ``{name}`` standing for the concept.

    Args:
        name: a file; ``toybox`` for the words that the tiny base knows; empty for our own.

    Returns:
        ``thing`` and ``person`` -> questions.

    Raises:
        InputError: the file cannot be read, or lacks one of the two, or has another placeholder.
    """
    path = QUESTIONS if name in ("", "toybox") else Path(name)
    read = read_yaml(path)
    try:
        keys = dict.fromkeys(("thing", "person"), "toybox") if name == "toybox" else {}
        found = {kind: tuple(read[keys.get(kind, kind)]) for kind in ("thing", "person")}
        for question in (question for of in found.values() for question in of):
            question.format(name="")
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(
            f"questions {path} need lists 'thing' and 'person' of texts with no other placeholder "
            f"than {{name}} ({type(error).__name__}: {error}); see {QUESTIONS}"
        ) from None
    return found


def is_person(concept: Concept) -> bool:
    """Whether a concept's category is one of :data:`PERSONS`."""
    return concept.category.strip().casefold() in PERSONS
