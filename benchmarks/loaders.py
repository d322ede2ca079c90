"""Published benchmarks from their files: naming, recognition and questions.

    naming        RePIC queries: {picture: ["<a>", "<b>"]}; with four concepts {picture: [[...]]}
                  DreamBooth folders: <subject>/NN.jpg, the first photo being the reference
    recognition   RAP: [{"image", "question", "concept", "type", "correct_answer"}, ...]
                  Yo'LLaVA: {picture: [{"Human", "AI"}, ...]}; DreamBooth folders
    choices       Yo'LLaVA, visual: {concept: {picture: {"question", "options", "correct_answer"}}}
                  text: {concept: {"0": {"question", "option", "correct_answer"}}}

Localization comes from detection sets (:mod:`benchmarks.localization_run`). What is wrong with an
entry, or missing on disk, is counted and named; a benchmark of which nothing is left is an error.
"""

import random
from collections import Counter
from pathlib import Path

from benchmarks.entries import choice_entry, exchange, name_groups, recognition_entry
from benchmarks.files import (
    BenchmarkError,
    LeftOut,
    bare,
    find_picture,
    is_name,
    leave,
    left_out_line,
    read_json,
    shown,
)
from benchmarks.questions import QA, Benchmark, Question, Reference, named
from benchmarks.references import References
from data_gen.rows import ICT, OCT
from data_gen.subjects import scan

_GONE = "picture missing on disk"


def naming_questions(
    queries: str | Path,
    database: str | Path | None,
    images: dict[str, str | Path],
    words: dict,
    *,
    pictures: str | None = None,
) -> Benchmark:
    """Captions to write, with the true references handed over (skip-retrieval).

    Args:
        queries: RePIC's file.
        database: where references, names and info come from.
        images: beginning of published paths -> folder, see :func:`benchmarks.files.find_picture`.
        words: prompt templates, for the requests; they take turns.
        pictures: see :class:`benchmarks.references.References`; a query that is its own reference
            is left out.

    Raises:
        BenchmarkError: nothing usable is left.
    """
    left_out: LeftOut = {}
    data = _object(queries, left_out, "{picture: [names]}")
    references = References(database, images, pictures, left_out)
    asked, found, seen = words[ICT]["requests"], [], set()
    groups = [(path, group) for path, names in data.items() for group in name_groups(names)]
    for i, (path, group) in enumerate(groups):
        if not group or not all(map(is_name, group)):
            leave(left_out, "picture without names", shown(path))
            continue
        names = [bare(name) for name in group]
        query, given = find_picture(path, images), references.of(names)
        if len({name.casefold() for name in names}) < len(names):
            leave(left_out, "name that is given twice", shown(path))
        elif (path, tuple(names)) in seen:
            leave(left_out, "picture with the same names again", shown(path))
        elif query is None:
            leave(left_out, _GONE, shown(path))
        elif isinstance(given, str):
            leave(left_out, given, f"{shown(path)}: {', '.join(map(shown, names))}")
        elif any(reference.image.samefile(query) for reference in given):
            leave(left_out, "query that is its own reference", shown(path))
        else:
            seen.add((path, tuple(names)))
            found.append(Question(f"{Path(queries).stem}-{i}", ICT, asked[i % len(asked)], query,
                                  given, tuple(names), source=f"{Path(queries).name}: {path}"))
    return _benchmark(found, left_out, queries)


def dreambooth_questions(root: str | Path, words: dict, task: str = ICT) -> Benchmark:
    """Captions to write, or yes-or-no questions, about ``<subject>/NN.jpg``: a subject's first
    photo is its reference, the others are asked about.

    Each photo is asked about once with its own subject and, for recognition, once with another,
    drawn by the photo's name: half of the questions are to be answered no.
    """
    left_out: LeftOut = {}
    try:
        subjects, left = scan(root, keep=Path(root) / "prompts_and_classes.txt")
    except OSError as error:
        raise BenchmarkError(f"{root} cannot be listed ({error.strerror})") from None
    # What systems and authors put beside the subjects is no loss.
    left_out.update({reason: where for reason, where in left.items()
                     if reason not in ("hidden", "beside the subjects' folders")})
    asked, found = words[task]["requests"], []
    first = {s.name: Reference(s.name, s.photos[0]) for s in subjects if is_name(s.name)}
    for subject in subjects:
        for photo in subject.photos[1:] if subject.name in first else []:
            place = f"{subject.name}/{photo.name}"
            others = [name for name in first if name != subject.name]
            asks = [(subject.name, "yes")]
            if task == OCT and others:
                asks.append((random.Random(place).choice(others), "no"))
            for name, answer in asks:
                request = asked[len(found) % len(asked)].format(name=f"<{name}>")
                found.append(Question(
                    f"{place}-{name}", task, request, photo, (first[name],),
                    (name,) if task == ICT else (), source=f"dreambooth: {place}",
                    answer=answer if task == OCT else None))
    return _benchmark(found, left_out, root)


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
            leave(left_out, _GONE, where)
        elif isinstance(given, str):
            leave(left_out, given, f"{where}: {shown(name)}")
        else:
            seen.add((image, name, request))
            found.append(Question(f"{Path(path).stem}-{i}", OCT, request, query, given,
                                  answer=answer, source=f"{Path(path).name}: row {i}"))
    return _benchmark(found, left_out, path)


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
                leave(left_out, _GONE, where)
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


def _object(path, left_out: LeftOut, form: str) -> dict:
    data = read_json(path, left_out)
    if not isinstance(data, dict):
        raise BenchmarkError(f"{path}: expected an object {form}, found {type(data).__name__}")
    return data


def _benchmark(found: list[Question], left_out: LeftOut, path) -> Benchmark:
    if not found:
        raise BenchmarkError(f"{path}: no question is left to ask; "
                             f"{left_out_line(left_out) or 'it is empty'}")
    # The same id would be answered once and counted twice.
    twice = [i for i, n in Counter(q.id for q in found).items() if n > 1]
    assert not twice, twice[:3]
    return Benchmark(found, left_out)
