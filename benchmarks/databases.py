"""Published concept databases, read for benchmarks: pictures keep the paths of the file."""

from pathlib import Path

from benchmarks.files import BenchmarkError, LeftOut, leave, left_out_line, shown
from concepts.database_file import DatabaseError
from concepts.database_file import read_database as read_file
from concepts.entries import Concept, EntryError, concept_of
from rewards.names import name_key


def read_database(path: str | Path) -> tuple[dict[str, Concept], LeftOut]:
    """Concepts by bare name, and what is wrong with the entries that are not among them.

    ``images`` are the published paths. A concept without any is kept: its name is known.

    Raises:
        BenchmarkError: no such file, another format, or no usable entry.
    """
    try:
        content, twice = read_file(Path(path))
    except DatabaseError as error:
        raise BenchmarkError(str(error)) from None
    left_out: LeftOut = {}
    found: dict[str, Concept] = {}
    taken: set[str] = set()
    for tag in twice:
        leave(left_out, "given twice, of which the first counts", shown(tag))
    for tag, entry in content["concept_dict"].items():
        try:
            concept, _ = concept_of(tag, entry)
            if name_key(concept.name) in taken:
                raise EntryError("another has the same name")
        except EntryError as reason:
            leave(left_out, str(reason), shown(tag))
            continue
        taken.add(name_key(concept.name))
        found[concept.name] = concept
    if not found:
        raise BenchmarkError(f"{path} holds no usable concept; "
                             f"{left_out_line(left_out) or 'it is empty'}")
    return found, left_out
