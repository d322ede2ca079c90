"""Make databases from folders of photos (DreamBooth's form) or from toys."""

import os
import random
from pathlib import Path

from concepts.concept import Concept, EntryError, check_name
from concepts.database import Database, DatabaseError
from data_gen.files.errors import SourceError
from data_gen.files.files import atomic_file
from data_gen.files.skipped import SkippedItems
from data_gen.sources.photo_folders import (
    CLASSES_FILES,
    folded,
    read_classes,
    scan,
)
from data_gen.tasks.names import all_names, draw_names
from data_gen.toybox.identity import Identity, draw_identity
from data_gen.toybox.scene import compose

TOY_PX = 64
"""Side of a toy's image, as in the toybox rows' references."""


def folder_concepts(
    root: str | Path, classes: str | Path | None = None, *, size: int = 512
) -> tuple[list[Concept], SkippedItems]:
    """One concept for each folder of photos below ``root``, named as its folder.

    Args:
        root: ``<subject>/*.jpg``; the image root of what is returned.
        classes: file of the subjects' classes; by default one of the usual names in ``root``.
        size: pixels of the long side with which every photo is opened once.

    Returns:
        The concepts, and what was skipped, by reason.

    Raises:
        DatabaseError: ``root`` cannot be listed, holds no usable photo, or its classes cannot be
            read.
    """
    root = Path(root)
    usual = next((root / name for name in CLASSES_FILES if os.path.isfile(root / name)), None)
    file = Path(classes) if classes else usual
    try:
        folders, skipped = scan(root, size, keep=file)
        kinds = read_classes(file) if file else {}
    except OSError as error:
        raise DatabaseError(f"{root} cannot be listed ({error.strerror})") from None
    except SourceError as error:
        raise DatabaseError(str(error)) from None
    found = []
    for folder in folders:
        try:
            check_name(folder.name)
        except EntryError as reason:
            skipped.add(str(reason), folder.name)
            continue
        images = tuple(photo.relative_to(root).as_posix() for photo in folder.photos)
        found.append(Concept(folder.name, images, category=kinds.get(folded(folder.name), "")))
    if not found:
        raise DatabaseError(
            f"{root} holds no usable photo; give a directory with photos at <subject>/*.jpg"
        )
    return found, skipped


def folder_database(
    root: str | Path, path: str | Path, **settings
) -> tuple[Database, SkippedItems]:
    """A new database at ``path`` of the folders below ``root`` (see :func:`folder_concepts`).

    Raises:
        DatabaseError: see :func:`folder_concepts`, or ``path`` exists.
    """
    _refuse_existing(Path(path))
    concepts, skipped = folder_concepts(root, **settings)
    database = Database(path, root)
    database.add_all(concepts)
    return database, skipped


def toybox_database(
    out: str | Path,
    count: int,
    seed: int = 0,
    *,
    held_out: bool = True,
    half: str | None = None,
    views: int = 1,
    size: int = TOY_PX,
) -> Database:
    """A new database of toys at ``out/database.json``, their images next to it.

    Args:
        out: directory to make.
        count: toys, all different, named at random.
        seed: with ``count``, ``held_out`` and ``half``, decides everything.
        held_out: whether from identities that training never sees.
        half: of these, see :func:`data_gen.toybox.identity.half_of`; ``None`` takes both.
        views: images of each toy.
        size: pixels on a side.

    Raises:
        DatabaseError: ``out`` exists, or ``count`` is not between 1 and the number of names.
    """
    out = Path(out)
    _refuse_existing(out)
    toys = draw_toys(count, seed, held_out=held_out, half=half)
    concepts = []
    for i, (name, toy) in enumerate(toys.items()):
        images = tuple(f"pictures/{i:05d}_{j}.png" for j in range(views))
        for j, image in enumerate(images):
            rng = random.Random(f"toybox-database-{seed}-{i}-{j}")
            (out / image).parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(out / image) as file:
                compose(rng, [toy], size).image.save(file, "PNG")
        concepts.append(Concept(name, images, toy.description, toy.category, tuple(toy.features)))
    database = Database(out / "database.json")
    database.add_all(concepts)
    return database


def draw_toys(
    count: int, seed: int = 0, *, held_out: bool = True, half: str | None = None
) -> dict[str, Identity]:
    """Who is in a :func:`toybox_database` of the same arguments: name -> toy."""
    if not 1 <= count <= len(all_names()):
        raise DatabaseError(
            f"a database of toys holds 1 to {len(all_names())} of them, not "
            f"{count}: there are no more names"
        )
    rng = random.Random(f"toybox-database-{seed}-{half or held_out}")
    names = draw_names(rng, count)
    toys: list[Identity] = []
    while len(toys) < count:
        toy = draw_identity(rng, held_out=held_out, half=half)
        if toy not in toys:
            toys.append(toy)
    return dict(zip(names, toys, strict=True))


def _refuse_existing(path: Path) -> None:
    if path.exists():
        raise DatabaseError(f"{path} exists; name another place, or remove it first")
