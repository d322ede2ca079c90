"""A concept, and the entry of a ``database.json`` that holds it.

RePIC and RAP keep ``{"concept_dict": {"<bo>": {"name", "image", "info", "category"}},
"path_to_concept": {path: "<bo>"}}``. Two keys are added where they hold something: ``images`` (all
images; ``image`` is the first of them) and ``attributes`` (what distinguishes the concept
from others of its category). Keys that are not known here are kept as they are.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from data_gen.files.errors import InputError
from data_gen.files.files import is_file
from rewards.names import name_key, name_problem

MAX_NAME = 80
"""Characters; the longest tag that counts as a name (``rewards.names``)."""

_TAG = re.compile(r"<([^<>]*)>")


class EntryError(InputError):
    """What is wrong with an entry, in words that do not name it, so that it can be counted."""


@dataclass(frozen=True)
class Concept:
    """A concept that a user owns, such as a dog or a mug.

    Attributes:
        name: bare: ``bo``, ``black widow``. Prompts and captions write ``<bo>``.
        images: images of it, relative to the database's image root, with ``/``.
        info: what its owner says of it, one or a few sentences.
        category: what it is: ``dog``. Empty where unknown.
        attributes: what distinguishes it from others of its category.
    """

    name: str
    images: tuple[str, ...] = ()
    info: str = ""
    category: str = ""
    attributes: tuple[str, ...] = ()


def tag_of(name: str) -> str:
    """``<bo>``: the key of an entry."""
    return f"<{name}>"


_IN_NAMES = {0x200C: None, 0x200D: None, 0x3000: " "}
"""What Python does not print and names are written with: joiners of Persian, of Indian scripts and
of emoji, and the space between Japanese words."""


def check_name(name) -> None:
    """Refuse what is no bare name.

    Raises:
        EntryError: it is no text, blank, too long, or holds brackets or unprintable characters.
    """
    if problem := name_problem(name):
        raise EntryError(f"the name {problem}")
    if len(name) > MAX_NAME:
        raise EntryError(f"the name is longer than {MAX_NAME} characters")
    if not name.translate(_IN_NAMES).isprintable() or name != name.strip():
        raise EntryError("the name holds unprintable characters, or blanks around it")


def concept_of(tag: str, entry, image: Callable[[str], str] = str) -> tuple[Concept, list[str]]:
    """The concept of an entry.

    Args:
        tag: its key: ``<bo>``.
        entry: what stands there.
        image: a path as it stands there -> as the concept shall have it; raises
            :class:`EntryError` for one that cannot be used. See :func:`inside`.

    Returns:
        The concept with those images that can be used, and what is wrong with the others.

    Raises:
        EntryError: the entry stands for no concept.
    """
    if not (tag.startswith("<") and tag.endswith(">")):
        raise EntryError("the key is no tag such as <bo>")
    name = tag[1:-1]
    check_name(name)
    if not isinstance(entry, dict):
        raise EntryError("the entry is no JSON object")
    given = entry.get("name", name)
    if not isinstance(given, str) or name_key(_TAG.sub(r"\1", given)) != name_key(name):
        raise EntryError("key and name differ")
    texts = {key: _text(entry, key) for key in ("info", "category")}
    attributes = _texts(entry, "attributes")
    images = _texts(entry, "images")
    first = entry.get("image")
    images = list(dict.fromkeys(_texts(entry, "image") + images)) if first else images
    usable, wrong = [], []
    for path in images:
        try:
            usable.append(image(path))
        except EntryError as reason:
            wrong.append(str(reason))
    return Concept(
        name,
        tuple(dict.fromkeys(usable)),
        texts["info"].strip(),
        texts["category"],
        tuple(attributes),
    ), wrong


def inside(path: str, root: Path, prefix: str = "") -> str:
    """An image's path as relative to ``root``, with ``/``.

    The check is on the path as written: a link below ``root`` is the owner's own doing, whereas
    a database may come from anywhere.

    Raises:
        EntryError: it leads out of ``root``, or there is no such file.
    """
    if "\0" in path or any("\ud800" <= char <= "\udfff" for char in path):
        raise EntryError("an image's path is no text")
    clean = os.path.normpath(path)
    if prefix:
        parts, first = PurePosixPath(clean).parts, PurePosixPath(os.path.normpath(prefix)).parts
        if parts[: len(first)] == first:
            clean = os.path.join(*parts[len(first) :] or ".")
    if os.path.isabs(clean):
        clean = os.path.relpath(clean, os.path.abspath(root))
    if clean == ".." or clean.startswith("../"):
        raise EntryError("an image's path leads out of the image root")
    if not is_file(root / clean):
        raise EntryError("an image is not there")
    return Path(clean).as_posix()


def entry_of(concept: Concept, before: dict | None = None) -> dict:
    """The entry of a concept, as RePIC and RAP read it: ``info`` starts with the tag.

    Args:
        before: the entry it takes the place of; keys that are not a concept's stay.
    """
    entry = {
        **(before or {}),
        "name": concept.name,
        "image": (*concept.images, "")[0],
        "info": with_tag(concept),
        "category": concept.category,
    }
    for key, several in (("images", concept.images), ("attributes", concept.attributes)):
        entry.pop(key, None)
        if len(several) > (key == "images"):
            entry[key] = list(several)
    return entry


def with_tag(concept: Concept) -> str:
    """What is known of a concept, starting with its tag: ``<bo> is a brown dog.``"""
    tag = tag_of(concept.name)
    if concept.info.startswith(tag) or not concept.info:
        return concept.info or tag
    return f"{tag}: {concept.info}"


def renamed(concept: Concept, name: str) -> Concept:
    """The concept under another name, which its info uses too."""
    old = name_key(concept.name)
    info = _TAG.sub(lambda tag: tag_of(name) if name_key(tag[1]) == old else tag[0], concept.info)
    return replace(concept, name=name, info=info)


def _text(entry: dict, key: str) -> str:
    value = entry.get(key)
    if value is not None and not isinstance(value, str):
        raise EntryError(f"its {key} is no text")
    return value or ""


def _texts(entry: dict, key: str) -> list[str]:
    value = entry.get(key)
    value = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(value, list) or not all(isinstance(v, str) and v.strip() for v in value):
        raise EntryError(f"its {key} is no list of texts")
    return value
