"""How Yo'LLaVA words what it trains on and asks: a YAML file, ``phrasings.yaml`` by default."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from data_gen.files.errors import InputError
from data_gen.files.settings import read_yaml

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Phrasings:
    """Texts with ``{name}`` for the concept's tag, such as ``<bo>``.

    Attributes:
        personal: the personal prompt; also with ``{tokens}``.
        recognize: the question by which a concept is recognized; its answer begins with yes or no.
        explain: the question by which it is recognized with reasons before the yes or no.
        positive, negative: (question, answer) about pictures that show it, and that do not.
        persons: categories of concepts that are persons.
        person, thing: questions about a concept that need no picture once it is known.
        introduction: what comes before such a question when the policy itself answers it with a
            photo of the concept.
        subject: what the concept is called there; in answers, the tag takes its place.
    """

    personal: str
    recognize: str
    explain: str
    positive: tuple[tuple[str, str], ...]
    negative: tuple[tuple[str, str], ...]
    persons: tuple[str, ...]
    person: tuple[str, ...]
    thing: tuple[str, ...]
    introduction: str
    subject: str


@cache
def load_phrasings(name: str = "") -> Phrasings:
    """Read phrasings.

    Args:
        name: a file; ``toybox`` for the words that the tiny base knows; empty for our own.

    Raises:
        InputError: the file cannot be read, or lacks something: what.
    """
    shipped = {"": "phrasings.yaml", "toybox": "phrasings_toybox.yaml"}
    path = FOLDER / shipped[name] if name in shipped else Path(name)
    read: Any = read_yaml(path)
    try:
        found = Phrasings(
            personal=read["personal"],
            recognize=read["recognize"],
            explain=read["explain"],
            positive=_pairs(read["positive"]),
            negative=_pairs(read["negative"]),
            persons=tuple(read["traits"]["persons"]),
            person=tuple(read["traits"]["person"]),
            thing=tuple(read["traits"]["thing"]),
            introduction=read["traits"]["introduction"],
            subject=read["traits"]["subject"],
        )
        found.personal.format(name="", tokens="")
        for text in (
            found.recognize,
            found.explain,
            found.introduction,
            found.subject,
            *_texts(found),
        ):
            text.format(name="")
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(
            f"phrasings {path} lack something or hold another placeholder than {{name}} "
            f"({type(error).__name__}: {error}); see {FOLDER / shipped['']}"
        ) from None
    if not found.positive or not found.negative:
        raise InputError(f"phrasings {path} need at least one positive and one negative")
    return found


def _pairs(read) -> tuple[tuple[str, str], ...]:
    return tuple((question, answer) for question, answer in read)


def _texts(found: Phrasings) -> list[str]:
    pairs = (*found.positive, *found.negative)
    return [*(text for pair in pairs for text in pair), *found.person, *found.thing]
