"""Make databases from folders of photos (DreamBooth's form), zips of them, or from toys."""

import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from concepts.concept import Concept, EntryError, check_name
from concepts.database import IMAGES, Database, DatabaseError, read_database
from data_gen.files.errors import SourceError
from data_gen.files.files import atomic_file
from data_gen.files.skipped import SkippedItems
from data_gen.images.features import content_key
from data_gen.images.photos import PhotoError, open_photo
from data_gen.sources.photo_folders import (
    CLASSES_FILES,
    folded,
    printable,
    read_classes,
    scan,
)
from data_gen.sources.zip_root import folder_of_root
from data_gen.tasks.names import all_names, draw_names
from data_gen.toybox.identity import Identity, draw_identity
from data_gen.toybox.scene import compose
from rewards.names import name_key

_DIRECTIONS = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F])
"""Marks of a text's direction, which some systems put around folders' names."""

TOY_PX = 64
"""Side of a toy's image, as in the toybox rows' references."""

SCENE_PX = 96
"""Side of an image that is asked about, as in the toybox rows."""


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
        name = folder.name.translate(_DIRECTIONS).strip()
        try:
            check_name(name)
        except EntryError as reason:
            skipped.add(str(reason), printable(folder.name))
            continue
        images = tuple(photo.relative_to(root).as_posix() for photo in folder.photos)
        found.append(Concept(name, images, category=kinds.get(folded(folder.name), "")))
    if not found:
        raise DatabaseError(
            f"{root} holds no usable photo; give a directory with photos at <subject>/*.jpg"
        )
    return found, skipped


def folder_database(
    root: str | Path, path: str | Path, **settings
) -> tuple[Database, SkippedItems]:
    """A new database at ``path`` of the folders below ``root`` (see :func:`folder_concepts`), which
    may be a zip of them.

    Raises:
        DatabaseError: see :func:`folder_concepts`, or ``path`` exists.
    """
    _refuse_existing(Path(path))
    folder = photo_root(root)
    concepts, skipped = folder_concepts(folder, **settings)
    database = Database(path, folder)
    database.add_all(concepts)
    return database, skipped


def photo_database(root: str | Path, path: str | Path | None = None) -> Database:
    """The database of a folder of photos, ``<root>/<name>/*.jpg``, made or brought up to date.

    Folders that are new become concepts, and the photos of the others are those that lie there
    now. What their owner has written of them stays, and so do concepts from elsewhere; a concept
    that was renamed is known by its photos.

    Args:
        root: the folder, or a zip of it.
        path: of the database; by default ``<root>/database.json``, which names the photos where
            they lie. Beside a database elsewhere they are copied; that of ``album.zip`` is
            ``album/database.json`` by default, beside the zip.

    Raises:
        DatabaseError: see :func:`folder_concepts`; two folders stand for one concept; or the folder
            cannot be written to.
    """
    if path is None and not Path(root).is_dir():
        path = Path(root).with_suffix("") / "database.json"
    root = photo_root(root)
    found, skipped = folder_concepts(root)
    database = Database(root / "database.json" if path is None else path)
    here = path is None or database.root.resolve() == root.resolve()
    known: dict[str, Concept] = {}
    if database.path.exists():
        content, _ = read_database(database.path)
        known = dict(database.concepts()) if content["concept_dict"] else {}
    new, edited, folders = [], {}, {}
    for concept in found:
        if here and concept.images[0].split("/")[0] == IMAGES and database.path.exists():
            continue  # copies that a database keeps
        images = concept.images
        if not here:
            images = tuple(str((root / image).resolve()) for image in images)
        kept = _same(known, concept, images, here)
        key = name_key(concept.name if kept is None else kept.name)
        if (other := folders.setdefault(key, concept.name)) is not concept.name:
            raise DatabaseError(
                f"{root}: the folders {other!r} and {concept.name!r} would be one concept, "
                f"{key!r}; rename one of them"
            )
        if kept is None:
            new.append(replace(concept, images=images))
        elif here and kept.images != images:
            edited[kept.name] = images
    for name, images in edited.items():
        database.edit(name, images=images)
    if new:
        database.add_all(new)
    database.concepts()
    for reason in skipped.counts:
        if reason not in ("hidden", "beside the subjects' folders"):
            database.skipped.add(reason, next(iter(skipped.places(reason)), None), skipped[reason])
    return database


def photo_root(root: str | Path) -> Path:
    """The folder of photos that ``root`` is, or that a zip is unpacked to.

    Raises:
        DatabaseError: it is neither, or a zip that cannot be unpacked safely.
    """
    try:
        return folder_of_root(root)
    except SourceError as error:
        raise DatabaseError(str(error)) from None


def _same(
    known: Mapping[str, Concept], folder: Concept, images: Sequence[str], here: bool
) -> Concept | None:
    """The concept that a folder already is: by its name, or by one of its photos."""
    for concept in known.values():
        if name_key(concept.name) == name_key(folder.name):
            return concept
    photos = {image if here else content_key(Path(image))[:16] for image in images}
    for concept in known.values():
        if photos & {image if here else Path(image).stem for image in concept.images}:
            return concept
    return None


def loose_photos(folder: str | Path, size: int = 512) -> list[Path]:
    """Every photo below a folder, or in a zip, that opens, by path: negatives, which show no
    concept.

    Raises:
        DatabaseError: there is no such folder, or no photo in it opens.
    """
    folder = photo_root(folder)
    found, skipped = [], SkippedItems()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        try:
            open_photo(path, size)
            found.append(path)
        except PhotoError as reason:
            skipped.add(str(reason), path.name)
    if not found:
        raise DatabaseError(f"{folder} holds no photo that opens{skipped.clause()}")
    return found


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


def toy_photos(
    out: str | Path, count: int = 6, seed: int = 0, *, views: int = 4, scenes: int = 4
) -> list[tuple[Path, list[str]]]:
    """Photos of toys that training never saw, as a user would have them::

        <out>/photos/<name>/0.png ...     each toy alone
        <out>/new/0.png ...               scenes to ask about, some with an unlisted toy, too
        <out>/others/0.png ...            unlisted toys: negatives

    Args:
        out: directory to make.
        count: toys, at least 2, named at random.
        seed: decides everything, with the numbers.
        views: photos of each toy.
        scenes: images to ask about, and as many negatives.

    Returns:
        Each image to ask about, and who is in it.

    Raises:
        DatabaseError: ``out`` exists, or a number cannot be.
    """
    out = Path(out)
    _refuse_existing(out)
    if min(count - 1, views, scenes) < 1:
        raise DatabaseError("toys, views and scenes must be 2, 1 and 1 or more")
    toys = draw_toys(count, seed)
    rng = random.Random(f"toy-photos-{seed}")
    unlisted: list[Identity] = []
    while len(unlisted) < 2 * scenes:
        toy = draw_identity(rng, held_out=True)
        if toy not in (*toys.values(), *unlisted):
            unlisted.append(toy)

    def save(shown: list[Identity], size: int, place: Path) -> Path:
        place.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(place) as file:
            compose(rng, shown, size).image.save(file, "PNG")
        return place

    for name, toy in toys.items():
        for j in range(views):
            save([toy], TOY_PX, out / "photos" / name / f"{j}.png")
    for i in range(scenes):
        save([unlisted[scenes + i]], SCENE_PX, out / "others" / f"{i}.png")
    found = []
    for i in range(scenes):
        names = rng.sample(list(toys), i % 2 + 1)
        shown = [toys[name] for name in names] + [unlisted[i]] * (i % 3 == 2)
        found.append((save(shown, SCENE_PX, out / "new" / f"{i}.png"), names))
    return found


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
