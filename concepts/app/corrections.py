"""Corrections: a wrong answer becomes rows that training takes.

A folder holds one file of facts and one image for each correction, and ``rows``, the row set that
is made from all of them. Whoever is there makes a row that is answered yes, and as many of those
who are not (one, where nobody is) make rows that are answered no: a policy that was corrected with
all of them learned to say no, and nothing else. A caption row shows the same concepts; a box makes
a localization row.
"""

import json
import random
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image

from concepts.database import Database
from concepts.methods.protocol import Reference
from data_gen.files.errors import InputError
from data_gen.files.files import atomic_file, write_text
from data_gen.images.boxes import Box
from data_gen.images.photos import PhotoError, open_photo
from data_gen.rows.writing import write_rows
from data_gen.tasks.questions import (
    identity_consistency_row,
    object_consistency_row,
    visual_localization_row,
)

IMAGE_PX = 512
"""Long side of images in rows."""

SOURCE = "corrections"
"""Of the rows."""

LEAST_SIDE = 0.02
"""Of a box, in 0-1 of the image."""


class CorrectionError(InputError):
    """What is wrong with a correction, and what to do."""


@dataclass(frozen=True)
class Correction:
    """What is true of an image.

    Args:
        there: names of the concepts that are in it.
        absent: names of concepts that are not, those that were wrongly found first.
        boxes: name -> x1 y1 x2 y2 in 0-1 of the image, for some of those that are there.
    """

    there: tuple[str, ...]
    absent: tuple[str, ...] = ()
    boxes: Mapping[str, Box] | None = None


class Corrections:
    """The corrections of one user.

    Args:
        folder: where they lie; made with the first one.
        database: of the user's concepts; a concept that has left it has no rows.
    """

    def __init__(self, folder: str | Path, database: Database):
        self.folder, self.database = Path(folder), database

    @property
    def rows(self) -> Path:
        """Where the row set is."""
        return self.folder / "rows"

    def __len__(self) -> int:
        return len(self._files())

    def add(self, corrections: Sequence[tuple[Image.Image, Correction]]) -> int:
        """Keep corrections and make the rows anew.

        Args:
            corrections: each with the image, as the policy was asked about it.

        Returns:
            How many rows there are now.

        Raises:
            CorrectionError: one says nothing, contradicts itself, or a box is none; none of them is
                kept then.
        """
        for _, correction in corrections:
            check(correction)
        self.folder.mkdir(parents=True, exist_ok=True)
        for image, correction in corrections:
            self._keep(image, correction)
        return self.write()

    def _keep(self, image: Image.Image, correction: Correction) -> None:
        stem = f"{len(self):05d}-{secrets.token_hex(4)}"
        with atomic_file(self.folder / f"{stem}.png") as file:
            small = image.convert("RGB").copy()
            small.thumbnail((IMAGE_PX, IMAGE_PX))
            small.save(file, "PNG")
        write_text(
            self.folder / f"{stem}.json",
            json.dumps(asdict(correction), ensure_ascii=False) + "\n",
        )

    def write(self) -> int:
        """Make the rows anew, as for concepts as they are now. Returns how many there are."""
        rows = [row for file in self._files() for row in self._rows_of(file)]
        if rows:
            write_rows(rows, self.rows, seed=0, generator="corrections", replace=True)
        return len(rows)

    def forget(self, name: str) -> None:
        """Take a concept out of all corrections; those that say nothing else are deleted."""
        for file in self._files():
            said = read(file)
            left = Correction(
                tuple(one for one in said.there if one != name),
                tuple(one for one in said.absent if one != name),
                {one: box for one, box in (said.boxes or {}).items() if one != name},
            )
            if left.there or left.absent:
                write_text(file, json.dumps(asdict(left), ensure_ascii=False) + "\n")
            else:
                file.unlink(missing_ok=True)
                file.with_suffix(".png").unlink(missing_ok=True)
        self.write()

    def rename(self, name: str, to: str) -> None:
        """Follow a concept's new name."""
        for file in self._files():
            said = read(file)
            new = Correction(
                tuple(to if one == name else one for one in said.there),
                tuple(to if one == name else one for one in said.absent),
                {to if one == name else one: box for one, box in (said.boxes or {}).items()},
            )
            write_text(file, json.dumps(asdict(new), ensure_ascii=False) + "\n")
        self.write()

    def _files(self) -> list[Path]:
        pattern = re.compile(r"\d{5}-[0-9a-f]{8}\.json")
        if not self.folder.is_dir():
            return []
        return sorted(file for file in self.folder.iterdir() if pattern.fullmatch(file.name))

    def _rows_of(self, file: Path) -> list[dict]:
        said = read(file)
        rng = random.Random(file.stem)
        query = open_photo(file.with_suffix(".png"), IMAGE_PX)
        found = {
            name: reference
            for name in (*said.there, *said.absent)
            if (reference := self._reference(name)) is not None
        }
        there = [name for name in said.there if name in found]
        absent = [name for name in said.absent if name in found][: max(1, len(there))]
        shown = {name: found[name] for name in (*there, *absent)}
        rows = [
            object_consistency_row(
                rng, f"{file.stem}-{i}", one, query, same=name in said.there, source=SOURCE
            )
            for i, (name, one) in enumerate(shown.items())
        ]
        for i, (name, box) in enumerate((said.boxes or {}).items()):
            if name in shown:
                rows.append(
                    visual_localization_row(
                        rng,
                        f"{file.stem}-box-{i}",
                        shown[name],
                        query,
                        box,
                        source=SOURCE,
                    )
                )
        if shown:
            present = [name in said.there for name in shown]
            rows.append(
                identity_consistency_row(
                    rng,
                    f"{file.stem}-caption",
                    list(shown.values()),
                    present,
                    query,
                    source=SOURCE,
                )
            )
        return rows

    def _reference(self, name: str) -> Reference | None:
        concept = self.database.concepts().get(name)
        if concept is None:
            return None
        for image in concept.images:
            try:
                opened = open_photo(self.database.image_path(image), IMAGE_PX)
            except PhotoError:
                continue
            return Reference(name, opened, concept.info or None)
        return None


def check(correction: Correction) -> None:
    """Refuse a correction that no row can be made from.

    Raises:
        CorrectionError: why.
    """
    if not correction.there and not correction.absent:
        raise CorrectionError("say who is in the picture, or who is not")
    if both := sorted(set(correction.there) & set(correction.absent)):
        raise CorrectionError(f"{both[0]!r} cannot be there and not there")
    for name, (x1, y1, x2, y2) in (correction.boxes or {}).items():
        if name not in correction.there:
            raise CorrectionError(f"{name!r} has a box, but is not in the picture")
        inside = 0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1
        if not inside or min(x2 - x1, y2 - y1) < LEAST_SIDE:
            raise CorrectionError("mark two opposite corners of the box, further apart")


def read(file: Path) -> Correction:
    """A correction from its file."""
    said = json.loads(file.read_text(encoding="utf-8"))
    boxes = {name: (x1, y1, x2, y2) for name, (x1, y1, x2, y2) in (said["boxes"] or {}).items()}
    return Correction(tuple(said["there"]), tuple(said["absent"]), boxes)


def box_of(corners: Sequence[tuple[float, float]]) -> Box:
    """The box between two opposite corners, in 0-1.

    Raises:
        CorrectionError: there are not two.
    """
    if len(corners) != 2:
        raise CorrectionError("mark two opposite corners of the box in the picture")
    (a, b), (c, d) = corners
    return min(a, c), min(b, d), max(a, c), max(b, d)
