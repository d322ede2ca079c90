"""Build the prompt of a query: references, image and the benchmark's words as a conversation.

The templates of :data:`PROMPTS` are those of the published benchmarks. A query that brings its
``prompt`` along is asked as it stands.
"""

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import yaml

from concepts.methods.protocol import Query, Reference
from data_gen.files.errors import InputError
from data_gen.files.files import refuse_pipe
from data_gen.rows import ICT, OCT

PROMPTS = Path(__file__).parent / "prompts.yaml"

MULTIPLE_CHOICE = "multiple_choice"
"""The task of questions with options; the other tasks are the row contract's."""

_NEEDED = {
    ICT: ("system", "reference", "query", "requests"),
    OCT: ("system", "reference", "query", "requests"),
    MULTIPLE_CHOICE: ("system", "reference", "query", "option"),
}

_TAG = re.compile(r"<([^<>/\n]{1,80})>")

_EXAMPLE = {"name": "<bo>", "info": "", "request": "", "options": "", "letter": "A", "text": ""}


def load_templates(path: str | Path | None = None) -> dict:
    """Prompt templates, ``{task: {"system", "reference", "query", ...}}``; ours by default.

    Raises:
        InputError: naming the file and the key that is missing or cannot be filled in.
    """
    path = path or PROMPTS
    try:
        refuse_pipe(path)
        templates = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read ({error})") from None
    for task, keys in _NEEDED.items():
        for key in keys:
            value: Any = templates.get(task, {}).get(key) if isinstance(templates, dict) else None
            try:
                for text in value if isinstance(value, list) else [value]:
                    str.format(text, **_EXAMPLE)
            except (TypeError, KeyError, IndexError, ValueError):
                value = None
            if not value:
                raise InputError(
                    f"{path}: '{task}' needs '{key}', a text with no other "
                    f"placeholders than those of {PROMPTS.name}"
                )
    return templates


def conversation(query: Query, references: Sequence[Reference], templates: dict) -> list[dict]:
    """The messages that ask a query: each reference with its name and info, the image, the words.

    Args:
        query: of a task that the templates have.
        references: in the order in which they are shown.
        templates: of :func:`load_templates`.
    """
    template = templates[query.task]
    parts: list[dict] = []
    for reference in references:
        parts.append({"type": "image", "text": None})
        parts.append(
            {
                "type": "text",
                "text": template["reference"]
                .format(name=f"<{reference.name}>", info=reference.info or "")
                .strip()
                + "\n",
            }
        )
    if query.image is not None:
        parts.append({"type": "image", "text": None})
    options = "\n".join(
        template["option"].format(letter=letter, text=text)
        for letter, text in zip(ascii_uppercase, query.options, strict=False)
    )
    parts.append(
        {
            "type": "text",
            "text": template["query"].format(request=query.text, options=options).strip(),
        }
    )
    return [
        {"role": "system", "content": [{"type": "text", "text": template["system"]}]},
        {"role": "user", "content": parts},
    ]


def query_of_row(row: dict) -> Query:
    """A row of the row contract as a query, without its truth, its prompt kept as it is.

    The names of its references are the first tags of the prompt, one for each image before the
    last.
    """
    parts = [part for message in row["prompt"] for part in message["content"]]
    words = [part["text"] for part in parts if part["type"] == "text"]
    last = max((i for i, part in enumerate(parts) if part["type"] == "image"), default=-1)
    images = row["images"]
    names = list(dict.fromkeys(_TAG.findall("\n".join(words))))[: max(0, len(images) - 1)]
    names += [""] * (len(images) - 1 - len(names))
    return Query(
        row["id"],
        row["task"],
        text="\n".join(part["text"] for part in parts[last + 1 :] if part["type"] == "text"),
        image=images[-1] if images else None,
        references=tuple(
            Reference(name, image) for name, image in zip(names, images[:-1], strict=True)
        ),
        prompt=row["prompt"],
    )


def without_pictures(row: dict, n: int) -> dict:
    """A row (``prompt`` and ``images``) without its first ``n`` pictures: those of references. The
    words stay as they are."""
    left = n

    def keeps(part: dict) -> bool:
        nonlocal left
        drop = part["type"] == "image" and left > 0
        left -= drop
        return not drop

    prompt = [
        {**message, "content": [part for part in message["content"] if keeps(part)]}
        for message in row["prompt"]
    ]
    return {**row, "prompt": prompt, "images": row["images"][n:]}


def without_references(prompt: list[dict], gone: Collection[int]) -> list[dict]:
    """A conversation without some of its references: each is a picture and the words behind it, up
    to the next picture.

    Args:
        prompt: the pictures of N references, then perhaps the one that is asked about.
        gone: places of references, 0 to N - 1.
    """
    place = -1

    def keeps(part: dict) -> bool:
        nonlocal place
        place += part["type"] == "image"
        return place not in gone

    return [
        {**message, "content": [part for part in message["content"] if keeps(part)]}
        for message in prompt
    ]


def without_words(prompt: list[dict], infos: Sequence[str | None]) -> list[dict]:
    """A conversation without what owners say of their concepts; names stay. An info that a
    template has woven in otherwise than as it stands is not found, and stays."""

    def bare(text: str) -> str:
        for info in infos:
            text = text.replace(info, "") if info else text
        return text

    return [
        {
            **message,
            "content": [
                {**part, "text": bare(part["text"])} if part["type"] == "text" else part
                for part in message["content"]
            ],
        }
        for message in prompt
    ]
