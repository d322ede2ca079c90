"""Learn concepts of a database by a method, or forget and rename them.

    byname learn --config configs/methods/yollava.yaml --database my/database.json
    byname learn --config configs/methods/yollava.yaml --photos my_photos --names bo mia
    byname learn --config configs/methods/in_context.yaml --database my/database.json \\
        --negatives my/others --calibrate
    byname learn --config configs/methods/yollava.yaml --database my/database.json --forget bo
    byname learn --config configs/methods/yollava.yaml --database my/database.json --rename mia=ada

What was learned lies beside the database, in ``<database>.learned/<method>/``; the same command
goes on where it was stopped. ``--forget`` removes a concept end to end: its entry, pictures that
were copied, cached features, and what every method learned of it. A process that answers questions
meanwhile follows at its next question.
"""

import sys
from dataclasses import dataclass, field
from typing import Any

from concepts.database import Database
from concepts.importers import photo_database
from concepts.methods.assistant import Assistant
from concepts.methods.finding import RetrievalSettings
from concepts.methods.forgetting import Forgotten, forget, named, rename
from concepts.methods.protocol import Learned
from concepts.methods.systems import System, check_policy, system_of
from data_gen.files.errors import InputError
from data_gen.files.sentences import next_commands
from data_gen.files.settings import config_path, read_settings
from rl.run import quiet_libraries


@dataclass(kw_only=True)
class OwnerSettings:
    """A system, and whose concepts it knows."""

    policy: str = field(default="", metadata={"help": "Directory of the policy, or hub id."})
    method: str = field(
        default="in_context", metadata={"help": "in_context, rap, r2p, myvlm or yollava."}
    )
    photos: str | None = field(
        default=None,
        metadata={
            "help": "Folder of photos, <name>/*.jpg, or a zip of it: the folders' names are the "
            "concepts' names. Its database.json is made or brought up to date; with --database, "
            "and of a zip, photos are copied."
        },
    )
    database: str | None = field(default=None, metadata={"help": "The concepts' database.json."})
    negatives: str | None = field(
        default=None, metadata={"help": "Folder or zip of photos that show none of the concepts."}
    )
    retrieval: RetrievalSettings | None = field(
        default=None, metadata={"help": "How references are found: encoder, regions, whole, k."}
    )
    settings: dict[str, Any] | None = field(
        default=None, metadata={"help": "Of the method: the dataclass Settings of its class."}
    )
    size: int = field(default=512, metadata={"help": "Long side of images, in pixels."})
    batch_size: int = field(default=8, metadata={"help": "Questions per call of the model."})
    dtype: str = field(default="float32", metadata={"help": "Of the weights."})
    device: str = field(default="auto", metadata={"help": "cpu, cuda, cuda:1 ... or auto."})
    box_convention: str | None = field(
        default=None, metadata={"help": "pixels, thousand or unit; default: the family's."}
    )

    def system(self) -> System:
        """The system, checked.

        Raises:
            InputError: what is wrong with it.
        """
        given = {
            "policy": self.policy,
            "method": self.method,
            "negatives": self.negatives,
            "retrieval": self.retrieval,
            "settings": self.settings,
        }
        system = system_of(given, self.method)
        check_policy(system.path)
        return system

    def opened_database(self) -> Database:
        """The database, made from ``photos`` where they are given.

        Raises:
            InputError: neither is given, or it cannot be used.
        """
        if self.photos is None and self.database is None:
            raise InputError("whose concepts? give --photos FOLDER or --database FILE")
        if self.photos is not None:
            database = photo_database(self.photos, self.database)
        else:
            database = Database(self.database or "")
        database.concepts()
        print(database.summary(), flush=True)
        return database

    def assistant(self, database: Database) -> Assistant:
        """The system with the database."""
        return Assistant(
            self.system(),
            database,
            dtype=self.dtype,
            device=self.device,
            size=self.size,
            batch_size=self.batch_size,
            box_convention=self.box_convention,
        )


@dataclass(kw_only=True)
class LearnSettings(OwnerSettings):
    """Which concepts, and what to do with them."""

    names: list[str] = field(default_factory=list, metadata={"help": "Of the concepts; all."})
    forget: list[str] = field(
        default_factory=list, metadata={"help": "Names of concepts to remove end to end."}
    )
    rename: list[str] = field(
        default_factory=list, metadata={"help": "OLD=NEW: concepts to rename."}
    )
    calibrate: bool = field(
        default=False,
        metadata={"help": "Choose the threshold for 'nobody' from these photos and negatives."},
    )


def main(argv: list[str] | None = None) -> None:
    """Read the settings, edit, learn, say what it cost."""
    quiet_libraries()
    argv = sys.argv[1:] if argv is None else argv
    try:
        (settings,) = read_settings(argv, LearnSettings, program="learn", doc=__doc__)
        database = settings.opened_database()
        if settings.forget or settings.rename:
            edit(settings, database)
            return
        if settings.names:
            named(database, settings.names)
        assistant = settings.assistant(database)
        names = [concept.name for concept in named(database, settings.names)] or None
        costs = assistant.learn(names, progress=True)
        print(*map(cost_line, costs), sep="\n", end="\n" * bool(costs))
        if not costs:
            raise InputError(f"nothing was learned{assistant.skipped.clause()}")
        if line := assistant.skipped.line():
            print(line)
        if settings.calibrate:
            found = assistant.calibrate()
            print(
                f"threshold {found.value:.3f}: {found.positive:.1%} of {found.n_positives} photos "
                f"with a concept reach it, {found.negative:.1%} of {found.n_negatives} without it "
                f"do not"
            )
    except (ValueError, OSError) as error:
        sys.exit(f"learn: {error}")
    except KeyboardInterrupt:
        sys.exit("learn: stopped; the same command goes on with the next concept")
    config = config_path(argv)
    method = ["--method", settings.method] if config is None else ["--config", config]
    asked = ["byname", "ask", *method, "--policy", settings.policy]
    print(next_commands([*asked, "--database", database.path, "--image", "PHOTO"]))


def edit(settings: LearnSettings, database: Database) -> None:
    """Rename and forget, in this order."""
    pairs = [pair.partition("=") for pair in settings.rename]
    for pair, (_, equals, _) in zip(settings.rename, pairs, strict=True):
        if not equals:
            raise InputError(f"rename: {pair!r} is not OLD=NEW")
    named(database, [old for old, _, _ in pairs])  # all of them, before the first is renamed
    for old, _, new in pairs:
        rename(database, old, new)
        print(f"{old} is called {new} now")
    caches = [RetrievalSettings.cache, (settings.settings or {}).get("cache")]
    caches += [settings.retrieval.cache] if settings.retrieval is not None else []
    caches = [*filter(None, dict.fromkeys(caches))]
    for gone in forget(database, settings.forget, caches) if settings.forget else ():
        print(forgotten_line(gone))


def cost_line(cost: Learned) -> str:
    """What learning a concept cost, as a line."""
    kept = "kept from before: " if cost.reused else ""
    return (
        f"{cost.name}: {kept}{cost.seconds:.1f} s, {cost.n_bytes:,} bytes, "
        f"{cost.n_parameters:,} parameters"
    )


def forgotten_line(gone: Forgotten) -> str:
    """What was removed of a concept, as a line."""
    left = f"; your own photos stay: {gone.photos[0].parent}" if gone.photos else ""
    return (
        f"{gone.name} is forgotten: its entry, {gone.n_pictures} copied pictures, "
        f"{gone.n_vectors} cached vectors, what {gone.n_learned} methods had learned{left}"
    )


if __name__ == "__main__":
    main()
