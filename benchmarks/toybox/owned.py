"""Toybox questions without references: the system retrieves them from a database of toys.

The user owns ``toys`` toys, each with one image, a name and a sentence. The image asked about shows
one, two or four of them, and a system with ``retrieval`` may retrieve 2 references (for one and two
concepts) or 4, right or wrong (the *retrieval* protocol of RePIC, 2506.18369). Every toy in the
image is expected, retrieved or not, as in RePIC's figures with retrieval.
"""

import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from accelerate import PartialState

from benchmarks.harness.benchmark import Question
from concepts.database import Database
from concepts.importers import draw_toys, toybox_database
from concepts.methods.finding import as_reference
from concepts.methods.protocol import Reference
from data_gen.files.errors import InputError
from data_gen.rows import ICT
from data_gen.tasks.prompts import conversation
from data_gen.tasks.questions import draw_caption_style
from data_gen.toybox.rows import ToyboxSettings, load_templates
from data_gen.toybox.scene import compose

OWNED = {"owned_1": 1, "owned_2": 2, "owned_4": 4}
"""Set -> toys in the image."""

SEED_KEYS = {"owned_1": "found_1", "owned_2": "found_2", "owned_4": "found_4"}
"""Set -> its former name, which stays in seeds and ids: another would draw other questions."""


def owned_database(
    toys: int, seed: int, cache: str, settings: ToyboxSettings, photos: int = 1
) -> Database:
    """The toys that the user owns, with ``photos`` images each, below ``cache``.

    The database is made once, whole or not at all, by the first process.
    """
    size, half = settings.reference_px, settings.half
    name = f"toys-{toys}-{seed}-{size}" + (f"-{half}" if half else "")
    name += f"-{photos}" if photos > 1 else ""
    place = Path(cache) / name
    with PartialState().main_process_first():
        if not (place / "database.json").exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(prefix=f"{name}-", dir=place.parent) as folder:
                partial = Path(folder) / name
                toybox_database(partial, toys, seed, half=half, views=photos, size=size)
                with suppress(OSError):  # another process was first
                    partial.rename(place)
    return Database(place / "database.json")


def owned_references(database: Database) -> dict[str, Reference]:
    """Name -> reference of every concept; images are files."""
    return {name: as_reference(database, c) for name, c in database.concepts().items()}


def owned_questions(
    name: str, count: int, seed: int, settings: ToyboxSettings, toys: int, toys_seed: int
) -> list[Question]:
    """The first ``count`` questions of a set of :data:`OWNED`, without references.

    ``truth`` holds ``toys`` and ``toy_names``, left to right, and ``state``, the random numbers
    that :func:`write_owned` continues with.

    Raises:
        InputError: fewer toys than an image shows.
    """
    m = OWNED[name]
    k = max(2, m)
    if toys < k:
        raise InputError(f"toys is {toys}; {name} needs {k} or more")
    owned = draw_toys(toys, toys_seed, half=settings.half)
    found = []
    for index in range(count):
        row_id = f"toybox-{settings.split}-{seed}-{SEED_KEYS[name]}-{index}"
        rng = random.Random(row_id)
        names = rng.sample(list(owned), m)
        called = {owned[name]: name for name in names}
        scene = compose(rng, list(called), settings.query_px)
        found.append(
            Question(
                row_id,
                ICT,
                image=scene.image,
                references=None,
                k=k,
                names=tuple(names),
                source=f"toybox:{SEED_KEYS[name]}",
                truth={
                    "toys": [asdict(toy.identity) for toy in scene.toys],
                    "toy_names": [called[toy.identity] for toy in scene.toys],
                    "state": rng.getstate(),
                },
            )
        )
    return found


def write_owned(
    state: tuple, references: Sequence[Reference], settings: ToyboxSettings
) -> list[dict]:
    """The request for a caption with the references that a system found, in training's words.

    Args:
        state: of a question's ``truth``.
    """
    rng = random.Random()
    rng.setstate(state)
    style = draw_caption_style(rng)
    return conversation(
        rng,
        ICT,
        [r.name for r in references],
        [r.info for r in references],
        load_templates(settings),
        style,
    )
