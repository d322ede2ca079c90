"""Forget a concept, or rename it, in everything that knows it: entry, pictures, vectors, files.

Removed are the database's entry, what every method learned of it, copies of its pictures that no
other concept uses, and their cached features. The owner's own photos are left where they are. What
is left of a concept whose entry cannot be used, or was deleted by hand, can be forgotten, too.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from concepts.concept import Concept
from concepts.database import IMAGES, Database, DatabaseError, read_to_edit
from concepts.methods.learned import LearnedStore, learned_folder
from concepts.methods.registry import METHODS, method_class
from data_gen.images.features import content_key, forget_features
from data_gen.images.photos import PhotoError
from rewards.names import name_key


@dataclass(frozen=True)
class Forgotten:
    """What was removed of one concept.

    Args:
        name: the concept's.
        n_learned: methods that had learned it.
        n_pictures: copied pictures.
        n_vectors: cached vectors of its pictures.
        photos: the owner's own, which are left.
    """

    name: str
    n_learned: int
    n_pictures: int
    n_vectors: int
    photos: tuple[Path, ...]


def forget(
    database: Database, names: Sequence[str], caches: Iterable[str | Path] = ()
) -> list[Forgotten]:
    """Forget concepts, the entry last: a run that is killed is finished by the same call.

    Args:
        names: as a caption may write them.
        caches: directories of features (:mod:`data_gen.images.features`).

    Raises:
        DatabaseError: there is no such concept, or the database cannot be edited; none of the
            others is touched then.
    """
    caches = list(caches)
    names = list({name_key(name): name for name in names}.values())
    known = {name_key(name) for name in database.concepts()}
    left = _left_of(database)
    rest = [left[key] for name in names if (key := name_key(name)) in left and key not in known]
    whole = named(database, [name for name in names if name_key(name) not in left.keys() - known])
    return [_forget(database, one, caches) for one in (*whole, *rest)]


def rename(database: Database, name: str, to: str) -> None:
    """Rename a concept, and what was learned of it; what depends on the name must be learned again.

    Raises:
        DatabaseError: there is no such concept, or the new name is taken or none.
    """
    (concept,) = named(database, [name])
    database.rename(concept.name, to)
    for store in _stores(database):
        store.rename(concept.name, to)


def named(database: Database, names: Sequence[str]) -> list[Concept]:
    """The concepts of these names.

    Raises:
        DatabaseError: one that there is not, with those that there are.
    """
    concepts = {name_key(name): concept for name, concept in database.concepts().items()}
    missing = [name for name in names if name_key(name) not in concepts]
    if missing:
        there = ", ".join(list(database.concepts())[:20])
        raise DatabaseError(f"{database.path} holds no concept {missing[0]!r}; it holds {there}")
    return [concepts[name_key(name)] for name in names]


def _forget(database: Database, concept: Concept, caches: Sequence[str | Path]) -> Forgotten:
    entries, key = _entries(database), name_key(concept.name)
    others = {
        database.image_path(image)
        for other, one in entries.items()
        if other != key
        for image in one.images
    }
    own = [database.image_path(image) for image in concept.images]
    contents = {found for file in own if (found := _content(file))} - {*map(_content, others)}
    n_vectors = sum(forget_features(cache, contents) for cache in caches)
    stores = [store for store in _stores(database) if store.facts(concept.name) is not None]
    for store in _stores(database):
        store.remove(concept.name)
    copies = [file for file in own if _is_copy(file, database) and file not in others]
    n_copies = sum(file.is_file() for file in copies)
    for file in copies:
        file.unlink(missing_ok=True)
    if key in entries:
        database.remove(concept.name)
    photos = tuple(file for file in own if file not in copies and file.is_file())
    return Forgotten(concept.name, len(stores), n_copies, n_vectors, photos)


def _left_of(database: Database) -> dict[str, Concept]:
    """Key of a name -> what there is of it: an entry, usable or not, or what methods learned."""
    learned = {name: Concept(name) for store in _stores(database) for name in store.names()}
    return {name_key(name): one for name, one in learned.items()} | _entries(database)


def _entries(database: Database) -> dict[str, Concept]:
    """Key of a name -> its entry, with the images that it names, whether they are there or not."""
    found = {}
    for tag, entry in read_to_edit(database.path)["concept_dict"].items():
        entry = entry if isinstance(entry, dict) else {}
        several = entry.get("images")
        images = [entry.get("image"), *(several if isinstance(several, list) else [])]
        name = tag.strip("<>")
        given = dict.fromkeys(image for image in images if isinstance(image, str) and image)
        found[name_key(name)] = Concept(name, tuple(given))
    return found


def _stores(database: Database) -> list[LearnedStore]:
    """Everything that was learned of a database's concepts, by whichever method and policy."""
    folder = learned_folder(database.path)
    kinds = (
        sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.exists() else ()
    )
    return [
        LearnedStore(
            folder,
            kind,
            "",
            "",
            root=database.root,
            names_matter=kind in METHODS and method_class(kind).names_matter,
        )
        for kind in kinds
    ]


def _is_copy(file: Path, database: Database) -> bool:
    return file.parent == database.root / IMAGES


def _content(file: Path) -> str | None:
    try:
        return content_key(file)
    except PhotoError:
        return None
