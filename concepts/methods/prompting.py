"""A query as a prompt."""

from pathlib import Path
from string import ascii_uppercase

import yaml

from data_gen.files.settings import BenchmarkError
from data_gen.rows import ICT, OCT

PROMPTS = Path(__file__).parents[1] / "configs" / "prompts" / "published.yaml"


QA = "multiple_choice"
"""Beside the contract's own, the task of multiple-choice rows."""

_NEEDED = {ICT: ("system", "reference", "query", "requests"),
           OCT: ("system", "reference", "query", "requests"),
           QA: ("system", "reference", "query", "option")}


_EXAMPLE = {"name": "<bo>", "info": "", "request": "", "options": "", "letter": "A", "text": ""}


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


def as_row(question, words: dict) -> dict:
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
