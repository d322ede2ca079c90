"""Concept databases as published: RePIC's and RAP's ``database.json``.

``{"concept_dict": {"<bo>": {"name", "image", "info", "category"}}, "path_to_concept": {...}}``;
``info`` may begin with the tag. Here they are only read, for benchmarks.
"""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.files import (
    BenchmarkError,
    LeftOut,
    bare,
    is_name,
    leave,
    left_out_line,
    read_json,
    shown,
)
from data_gen.json_stream import is_text


@dataclass(frozen=True)
class Concept:
    """``name`` bare; ``image`` the published path of its picture; ``info`` and ``category`` if
    known."""

    name: str
    image: str
    info: str | None = None
    category: str | None = None


def read_database(path: str | Path) -> tuple[dict[str, Concept], LeftOut]:
    """Concepts by bare name, and what is wrong with the entries that are not among them.

    Raises:
        BenchmarkError: no such file, another format, or no usable entry.
    """
    left_out: LeftOut = {}
    data = read_json(path, left_out)
    entries = data.get("concept_dict") if isinstance(data, dict) else None
    if not isinstance(entries, dict):
        raise BenchmarkError(f"{path}: expected an object with 'concept_dict'; is it a database?")
    found: dict[str, Concept] = {}
    taken: set[str] = set()
    for tag, entry in entries.items():
        concept = _concept(tag, entry)
        if isinstance(concept, str):
            leave(left_out, concept, shown(tag))
        elif concept.name.casefold() in taken:
            leave(left_out, "concept of a name that another has", shown(tag))
        else:
            taken.add(concept.name.casefold())
            found[concept.name] = concept
    if not found:
        raise BenchmarkError(f"{path} holds no usable concept; "
                             f"{left_out_line(left_out) or 'it is empty'}")
    return found, left_out


def _concept(tag: str, entry) -> Concept | str:
    if not is_name(tag):
        return "concept without a name"
    if not isinstance(entry, dict):
        return "concept that is no object"
    image = entry.get("image")
    if isinstance(image, list) and image:
        image = image[0]
    if not is_text(image):
        return "concept without a picture"
    info, category = entry.get("info"), entry.get("category")
    return Concept(bare(tag), image, info.strip() if is_text(info) else None,
                   category.strip() if is_text(category) else None)
