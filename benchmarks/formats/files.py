"""Read published benchmark files: broken entries are counted and named, the others are used."""

from collections.abc import Mapping
from json import JSONDecodeError
from pathlib import Path
from typing import Any

from concepts.concept import Concept, EntryError, concept_of
from concepts.database import DatabaseError
from concepts.database import read_database as read_file
from data_gen.files.errors import InputError
from data_gen.files.files import refuse_pipe
from data_gen.files.json_stream import from_json, is_text
from data_gen.files.skipped import SkippedItems, printable
from data_gen.images.finding import find_picture, picture_at
from rewards.names import name_key, name_problem


def read_json(path: str | Path, skipped: SkippedItems | None = None) -> Any:
    """A JSON file as a whole. Of a key that an object has twice the first value counts; the others
    are noted in ``skipped``.

    One bad entry does not cost the file: see :mod:`data_gen.files.json_stream`.

    Raises:
        InputError: the file is missing, empty or no JSON, with the line.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key not in found:
                found[key] = value
            elif skipped is not None:
                skipped.add("key that stands there twice", printable(key))
        return found

    try:
        refuse_pipe(path)
        text = Path(path).read_text(encoding="utf-8-sig", errors="surrogateescape")
        return from_json(text, object_pairs_hook=once)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the path") from None
    except JSONDecodeError as error:
        raise InputError(
            f"{path}, line {error.lineno}: is not readable JSON ({error.msg}); is the file whole?"
        ) from None
    except ValueError as error:
        raise InputError(f"{path}: {error}; is it the right file?") from None


def bare(tag: str) -> str:
    """The name in ``<bo>``, without brackets and outer blanks."""
    tag = tag.strip()
    return (tag[1:-1] if tag.startswith("<") and tag.endswith(">") else tag).strip()


def is_name(value: Any) -> bool:
    """Whether a value, with or without brackets, can be a name under the row contract."""
    return is_text(value) and name_problem(bare(value)) is None


def find_image(path: str, roots: Mapping[str, str | Path]) -> Path | None:
    """The file that a published path means, or ``None`` where it is not on disk.

    Args:
        path: as published, such as ``./data/dreambooth/dog/00.jpg``.
        roots: beginning of published paths -> folder where what follows it lies; the longest that
            fits counts. ``""`` fits all; then leading folders that are not there are skipped.
            No path leads out of its folder.
    """
    parts = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".")]
    best: tuple[list[str], Path] | None = None
    for start, folder in roots.items():
        head = [part for part in start.split("/") if part not in ("", ".")]
        if parts[: len(head)] == head and (best is None or len(head) > len(best[0])):
            best = head, Path(folder)
    if best is None or "\0" in path or ".." in parts:
        return None
    head, folder = best
    rest = parts[len(head) :]
    if not head:
        return find_picture(folder, "/".join(rest))
    return picture_at(folder, "/".join(rest))


def read_database(path: str | Path) -> tuple[dict[str, Concept], SkippedItems]:
    """Concepts by bare name, and what is wrong with the entries that are not among them.

    ``images`` are the published paths. A concept without any is kept: its name is known.

    Raises:
        InputError: no such file, another format, or no usable entry.
    """
    try:
        content, twice = read_file(Path(path))
    except DatabaseError as error:
        raise InputError(str(error)) from None
    skipped = SkippedItems()
    found: dict[str, Concept] = {}
    taken: set[str] = set()
    for tag in twice:
        skipped.add("given twice, of which the first counts", printable(tag))
    for tag, entry in content["concept_dict"].items():
        try:
            concept, _ = concept_of(tag, entry)
            if name_key(concept.name) in taken:
                raise EntryError("another has the same name")
        except EntryError as reason:
            skipped.add(str(reason), printable(tag))
            continue
        taken.add(name_key(concept.name))
        found[concept.name] = concept
    if not found:
        raise InputError(f"{path} holds no usable concept; {skipped.line() or 'it is empty'}")
    return found, skipped
