"""What a published benchmark asks, before pictures are opened, and how it becomes a row.

A question keeps its parts apart (references, picture, words), so that the controls can change one
part and leave the others. As a row it keeps the row contract (:mod:`data_gen.contract`), with
further columns: ``options`` and ``correct`` for multiple choice.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from string import ascii_uppercase

import yaml

from benchmarks.files import BenchmarkError, LeftOut, leave
from data_gen.photos import PhotoError, open_photo
from data_gen.rows import ICT, OCT, RowError, check_row

QA = "multiple_choice"
"""Beside the contract's own, the task of multiple-choice rows."""

PROMPTS = Path(__file__).parents[1] / "configs" / "prompts" / "published.yaml"

_NEEDED = {ICT: ("system", "reference", "query", "requests"),
           OCT: ("system", "reference", "query", "requests"),
           QA: ("system", "reference", "query", "option")}
_SKS = re.compile(r"<sks>|\bsks\b")
_EXAMPLE = {"name": "<bo>", "info": "", "request": "", "options": "", "letter": "A", "text": ""}


@dataclass(frozen=True)
class Reference:
    """A thing as the user shows it: bare ``name``, picture file, and what is known about it."""

    name: str
    image: Path
    info: str | None = None


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


def load_words(path: str | Path | None = None) -> dict:
    """Prompt templates, ``{task: {"system", "reference", "query", ...}}``; our own by default.

    Raises:
        BenchmarkError: naming the file and the key that is missing or cannot be filled in.
    """
    path = path or PROMPTS
    try:
        words = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise BenchmarkError(f"{path} cannot be read ({error})") from None
    for task, keys in _NEEDED.items():
        for key in keys:
            value = words.get(task, {}).get(key) if isinstance(words, dict) else None
            try:
                for text in value if isinstance(value, list) else [value]:
                    text.format(**_EXAMPLE)
            except (AttributeError, KeyError, IndexError, ValueError):
                value = None
            if not value:
                raise BenchmarkError(f"{path}: '{task}' needs '{key}', a text with no other "
                                     f"places than those of {PROMPTS.name}")
    return words


def as_row(question: Question, words: dict) -> dict:
    """A question under the row contract; pictures as paths, not opened.

    Args:
        question: one of the three tasks.
        words: of :func:`load_words`.
    """
    ours = words[question.task]
    parts: list[dict] = []
    for reference in question.references:
        parts.append({"type": "image", "text": None})
        parts.append({"type": "text", "text": ours["reference"].format(
            name=f"<{reference.name}>", info=reference.info or "").strip() + "\n"})
    if question.query:
        parts.append({"type": "image", "text": None})
    options = "\n".join(ours["option"].format(letter=letter, text=text) for letter, text in
                        zip(ascii_uppercase, question.options, strict=False))
    parts.append({"type": "text", "text": ours["query"].format(request=question.request,
                                                               options=options).strip()})
    files = [reference.image for reference in question.references]
    files += [question.query] if question.query else []
    return {
        "id": question.id, "task": question.task,
        "prompt": [{"role": "system", "content": [{"type": "text", "text": ours["system"]}]},
                   {"role": "user", "content": parts}],
        "images": [{"bytes": None, "path": str(file)} for file in files],
        "answer": question.answer, "box": None, "names": list(question.names),
        "absent_names": list(question.absent_names), "source": question.source,
        "options": list(question.options), "correct": question.correct,
    }


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


def named(text: str, name: str) -> str:
    """A question of a file about a thing: without picture placeholder, and with the thing's name
    in place of ``sks``, as Yo'LLaVA writes all its things."""
    return _SKS.sub(lambda _: f"<{name}>", text.replace("<image>", "").strip())
