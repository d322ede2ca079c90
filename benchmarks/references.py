"""Where the pictures are that a benchmark's question hands over with its names."""

from pathlib import Path

from benchmarks.databases import read_database
from benchmarks.files import LeftOut, find_picture
from benchmarks.questions import Reference
from concepts.entries import Concept

_GONE = "reference picture missing on disk"


class References:
    """Finds a concept's reference: in the database, or by a pattern where its pictures lie.

    Args:
        database: a ``database.json``, or ``None``: nothing is shown, unless there is a pattern.
        roots: see :func:`benchmarks.files.find_picture`.
        pictures: ``.../{name}/00.jpg``, used instead of the database's pictures.
        left_out: is given the database's broken entries.
    """

    def __init__(self, database, roots: dict, pictures: str | None, left_out: LeftOut):
        self.roots, self.pictures = roots, pictures
        self.concepts: dict[str, Concept] = {}
        self.shown = bool(database or pictures)
        if database:
            self.concepts, broken = read_database(database)
            left_out.update({f"database: {reason}": where for reason, where in broken.items()})

    def of(self, names: list[str]) -> tuple[Reference, ...] | str:
        """References of bare names, or why there are none."""
        found = []
        for name in names if self.shown else []:
            concept = self.concepts.get(name)
            if concept is None and (self.concepts or not self.pictures):
                return "name that the database lacks"
            if self.pictures:
                file = Path(self.pictures.format(name=Path(name).name))
                file = file if file.is_file() else None
            else:
                file = concept.images and find_picture(concept.images[0], self.roots)
            if not file:
                return _GONE
            found.append(Reference(name, file, (concept and concept.info) or None))
        return tuple(found)
