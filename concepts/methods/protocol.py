"""Queries and replies: what a personalization method is asked, and what it returns.

A *method* is how a policy comes to know a user's concepts. The evaluation loop hands it queries,
which hold no truth, and keeps its replies; a benchmark's question (:mod:`benchmarks.harness`) is a
query with its truth.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from data_gen.tasks.questions import Reference


@dataclass(frozen=True)
class Query:
    """What a system is asked.

    Args:
        id: differs for every query of a set.
        task: a name of ``data_gen.tasks.table.TASKS``, or ``multiple_choice``.
        text: the question, in words.
        image: what is asked about, a file or an opened image; ``None`` for words alone.
        references: concepts that are handed over, in the order in which they are shown; ``None``:
            the system finds them itself.
        options: what there is to choose from.
        k: how many concepts the protocol lets a system retrieve; ``None``: the system's own number.
        prompt: the whole conversation where the benchmark has written it already, with a
            placeholder for each reference and then one for ``image``.
    """

    id: str
    task: str
    text: str = ""
    image: Path | Image.Image | None = None
    references: tuple[Reference, ...] | None = ()
    options: tuple[str, ...] = ()
    k: int | None = None
    prompt: list[dict[str, Any]] | None = None


@dataclass(frozen=True)
class Evidence:
    """Why a concept was used for a reply, or was not.

    Args:
        name: the concept's.
        similarity: cosine of its nearest image to the query; ``None`` where its name was in the
            question, or it was handed over.
        p: the policy's p(yes) that it is in the image, where it was asked; 0-1.
        used: whether its reference stood in the prompt.
    """

    name: str
    similarity: float | None = None
    p: float | None = None
    used: bool = True


@dataclass(frozen=True)
class Reply:
    """What a system answers to one query.

    Args:
        id: the query's.
        text: the completion without special tokens.
        n_tokens: its length as the naming rewards count it: without end, padding and other special
            tokens, and blanks beyond four in a row add nothing.
        box_frame: [width, height] of the frame in which the policy writes boxes; ``None`` where no
            box is asked for.
        concepts: the concepts that were retrieved, the most similar first, and what became of each;
            empty where references were handed over.
    """

    id: str
    text: str
    n_tokens: int
    box_frame: list[float] | None = None
    concepts: tuple[Evidence, ...] = ()
