"""Prompts: templates read from ``configs/prompts/*.yaml``, filled into conversations.

A template file has, per task, ``reference`` (how a reference picture is introduced; ``{name}`` and
``{info}``), ``ask`` (phrasings of the question) and ``suffix`` (the answer's format); a thing that
is told and not shown is introduced by ``told``. Names are written ``<bo>``. Pictures come in
reading order: references first, the query last.
"""

import random
from functools import cache
from pathlib import Path

import yaml

from data_gen.rows import ICT, OCT, VLT

DEFAULT = Path(__file__).parents[1] / "configs" / "prompts" / "default.yaml"


@cache
def load_prompts(path: str | Path = DEFAULT) -> dict:
    """Read a template file; ``{task: {"reference", "ask", "suffix", ...}}``.

    Raises:
        ValueError: naming the file and the key that is missing.
    """
    templates = yaml.safe_load(Path(path).read_text())
    for task in (OCT, VLT, ICT):
        for key in ("reference", "ask", "suffix", *(["told"] if task == VLT else [])):
            if not templates.get(task, {}).get(key):
                raise ValueError(f"{path}: '{task}' needs a non-empty list '{key}'")
    return templates


def conversation(
    rng: random.Random,
    task: str,
    names: list[str],
    infos: list[str | None],
    templates: dict | None = None,
    manner: str | None = None,
    about: str | None = None,
    told: str | None = None,
) -> list[dict]:
    """One user turn: each reference picture with its name, then the query and the question.

    Args:
        rng: draws the phrasings.
        task: which templates to use.
        names: R names, bare, in the order of the reference pictures.
        infos: R facts about the references, or ``None``.
        templates: from :func:`load_prompts`.
        manner: for captions, a key of ``manners`` whose sentence is added (``name`` asks for names
            outright, ``fresh`` asks not to repeat the info); ``None`` adds nothing.
        about: the name that the question asks for; the first one when ``None``.
        told: words that pick out a thing of which there is no reference picture. With a name, they
            say whose name it is; without any, the question asks for them.

    Returns:
        Messages with R + 1 image placeholders; with ``told``, 1.
    """
    words = (templates or load_prompts())[task]
    parts: list[dict] = []

    def say(text: str):
        if parts and parts[-1]["type"] == "text":
            parts[-1]["text"] += text
        else:
            parts.append({"type": "text", "text": text})

    if told and names:
        say(rng.choice(words["told"]).format(name=f"<{names[0]}>", told=told) + "\n")
    reference = rng.choice(words["reference"])
    for name, info in [] if told else zip(names, infos, strict=True):
        parts.append({"type": "image", "text": None})
        say(reference.format(name=f"<{name}>") + (f" {info}" if info else "") + "\n")
    parts.append({"type": "image", "text": None})
    about = about or (names[0] if names else "")
    asked = f'"{told}"' if told and not names else f"<{about}>"
    say(rng.choice(words["ask"]).format(name=asked))
    if manner:
        say(" " + rng.choice(words["manners"][manner]))
    suffix = rng.choice(words["suffix"])
    if suffix:
        say(" " + suffix)
    return [{"role": "user", "content": parts}]
