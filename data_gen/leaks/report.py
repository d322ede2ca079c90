"""Which answers of a row set can be guessed, and from what: the table that ``--leaks`` prints.

Asked are: of tasks with a few answers, which one it is; of captions, whether any name is expected,
and of those that expect some of the names, which; of boxes, how many are hit without looking for
anybody. A policy that is rewarded learns the cheapest thing that tells: where a cue tells, it may
learn the cue and no recognition.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from data_gen.files.errors import InputError
from data_gen.leaks.cues import FILES as FILE_FACTS
from data_gen.leaks.cues import Cues, Encode, cues_of
from data_gen.leaks.guessing import (
    ENOUGH_ROWS,
    LEAST_ROWS,
    MARGIN,
    Guess,
    guess,
    guess_boxes,
    of_numbers,
    of_texts,
    of_vectors,
)
from data_gen.rows.contract import ICT, RowError, check_row
from data_gen.rows.reading import files_of, folder_of, stored_rows

COUNTS = "numbers and sizes"
FILES = "the query's file"
BESIDE = "its file beside the others'"
WORDS = "words of the prompt"
QUERY = "the query image"
PLACE = "place in the prompt, lengths"

MOST_ROWS = 20_000
"""Rows that are read at most: more make the bounds no sharper than they need to be."""


def find_leaks(rows: Iterable[dict], encode: Encode | None = None) -> list[Guess]:
    """How well the answers of rows can be guessed without comparing references and query.

    Args:
        rows: as they are stored or as a generator makes them.
        encode: query images -> vectors; ``None`` leaves the query image out.

    Returns:
        A guess per question and cue; questions with fewer than :data:`LEAST_ROWS` rows are left
        out.
    """
    of_task: dict[str, list[Cues]] = {}
    for cues in cues_of(rows, encode):
        of_task.setdefault(cues.task, []).append(cues)
    found: list[Guess] = []
    for task, cues in of_task.items():
        answered = [c for c in cues if c.answer is not None]
        found += _from_all(f"{task}: the answer", answered, [str(c.answer) for c in answered])
        if task == ICT:
            asked = [c for c in cues if c.expected]
            expected = ["some" if any(c.expected) else "none" for c in asked]
            found += _from_all(f"{task}: is a name expected?", asked, expected)
            found += _which_name(task, asked)
        boxed = [c for c in cues if c.box is not None]
        if len(boxed) >= LEAST_ROWS:
            found += guess_boxes(
                np.array([c.box for c in boxed]),
                np.stack([c.query for c in boxed]),
                [c.seen for c in boxed],
            )
    return found


def rows_in(path: str | Path, most: int = MOST_ROWS) -> Iterator[dict]:
    """The good rows of a set, a directory of files or one file; at most ``most``, from all files
    alike.

    Raises:
        FileNotFoundError: there is no file of rows.
    """
    files = files_of(path)
    for file in files:
        rows = islice(stored_rows(file), -(-most // len(files)))
        for row in rows:
            if isinstance(row, RowError):
                continue
            try:
                check_row(row, str(file), folder_of(path))
            except RowError:
                continue
            yield row


def text(guesses: list[Guess]) -> str:
    """The guesses as a table, and a sentence on what they say.

    Raises:
        InputError: there are none.
    """
    if not guesses:
        raise InputError(
            f"no question has {LEAST_ROWS} rows; nothing can be said of what can be guessed"
        )
    width = max(len(g.question) for g in guesses)
    lines = [f"{'what is asked':{width}}  {'guessed from':28}   rows  prior   right  [95 %]"]
    lines += [
        f"{g.question:{width}}  {g.cue:28} {g.rows:6,}  {g.prior:5.1%}   {g.right:5.1%}"
        f"  [{g.low:.1%}, {g.high:.1%}]{'  LEAK' if leak(g) else ''}"
        for g in guesses
    ]
    leaks = [g for g in guesses if leak(g)]
    few = sorted({g.question for g in guesses if g.rows < ENOUGH_ROWS})
    if few:
        lines.append(
            f"fewer than {ENOUGH_ROWS:,} rows, a small leak can be missed: {'; '.join(few)}"
        )
    for question in sorted({g.question for g in guesses if g.prior > 0.95 and not _is_box(g)}):
        lines.append(f"{question} has nearly always the same answer: it can be given unseen")
    lines.append(
        f"{len(leaks)} of {len(guesses)} guesses are more than {MARGIN:.0%} above the prior: "
        + ("; ".join(f"{g.question} from {g.cue}" for g in leaks) or "none")
    )
    return "\n".join(lines)


def leak(found: Guess) -> bool:
    """Whether a guess is a fault of the rows; that an image shows where something stands is
    none."""
    return found.leaks and not _is_box(found)


def _is_box(found: Guess) -> bool:
    return found.question.startswith("box ")


def _from_all(question: str, cues: list[Cues], answers: list[str]) -> list[Guess]:
    """From each kind of cue."""
    if len(cues) < LEAST_ROWS:
        return []
    shown, seen = [c.shown for c in cues], [c.seen for c in cues]
    files, n_facts = np.array([c.files for c in cues]), len(FILE_FACTS)
    found = [
        guess(question, COUNTS, np.array([c.counts for c in cues]), answers, shown, of_numbers),
        guess(question, FILES, files[:, :n_facts], answers, seen, of_numbers),
        guess(question, BESIDE, files[:, n_facts:], answers, seen, of_numbers),
        guess(question, WORDS, [c.words for c in cues], answers, shown, of_texts),
    ]
    if all(len(c.query) for c in cues):
        vectors = np.stack([c.query for c in cues])
        found.append(guess(question, QUERY, vectors, answers, seen, of_vectors))
    return found


def _which_name(task: str, cues: list[Cues]) -> list[Guess]:
    """Of rows that expect some of their names: whether a name is one of these."""
    features, answers, groups = [], [], []
    for i, c in enumerate(cues):
        if not 0 < sum(c.expected) < len(c.expected):
            continue
        # One name of each row, so that the others of the row tell nothing.
        n = i % len(c.expected)
        features.append([n, n / len(c.expected), *c.names[n]])
        answers.append("expected" if c.expected[n] else "not")
        groups.append(c.shown)
    if len(features) < LEAST_ROWS:
        return []
    question = f"{task}: is this name?"
    return [guess(question, PLACE, np.array(features), answers, groups, of_numbers)]
