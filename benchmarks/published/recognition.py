"""Recognition: is the concept in the image?"""

import re
from pathlib import Path
from typing import Any

from benchmarks.formats.files import (
    bare,
    find_picture,
    is_name,
    read_json,
)
from benchmarks.harness.question import Benchmark, Question
from benchmarks.published.loading import MISSING_IMAGE, References, _benchmark
from data_gen.files.json_stream import is_text
from data_gen.files.settings import BenchmarkError
from data_gen.files.skipped import LeftOut, leave, shown
from data_gen.rows import OCT

_SKS = re.compile(r"<sks>|\bsks\b")


def named(text: str, name: str) -> str:
    """A question of a file about a thing: without picture placeholder, and with the thing's name
    in place of ``sks``, as Yo'LLaVA writes all its things."""
    return _SKS.sub(lambda _: f"<{name}>", text.replace("<image>", "").strip())


def exchange(turn: Any) -> dict:
    """One of Yo'LLaVA's exchanges as an entry of RAP's list."""
    if not isinstance(turn, dict) or not is_text(turn.get("Human")) or not is_text(turn.get("AI")):
        return {}
    said = turn["AI"].strip().lower()
    answer = next((word for word in ("yes", "no") if said.startswith(word)), None)
    return {"question": turn["Human"], "correct_answer": answer}


def recognition_entry(entry: Any) -> tuple[str, str, str, str] | str:
    """Picture, question, bare name and answer; or what is wrong."""
    if not isinstance(entry, dict) or not is_text(entry.get("image")):
        return "row without a picture"
    if not is_text(entry.get("question")):
        return "row without a question"
    concept = entry.get("concept")
    if concept is None:
        tags = entry["question"].replace("<image>", "").partition("<")[2].partition(">")
        concept = tags[0] if tags[1] else None
    if not is_name(concept):
        return "row without a concept"
    answer = entry.get("correct_answer")
    if isinstance(answer, str):
        answer = {"yes": True, "no": False}.get(answer.strip().lower().rstrip("."))
    if not isinstance(answer, bool):
        return "answer that is neither yes nor no"
    kind = entry.get("type")
    if kind is not None and kind != ("positive" if answer else "negative"):
        return "type that contradicts the answer"
    name = bare(concept)
    return entry["image"], named(entry["question"], name), name, "yes" if answer else "no"


def recognition_questions(
    path: str | Path,
    database: str | Path | None,
    images: dict[str, str | Path],
    *,
    pictures: str | None = None,
) -> Benchmark:
    """Whether somebody is in a picture: RAP's list, or Yo'LLaVA's conversations.

    RAP's released list asks 333 questions twice, the second time with a type that contradicts its
    answer; rows of such a type are left out, and so is every other question asked twice.

    Args:
        path: either file.
        database, images, pictures: as in :func:`naming_questions`; without database and pattern no
            reference is shown.

    Raises:
        BenchmarkError: nothing usable is left.
    """
    left_out: LeftOut = {}
    data = read_json(path, left_out)
    references = References(database, images, pictures, left_out)
    if isinstance(data, dict):
        data = [{"image": image, **exchange(turn)} for image, turns in data.items()
                for turn in (turns if isinstance(turns, list) else [turns])]
    if not isinstance(data, list):
        raise BenchmarkError(f"{path}: expected a list of questions or an object of conversations, "
                             f"found {type(data).__name__}")
    found, seen = [], set()
    for i, entry in enumerate(data):
        where = f"row {i}"
        read = recognition_entry(entry)
        if isinstance(read, str):
            leave(left_out, read, where)
            continue
        image, request, name, answer = read
        query, given = find_picture(image, images), references.of([name])
        where += f": {shown(image)}"
        if (image, name, request) in seen:
            leave(left_out, "question that is asked twice", where)
        elif query is None:
            leave(left_out, MISSING_IMAGE, where)
        elif isinstance(given, str):
            leave(left_out, given, f"{where}: {shown(name)}")
        else:
            seen.add((image, name, request))
            found.append(Question(f"{Path(path).stem}-{i}", OCT, request, query, given,
                                  answer=answer, source=f"{Path(path).name}: row {i}"))
    return _benchmark(found, left_out, path)
