"""Fill prompt templates (``default.yaml`` here, or a file like it) into conversations.

A template file has, per task, ``reference`` (how a reference image is introduced; ``{name}``),
``ask`` (phrasings of the question) and ``suffix`` (the format of the answer); localization also has
``described``, which introduces a subject in words instead of by an image, and captions may have
``caption_styles``. Names are written ``<bo>``. Images come in reading order: references first, the
query last.
"""

import random
from functools import cache
from pathlib import Path

import yaml

from data_gen.files.errors import InputError
from data_gen.files.files import refuse_pipe
from data_gen.files.yaml_1_2 import one_line
from data_gen.tasks.table import TASKS

DEFAULT = Path(__file__).parent / "default.yaml"

EXPLAINED = Path(__file__).parent / "explained.yaml"
"""Object consistency with reasons before the yes or no."""


@cache
def load_prompts(path: str | Path = DEFAULT) -> dict:
    """Read a template file; tasks that it leaves out are asked as in ``default.yaml``.

    Returns:
        ``{task: {"reference": [...], "ask": [...], "suffix": [...], ...}}``.

    Raises:
        InputError: naming the file and the key that is missing, or the task that there is not.
    """
    try:
        refuse_pipe(path)
        templates = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"prompts {path} cannot be read: {one_line(error)}") from None
    if not isinstance(templates, dict):
        raise InputError(f"{path} must hold tasks with their templates, as {DEFAULT.name} does")
    for name in templates:
        if name not in TASKS:
            raise InputError(f"{path}: there is no task '{name}', only {', '.join(TASKS)}")
    if Path(path) != DEFAULT:
        templates = {**load_prompts(), **templates}
    for task in TASKS.values():
        for key in task.prompt_keys:
            if not templates.get(task.name, {}).get(key):
                raise InputError(f"{path}: '{task.name}' needs a non-empty list '{key}'")
    return templates


def conversation(
    rng: random.Random,
    task: str,
    names: list[str],
    infos: list[str | None],
    templates: dict | None = None,
    caption_style: str | None = None,
    about: str | None = None,
    described: str | None = None,
) -> list[dict]:
    """One user turn: each reference image with its name, then the query and the question.

    Args:
        rng: draws the phrasings.
        task: which templates to use.
        names: R names, bare, in the order of the reference images.
        infos: R facts about the references, or ``None``.
        templates: from :func:`load_prompts`.
        caption_style: for captions, a key of ``caption_styles`` whose sentence is added (``name``
            asks for names outright, ``fresh`` asks not to repeat the info); ``None`` adds nothing.
        about: the name that the question asks for; the first one when ``None``.
        described: words that pick out a subject without a reference image. With a name they say
            whose name it is; without any, the question asks for them.

    Returns:
        Messages with R + 1 image placeholders; with ``described``, 1.
    """
    words = (templates or load_prompts())[task]
    parts: list[dict] = []

    def say(text: str):
        if parts and parts[-1]["type"] == "text":
            parts[-1]["text"] += text
        else:
            parts.append({"type": "text", "text": text})

    if described and names:
        introduction = rng.choice(words["described"])
        say(introduction.format(name=f"<{names[0]}>", described=described) + "\n")
    reference = rng.choice(words["reference"])
    for name, info in [] if described else zip(names, infos, strict=True):
        parts.append({"type": "image", "text": None})
        say(reference.format(name=f"<{name}>") + (f" {info}" if info else "") + "\n")
    parts.append({"type": "image", "text": None})
    about = about or (names[0] if names else "")
    asked = f'"{described}"' if described and not names else f"<{about}>"
    say(rng.choice(words["ask"]).format(name=asked))
    if caption_style:
        say(" " + rng.choice(words["caption_styles"][caption_style]))
    suffix = rng.choice(words["suffix"])
    if suffix:
        say(" " + suffix)
    return [{"role": "user", "content": parts}]
