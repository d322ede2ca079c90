"""What a benchmark teaches the methods that learn: its concepts as a database, each learned once.

A method that is shown references needs none of this. For one that learns, the concepts of a
benchmark (:meth:`benchmarks.harness.benchmark.Benchmark.concepts`) become a database beside the
evaluation, ``<out>/concepts/database.json``, and what was learned of them lies in
``<out>/concepts/<method>-<digest>.learned``, one folder for all systems that learn the same: a run
that was killed goes on with the next concept, and an evaluation that is repeated learns nothing
anew. A system with a ``database`` of its own learns
those concepts instead, beside that database, as ``byname learn`` does.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from accelerate import PartialState
from PIL import Image

from benchmarks.harness.benchmark import Benchmark, picture_digest
from concepts.concept import EntryError, check_name
from concepts.database import Database
from concepts.importers import loose_photos
from concepts.methods.learned import learned_folder
from concepts.methods.protocol import Learned, Method, Picture
from concepts.methods.registry import method_class
from concepts.methods.systems import System, policy_fingerprint
from data_gen.files.errors import InputError
from data_gen.files.files import atomic_file, file_digest, fingerprint_of, write_text
from data_gen.images.photos import PhotoError, open_photo


def concepts_of(
    system: System, benchmark: Benchmark, out: Path
) -> tuple[Database | None, Path | None]:
    """The database of a system's concepts, and where what it learned of them lies; ``None`` for a
    method that needs none.

    Args:
        out: of the evaluation.

    Raises:
        InputError: the benchmark's concepts cannot be learned, or the database cannot be read.
    """
    method = method_class(system.method)
    if not method.uses_database:
        return None, None
    if system.database is not None:
        return Database(system.database), learned_folder(system.database)
    if not method.learns and not benchmark.fixed_concepts and not benchmark.owned:
        return None, None  # it makes do with the references that it is shown
    place = out / "concepts"
    with PartialState().main_process_first():
        database = benchmark_database(benchmark, place)
    settings = method.Settings() if system.settings is None else system.settings
    learned_from = json.dumps(method.learned_from(settings), sort_keys=True)
    digest = fingerprint_of(policy_fingerprint(system.path), learned_from)[:8]
    return database, place / f"{system.method}-{digest}.learned"


def benchmark_database(benchmark: Benchmark, place: Path) -> Database:
    """The concepts of a benchmark as a database at ``place``, made once."""
    concepts = benchmark.concepts()
    given = [[asdict(c), [picture_digest(p) for p in pictures]] for c, pictures in concepts]
    made_from = fingerprint_of(json.dumps(given, sort_keys=True))
    file, note = place / "database.json", place / "made_from.txt"
    if not file.exists() or not note.exists() or note.read_text() != made_from:
        note.unlink(missing_ok=True)
        file.unlink(missing_ok=True)
        place.mkdir(parents=True, exist_ok=True)
        usable = []
        for concept, pictures in concepts:
            try:
                check_name(concept.name)
                usable.append(replace(concept, images=_files(pictures, place)))
            except (EntryError, PhotoError) as reason:
                benchmark.skipped.add(f"concept that cannot be learned: {reason}", concept.name)
        if not usable:
            raise InputError(f"{benchmark.name} has no concept that can be learned")
        Database(file).add_all(usable)
        write_text(note, made_from)
    return Database(file)


def teach(
    method: Method,
    system: System,
    database: Database,
    kept: Path,
    negatives: Sequence[Picture] = (),
    progress: bool = True,
) -> list[Learned]:
    """Learn the concepts of a database, the first process first; what it cost is written to
    ``kept``.

    Args:
        negatives: pictures that show none of them, where the system names no folder.

    Raises:
        InputError: a concept cannot be learned, or ``negatives`` is no folder of photos.
    """
    concepts = list(database.concepts().values())
    if system.negatives is not None:
        negatives = loose_photos(system.negatives)
    with PartialState().main_process_first():
        costs = method.learn(concepts, negatives, progress and PartialState().is_main_process)
    if PartialState().is_main_process:
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_text(kept, json.dumps([asdict(cost) for cost in costs], indent=1) + "\n")
    return costs


def read_costs(kept: Path) -> list[dict]:
    """What :func:`teach` wrote; empty where nothing was learned."""
    return json.loads(kept.read_bytes()) if kept.exists() else []


def learned_digest(method: Method, database: Database) -> str:
    """Changes with the concepts that a system knows: their pictures, words and names."""
    texts = [json.dumps(asdict(c), sort_keys=True) for c in database.concepts().values()]
    files = [database.image_path(i) for c in database.concepts().values() for i in c.images]
    return fingerprint_of(method.kind, *texts, file_digest(files))[:8]


def refuse_unlearnable(system: System, benchmark: Benchmark) -> None:
    """Refuse sets that a method which learns, and does not look at the pictures handed over, would
    be scored on without having been told.

    Raises:
        InputError: a name of which nothing can be learned, or one that is shown with another
            concept's picture, in which set, and what to leave out.
    """
    if not method_class(system.method).learns:
        return
    concepts = benchmark.concepts()
    known = {concept.name for concept, _ in concepts}
    if system.database is not None:
        known = set(Database(system.database).concepts())
    owners = {picture_digest(p): concept.name for concept, of in concepts for p in of}
    for name, questions in benchmark.sets.items():
        for one in (r for question in questions for r in question.references or ()):
            owner = owners.get(picture_digest(one.image), one.name)
            if one.name in known and owner == one.name:
                continue
            what = (
                "with the picture of another concept"
                if one.name in known
                else "of whom nothing can be learned"
            )
            raise InputError(
                f"set {name} shows {one.name!r} {what}, and {system.label} answers from what it "
                f"learned of a name; leave out the set, or the system"
            )


def _files(pictures: Sequence, place: Path) -> tuple[str, ...]:
    """Pictures as files that a database below ``place`` takes: opened ones are written there."""
    found = []
    for picture in pictures:
        if isinstance(picture, Image.Image):
            file = place / "pictures" / f"{picture_digest(picture)[:16]}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(file) as out:
                picture.save(out, "PNG")
            found.append(file.relative_to(place).as_posix())
        else:
            open_photo(picture, 64)
            found.append(str(Path(picture).resolve()))
    return tuple(found)
