"""Forget a concept, or rename it, in everything that knows it: entry, pictures, vectors, files.

Removed are the database's entry, what every method learned of it, copies of its pictures that no
other concept uses, and their cached features. The owner's own photos are left where they are.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from concepts.concept import Concept
from concepts.database import IMAGES, Database, DatabaseError
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
        DatabaseError: there is no such concept; none of the others is touched then.
    """
    caches = list(caches)
    return [_forget(database, one, caches) for one in named(database, names)]


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
    others = {
        database.image_path(image)
        for one in database.concepts().values()
        if one.name != concept.name
        for image in one.images
    }
    own = [database.image_path(image) for image in concept.images]
    keys = {key for file in own if (key := _key(file))} - {_key(file) for file in others}
    n_vectors = sum(forget_features(cache, keys) for cache in caches)
    stores = [store for store in _stores(database) if store.facts(concept.name) is not None]
    for store in _stores(database):
        store.remove(concept.name)
    copies = [file for file in own if _is_copy(file, database) and file not in others]
    for file in copies:
        file.unlink(missing_ok=True)
    database.remove(concept.name)
    photos = tuple(file for file in own if file not in copies)
    return Forgotten(concept.name, len(stores), len(copies), n_vectors, photos)


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


def _key(file: Path) -> str | None:
    try:
        return content_key(file)
    except PhotoError:
        return None
