"""Multiple choice about an image, or about words only."""

import random
from pathlib import Path
from typing import Any

from benchmarks.formats.files import (
    bare,
    find_picture,
    is_name,
)
from benchmarks.harness.question import QA, Benchmark, Question
from benchmarks.published.loading import MISSING_IMAGE, References, _benchmark, _object
from benchmarks.published.recognition import named
from data_gen.files.json_stream import is_text
from data_gen.files.skipped import LeftOut, leave, shown


def choice_questions(
    path: str | Path,
    database: str | Path | None,
    images: dict[str, str | Path],
    *,
    pictures: str | None = None,
    seed: int = 0,
    visual: bool | None = None,
) -> Benchmark:
    """Multiple choice about a picture, or about words only; options in an order that the seed and
    the question draw (97.5 % of the released text answers are A).

    Args:
        path: Yo'LLaVA's visual or text questions.
        database, images, pictures: as in :func:`recognition_questions`.
        seed: of the order of options.
        visual: whether keys are pictures that must be there; ``None``: they are, unless they are
            numbers.

    Raises:
        BenchmarkError: nothing usable is left.
    """
    left_out: LeftOut = {}
    data = _object(path, left_out, "{concept: {picture or number: question}}")
    references = References(database, images, pictures, left_out)
    found = []
    for name, entries in data.items():
        if not is_name(name) or not isinstance(entries, dict):
            leave(left_out, "concept without questions", shown(name))
            continue
        name = bare(name)
        for key, entry in entries.items():
            where = f"{shown(name)}: {shown(key)}"
            read, given = choice_entry(entry), references.of([name])
            pictured = not key.strip().isdigit() if visual is None else visual
            query = find_picture(key, images) if pictured else None
            if isinstance(read, str):
                leave(left_out, read, where)
            elif pictured and query is None:
                leave(left_out, MISSING_IMAGE, where)
            elif isinstance(given, str):
                leave(left_out, given, where)
            else:
                request, options, correct = read
                order = list(range(len(options)))
                random.Random(f"{seed}-{name}-{key}").shuffle(order)
                found.append(Question(
                    f"{Path(path).stem}-{name}-{key}", QA, named(request, name), query, given,
                    options=tuple(options[k] for k in order), correct=order.index(correct),
                    source=f"{Path(path).name}: {where}"))
    return _benchmark(found, left_out, path)


MOST_OPTIONS = 26


def choice_entry(entry: Any) -> tuple[str, list[str], int] | str:
    """Question, options and the place of the right one; or what is wrong."""
    if not isinstance(entry, dict) or not is_text(entry.get("question")):
        return "question without words"
    options = entry.get("options", entry.get("option"))
    if not isinstance(options, dict) or not 2 <= len(options) <= MOST_OPTIONS:
        return "question without options"
    texts = [text.strip() if is_text(text) else "" for text in options.values()]
    if not all(texts) or len({text.casefold() for text in texts}) < len(texts):
        return "options that are empty or alike"
    if entry.get("correct_answer") not in list(options):
        return "right answer that is no option"
    return entry["question"], texts, list(options).index(entry["correct_answer"])
