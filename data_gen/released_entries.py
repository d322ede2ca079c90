"""Training rows as RePIC and RAP released them, one at a time: what a row says in our terms, or
what is wrong with it.

RePIC (2506.18369): {"image": path or [paths], "problem", "solution", "accu_reward_method"}, where
the method tells the solution's form: ``yes_no`` a word, ``yes_no_name`` a ``<name>``,
``yes_no_name_multi`` several, ``iou`` four pixel numbers of the last picture.

RAP (2410.13360): {"image": path, "conversations": [{"from": "human" or "gpt", "value"}, ...],
"extra": {path of a reference: {"name", "info", "category"}}}. The first exchange counts. A yes or
no to whether somebody is in the picture is object consistency, four numbers in the answer are
localization, and an answer that calls references by name is a caption.
"""

import re
from dataclasses import dataclass

from data_gen.json_stream import is_text
from data_gen.rows import ICT, OCT, VLT

TAG = re.compile(r"<([^<>/\n]{1,80})>")
NUMBERS = re.compile(r"\[\s*(-?[\d.]+)\s*,\s*(-?[\d.]+)\s*,\s*(-?[\d.]+)\s*,\s*(-?[\d.]+)\s*\]")
YES_NO = re.compile(r"\s*(yes|no)\b", re.I)

PRESENCE = (
    r"\b(see|spot|find|recogni[sz]e|identify|notice|detect)\b[^?]*{name}",
    r"\b(image|photo|picture|scene)\b[^?]*\b(show|contain|include|feature|depict|of\b)[^?]*{name}",
    r"\b(is|are)\s+{name}\s+(\w+\s+)?(in|present|visible|here|shown|depicted|part of)\b",
    r"\bdoes\s+{name}\s+(appear|show up)\b",
    r"\b(is|was)\s+(this|it|that)\b[^?]*{name}",
)
"""How questions ask whether somebody is there; other yes-or-no questions ask for traits."""


class Defect(ValueError):
    """A released row cannot be used. The message is the reason, in words that can be counted."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A released row.

    Args:
        task: one of the contract's three.
        images: paths of pictures, references first, the query last.
        texts: what is said before the first picture, between pictures, and behind the last one.
        answer, names, absent_names: as in the row contract.
        box: four numbers as released, or ``None``.
        target: the answer that was trained on, or ``None``.
    """

    task: str
    images: tuple[str, ...]
    texts: tuple[str, ...]
    answer: str | None = None
    box: tuple[float, ...] | None = None
    names: tuple[str, ...] = ()
    absent_names: tuple[str, ...] = ()
    target: str | None = None


def read_entry(item: dict) -> Entry:
    """A row of either kind.

    Raises:
        Defect: what is wrong with it.
    """
    if not isinstance(item, dict):
        raise Defect("row that is no object")
    if "conversations" in item:
        return _rap(item)
    if "problem" in item and "solution" in item:
        return _repic(item)
    raise Defect("row of unknown schema")


def tags(text: str) -> list[str]:
    """Names that a text writes as ``<name>``, in order, each once."""
    found = dict.fromkeys(name.strip() for name in TAG.findall(text))
    return [name for name in found if name and name.lower() != "image"]


# ---- RePIC ----


def _repic(item: dict) -> Entry:
    images = item.get("image")
    images = tuple(images) if isinstance(images, list) else (images,)
    if not images or not all(map(is_text, images)):
        raise Defect("row without a picture")
    problem, solution = item["problem"], item["solution"]
    if not is_text(problem):
        raise Defect("problem that is no text")
    texts = tuple(problem.split("<image>"))
    if len(texts) == 1:
        texts = ("",) * len(images) + texts  # its own training puts all pictures first
    if len(texts) != len(images) + 1:
        raise Defect("another number of pictures than of placeholders")
    method = item.get("accu_reward_method")
    if method == "yes_no":
        if not isinstance(solution, str) or solution.strip(" .\n").lower() not in ("yes", "no"):
            raise Defect("solution that is neither yes nor no")
        if len(images) < 2:
            raise Defect("yes or no about a single picture")
        return Entry(OCT, images, texts, answer=solution.strip(" .\n").lower())
    if method == "iou":
        return Entry(VLT, images, texts, box=_numbers(solution))
    if method in ("yes_no_name", "yes_no_name_multi"):
        written = solution if isinstance(solution, list) else [solution]
        if not written or not all(map(is_text, written)):
            raise Defect("solution that is no name")
        names = _distinct([name.strip().strip("<>") for name in written])
        given = tags(problem)
        if not set(names) <= set(given):
            raise Defect("name that the problem does not give")
        return Entry(ICT, images, texts, names=names,
                     absent_names=tuple(name for name in given if name not in names))
    raise Defect("unknown accu_reward_method")


def _numbers(solution) -> tuple[float, ...]:
    if isinstance(solution, str):
        match = NUMBERS.search(solution)
        solution = [float(v) for v in match.groups()] if match else None
    if not isinstance(solution, list) or len(solution) != 4 or not all(
            type(v) in (int, float) and abs(v) < 1e6 for v in solution):
        raise Defect("solution that is no box")
    if solution[0] >= solution[2] or solution[1] >= solution[3]:
        raise Defect("inverted or empty box")
    return tuple(map(float, solution))


def _distinct(names: list[str]) -> tuple[str, ...]:
    if any(not name.strip() or set(name) & set("<>") for name in names):
        raise Defect("solution that is no name")
    if len({name.casefold() for name in names}) < len(names):
        raise Defect("name that is given twice")
    return tuple(names)


# ---- RAP ----


def _rap(item: dict) -> Entry:
    image, extra = item.get("image"), item.get("extra")
    if not is_text(image):
        raise Defect("row without a picture")
    if not isinstance(extra, dict) or not extra:
        raise Defect("row without a reference")
    question, said = _exchange(item["conversations"])
    references = [_reference(path, about) for path, about in extra.items()]
    names = _distinct([name for _, name, _ in references])
    asked = tags(question)
    if not set(asked) <= set(names):
        raise Defect("name without a reference")
    told = [f"{i}. <{name}>: {info}\n" if info else f"{i}. <{name}>\n"
            for i, (_, name, info) in enumerate(references, start=1)]
    images = (*(path for path, _, _ in references), image)
    texts = ("", *told, question)
    numbers, yes_no = NUMBERS.search(said), YES_NO.match(said)
    if numbers:
        if len(asked) != 1:
            raise Defect("box of nobody, or of several")
        return Entry(VLT, images, texts, box=_numbers(said), target=said)
    if yes_no:
        if len(asked) != 1 or not any(
                re.search(form.format(name=re.escape(f"<{asked[0]}>")), question, re.I)
                for form in PRESENCE):
            raise Defect("question that is not about who is there")
        return Entry(OCT, images, texts, answer=yes_no[1].lower(), target=said)
    called = tags(said)
    if not set(called) <= set(names):
        raise Defect("answer that names somebody without a reference")
    if not called:
        raise Defect("answer without a name")
    return Entry(ICT, images, texts, names=tuple(n for n in names if n in called),
                 absent_names=tuple(n for n in names if n not in called), target=said)


def _exchange(turns) -> tuple[str, str]:
    """The first question, without its placeholder, and its answer."""
    if (not isinstance(turns, list) or len(turns) < 2
            or not all(isinstance(t, dict) and is_text(t.get("value")) for t in turns[:2])
            or [t.get("from") for t in turns[:2]] != ["human", "gpt"]):
        raise Defect("conversation that does not go human, gpt")
    question = turns[0]["value"].replace("<image>", "").strip()
    if not question:
        raise Defect("question without words")
    return question, turns[1]["value"].strip()


def _reference(path: str, about) -> tuple[str, str, str | None]:
    if not isinstance(about, dict) or not is_text(about.get("name")) or not is_text(path):
        raise Defect("reference without a name")
    info = about.get("info")
    return path, about["name"].strip().strip("<>"), info.strip() if is_text(info) else None
