"""Toybox rows whose references retrieval found: what a policy is worth behind a database.

The user owns ``toys`` toys, each with one picture and a name. The picture asked about shows one,
two or four of them; the references in the prompt are those that :mod:`concepts.retrieval` finds for
it, 2 (for one and two concepts) or 4 (RePIC, 2506.18369), right or wrong, each with what its owner
says of it in the database. Every toy in the picture is due, found or not, as in RePIC's figures
with retrieval.

What was found is kept in a file: it does not depend on the policy, and is found once for all.
"""

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from PIL import Image

from concepts.database import Database
from concepts.importers import draw_toys, toybox_database
from concepts.index import LiveIndex
from concepts.methods.retrieval_cache import found_once
from concepts.regions import load_proposer
from concepts.retrieval import Retriever
from data_gen.images.encoders import load_encoder
from data_gen.images.photos import open_photo
from data_gen.tasks.questions import Reference, draw_manner, identity_consistency_row
from data_gen.toybox.rows import ToyboxSettings, load_templates
from data_gen.toybox.scene import compose

FOUND = {"found_1": 1, "found_2": 2, "found_4": 4}
"""Set -> toys in the picture."""


@dataclass(frozen=True)
class Retrieval:
    """How references are found.

    Attributes:
        toys: in the database, all held out. seed: which ones.
        encoder: as in :mod:`data_gen.images.encoders`.
        regions: as in :func:`concepts.regions.load_proposer`; ``None`` looks at whole pictures.
        cache: directory of databases, features and what was found.
    """

    toys: int = 60
    seed: int = 0
    encoder: str = "toybox_clip"
    regions: dict | None = field(default_factory=lambda: {"kind": "windows"})
    cache: str = "runs/toybox_found"


def found_rows(
    name: str, count: int, seed: int, settings: ToyboxSettings, retrieval: Retrieval
) -> list[dict]:
    """The first ``count`` rows of a set of :data:`FOUND`, with the truth in ``toys`` (left to
    right) and in ``found`` how many of them have their reference in the prompt.

    Raises:
        ValueError: no such encoder or detector, or fewer toys than a picture shows.
    """
    m = FOUND[name]
    if retrieval.toys < max(2, m):
        raise ValueError(f"retrieval.toys is {retrieval.toys}; {name} needs {max(2, m)} or more")
    owned = draw_toys(retrieval.toys, retrieval.seed, half=settings.half)
    database = _database(retrieval, settings)
    drawn = []
    for index in range(count):
        rng = random.Random(f"toybox-{settings.split}-{seed}-{name}-{index}")
        names = rng.sample(list(owned), m)
        drawn.append((index, rng, names, compose(rng, [owned[n] for n in names],
                                                 settings.query_px)))
    found = _found([scene.image for *_, scene in drawn], max(2, m), database, retrieval, name)
    return [_row(name, seed, settings, owned, database, *one, shown)
            for one, shown in zip(drawn, found, strict=True)]


def _row(name, seed, settings, owned, database, index, rng, names, scene, shown) -> dict:
    concepts = database.concepts()
    references = [Reference(open_photo(database.picture(concepts[n].images[0]),
                                       settings.reference_px), n, concepts[n].info)
                  for n in shown]
    row = identity_consistency_row(
        rng, f"toybox-{settings.split}-{seed}-{name}-{index}", references,
        [n in names for n in shown], scene.image, source=f"toybox:{name}",
        templates=load_templates(settings), manner=draw_manner(rng))
    return {**row, "names": [*row["names"], *(n for n in names if n not in shown)],
            "toys": [asdict(toy.identity) for toy in scene.toys], "found": len(row["names"])}


def _found(
    pictures: list[Image.Image], k: int, database: Database, retrieval: Retrieval, title: str
) -> list[list[str]]:
    """Names of the k toys found for each picture, kept on disk."""
    what = json.dumps([k, str(database.path.parent.name), retrieval.encoder, retrieval.regions])
    made_from = hashlib.sha256(what.encode()).hexdigest()[:12]
    by_key = {hashlib.sha256(picture.tobytes()).hexdigest()[:16]: picture for picture in pictures}
    retrieve: list[Callable] = []  # loaded when it is first needed

    def find(key: str) -> list[str]:
        if not retrieve:
            retrieve.append(_retriever(database, retrieval))
        return [one.name for one in retrieve[0](by_key[key], "", k)]

    known = found_once(Path(retrieval.cache) / f"found-{made_from}.json", made_from,
                       {key: key for key in by_key}, find, f"references: {title}")
    return [known[key] for key in by_key]


def _retriever(database: Database, retrieval: Retrieval) -> Callable:
    encoder = load_encoder(retrieval.encoder)
    index = LiveIndex(database, encoder, cache=Path(retrieval.cache) / "features")
    return Retriever(index, encoder, load_proposer(retrieval.regions)).retrieve


def _database(retrieval: Retrieval, settings: ToyboxSettings) -> Database:
    """The toys' database, made once; whole or not at all."""
    size, half = settings.reference_px, settings.half
    name = f"toys-{retrieval.toys}-{retrieval.seed}-{size}" + (f"-{half}" if half else "")
    place = Path(retrieval.cache) / name
    if not (place / "database.json").exists():
        partial = place.with_name(f"{place.name}.{os.getpid()}")
        shutil.rmtree(partial, ignore_errors=True)
        toybox_database(partial, retrieval.toys, retrieval.seed, half=half, size=size)
        try:
            partial.rename(place)
        except OSError:  # another process was first
            shutil.rmtree(partial)
    return Database(place / "database.json")
