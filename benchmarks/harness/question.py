"""What a published benchmark asks, before pictures are opened, and how it becomes a row.

A question keeps its parts apart (references, picture, words), so that the controls can change one
part and leave the others. As a row it keeps the row contract (:mod:`data_gen.rows.contract`), with
further columns: ``options`` and ``correct`` for multiple choice.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from concepts.methods.prompting import QA, as_row  # noqa: F401
from concepts.methods.protocol import Reference
from data_gen.files.skipped import LeftOut, leave
from data_gen.images.photos import PhotoError, open_photo
from data_gen.rows import RowError, check_row


@dataclass(frozen=True)
class Question:
    """One question of a benchmark.

    Args:
        id: differs for every question of a benchmark.
        task: ``identity_consistency``, ``object_consistency`` or ``multiple_choice``.
        request: what is asked, in words.
        query: file of the picture that is asked about; ``None`` for questions about words only.
        references: in the order in which they are shown.
        names, absent_names, answer: as in the row contract.
        options: what there is to choose from, in the order in which it is shown.
        correct: place of the right one in ``options``.
        source: file and place.
    """

    id: str
    task: str
    request: str
    query: Path | None = None
    references: tuple[Reference, ...] = ()
    names: tuple[str, ...] = ()
    absent_names: tuple[str, ...] = ()
    answer: str | None = None
    options: tuple[str, ...] = ()
    correct: int | None = None
    source: str = ""


@dataclass(frozen=True)
class Benchmark:
    """Questions of one task, and what was left out, by reason."""

    questions: list[Question]
    left_out: LeftOut


def open_rows(
    questions: Iterable[Question], words: dict, left_out: LeftOut, size: int = 512,
    side: str = "long",
) -> Iterator[dict]:
    """The rows with their pictures opened, RGB, one after the other.

    Args:
        questions: of a benchmark.
        words: of :func:`load_words`.
        left_out: is given the questions whose pictures do not open.
        size: largest length of the bounded side, in pixels.
        side: which side ``size`` bounds: ``long`` or ``short``.
    """
    opened = lru_cache(64)(lambda path: open_photo(path, size, side))
    for question in questions:
        row = as_row(question, words)
        path = ""
        try:
            pictures = []
            for path in (image["path"] for image in row["images"]):
                pictures.append(opened(path))
            row["images"] = pictures
            check_row(row, question.source)
        except PhotoError as reason:
            leave(left_out, f"picture that does not open: {reason}", f"{question.id}: {path}")
        except RowError as error:
            leave(left_out, error.kind, question.id)
        else:
            yield row
