"""The concept database: a ``database.json`` that may be edited while a model is in use.

The file is the truth. Every query checks whether it has changed, so an edit counts at the next
query, also one by another process. An edit takes a lock, reads the file anew, changes one entry and
puts a whole new file in place: two processes that edit at once lose nothing, and entries that could
not be read here stay in the file as they are.

Not supported: a server, and a history of edits. An edit writes the whole file: many concepts
are better added at once (:meth:`Database.add_all`).
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from filelock import FileLock, Timeout

from concepts.concept import (
    Concept,
    EntryError,
    check_name,
    concept_of,
    entry_of,
    inside,
    renamed,
    tag_of,
)
from data_gen.files.errors import InputError
from data_gen.files.files import atomic_file, is_file
from data_gen.files.json_stream import from_json
from data_gen.files.skipped import SkippedItems
from data_gen.images.photos import PhotoError, open_photo, photo_bytes
from rewards.names import name_key

LOCK_SECONDS = 30
"""How long an edit waits for another process to finish its own."""

IMAGES = "images"
"""Folder of the image root into which images from elsewhere are copied."""


COPIES = {
    True: ("png", {"format": "PNG"}),
    False: ("jpg", {"format": "JPEG", "quality": 95, "subsampling": 0}),
}
"""Whether the original was exact -> ending and pillow's options of the copy."""

LOSSLESS = (".png", ".gif", ".bmp")

LONGEST_COPY = 4096
"""Long side of a copied image, in pixels."""


@dataclass(frozen=True)
class Changes:
    """From one version of a database to the next.

    Args:
        before: :attr:`Database.loaded` of the version before; ``None``: there was none.
        changed: names of concepts that are new, or are not the same objects any more.
        gone: names of those that are not there any more.
    """

    before: tuple | None
    changed: tuple[str, ...]
    gone: tuple[str, ...]


class Database:
    """The concepts of one ``database.json``.

    Args:
        path: the file; it need not exist before the first :meth:`add`.
        root: directory that image paths are relative to; the file's own by default.
        prefix: what the file's image paths begin with that ``root`` stands for, such as the
            ``./data/database_tot`` of RePIC's.
        need_images: skip concepts without an image on disk. ``False`` keeps them: their names
            are still found in questions.

    Attributes:
        skipped: entries, or images of entries, that are not used, by reason.
        loaded: changes whenever :meth:`concepts` has read the file anew.
        changes: what was other when the file was last read, or written here.
    """

    def __init__(
        self,
        path: str | Path,
        root: str | Path | None = None,
        *,
        prefix: str = "",
        need_images: bool = True,
    ):
        self.path = Path(path)
        self.root = Path(root) if root is not None else self.path.parent
        self.prefix, self.need_images = prefix, need_images
        self.skipped = SkippedItems()
        self._concepts: dict[str, Concept] = {}
        self._entries: dict[str, tuple[dict, str]] = {}  # tag -> entry, name as it is compared
        self.loaded: tuple | None = None
        self.changes = Changes(None, (), ())

    def concepts(self) -> Mapping[str, Concept]:
        """Name -> concept, as the file says now, in its order.

        Raises:
            DatabaseError: the file is missing or damaged, or holds no usable concept.
        """
        self._refresh()
        if not self._concepts:
            raise DatabaseError(f"{self.path} holds no usable concept{self.skipped.clause()}")
        return MappingProxyType(self._concepts)

    def summary(self) -> str:
        """One line: how many concepts and images, and what is skipped and why."""
        images = sum(len(concept.images) for concept in self._concepts.values())
        return (
            f"{self.path}: {len(self._concepts)} concepts, {images} images{self.skipped.clause()}"
        )

    def image_path(self, image: str) -> Path:
        """Where a concept's image is."""
        return self.root / image

    def photos(self, concept: Concept, skipped: SkippedItems | None = None) -> Iterator[Path]:
        """The images of a concept that open, each opened when it is its turn; ``skipped`` is given
        the others, by reason."""
        for image in concept.images:
            try:
                open_photo(self.image_path(image), 64)
                yield self.image_path(image)
            except PhotoError as reason:
                if skipped is not None:
                    skipped.add(str(reason), concept.name)

    # ---- edits ----

    def add(self, concept: Concept) -> None:
        """Add a concept. Images from outside of the image root are copied into it.

        Raises:
            DatabaseError: the name is taken or none, or an image cannot be opened.
        """
        self.add_all([concept])

    def add_all(self, concepts: Iterable[Concept]) -> None:
        """Add several at once; all of them, or none."""
        ready = [self._with_own_images(concept) for concept in concepts]

        def change(entries: dict, paths: dict) -> None:
            taken = {name_key(tag.strip("<>")): tag for tag in entries}
            for concept in ready:
                key = name_key(concept.name)
                if key in taken:
                    raise DatabaseError(
                        f"{self.path}: the name {concept.name!r} is taken by "
                        f"{taken[key]}; edit that, or choose another name"
                    )
                taken[key] = tag_of(concept.name)
                entries[tag_of(concept.name)] = entry_of(concept)
                paths.update(dict.fromkeys(concept.images, tag_of(concept.name)))

        self._edit(change)

    def edit(self, name: str, **changes) -> None:
        """Change a concept's ``images``, ``info``, ``category`` or ``attributes``.

        Raises:
            DatabaseError: there is no such concept, or an image cannot be opened.
            TypeError: a concept has no such field.
        """
        if "name" in changes:
            raise TypeError("a concept's name is changed by rename()")
        # Checked before the lock is taken: opening images may be slow.
        checked = self._with_own_images(replace(Concept(name), **changes))
        changes = {key: getattr(checked, key) for key in changes}
        self._replace(name, lambda concept: replace(concept, **changes))

    def rename(self, name: str, to: str) -> None:
        """Give a concept another name; its info follows.

        Raises:
            DatabaseError: there is no such concept, or the new name is taken or none.
        """
        self._check(to)
        self._replace(name, lambda concept: renamed(concept, to))

    def remove(self, name: str) -> None:
        """Take a concept out of the database; its images stay on disk.

        Raises:
            DatabaseError: there is no such concept.
        """

        def change(entries: dict, paths: dict) -> None:
            tag = self._find(entries, name)
            del entries[tag]
            for path in [path for path, owner in paths.items() if owner == tag]:
                del paths[path]

        self._edit(change)

    def _replace(self, name: str, alter: Callable[[Concept], Concept]) -> None:
        def change(entries: dict, paths: dict) -> None:
            tag = self._find(entries, name)
            try:
                before, _ = concept_of(tag, entries[tag], self._inside)
            except EntryError as reason:
                raise DatabaseError(
                    f"{self.path}, {tag}: {reason}; remove it, and add it anew"
                ) from None
            after = alter(before)
            new_tag = tag_of(after.name)
            clash = [
                t for t in entries if t != tag and name_key(t.strip("<>")) == name_key(after.name)
            ]
            if clash:
                raise DatabaseError(f"{self.path}: the name {after.name!r} is taken by {clash[0]}")
            old = entries[tag]
            entry = entry_of(after, old)
            if after.images == before.images:  # as they were written, missing ones included
                entry |= {key: old[key] for key in ("image", "images") if key in old}
            else:
                for path in [path for path, owner in paths.items() if owner == tag]:
                    del paths[path]
                paths.update(dict.fromkeys(after.images, new_tag))
            if after.info == before.info:
                entry["info"] = old.get("info", "")
            # In place: the order of the others is theirs to keep.
            items = [(new_tag, entry) if t == tag else (t, e) for t, e in entries.items()]
            entries.clear()
            entries.update(items)
            paths.update({path: new_tag for path, owner in paths.items() if owner == tag})

        self._edit(change)

    # ---- the file ----

    def _edit(self, change: Callable[[dict, dict], None]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(f"{self.path}.lock", timeout=LOCK_SECONDS):
                content: dict = {"concept_dict": {}, "path_to_concept": {}}
                if self.path.exists():
                    content = read_to_edit(self.path)
                known = self.path.exists() and self.loaded == version_of(self.path)
                change(content["concept_dict"], content["path_to_concept"])
                write_database(self.path, content)
                if known:  # the next query need not read it again
                    self._take(content, [], version_of(self.path))
        except Timeout:
            raise DatabaseError(
                f"{self.path} has been locked by another process for "
                f"{LOCK_SECONDS} s; try again when it is done"
            ) from None
        except OSError as error:
            raise DatabaseError(f"{self.path} cannot be written ({error.strerror})") from None

    def _refresh(self) -> None:
        version = version_of(self.path)  # before reading: what comes meanwhile is seen next time
        if version == self.loaded:
            return
        self._take(*read_database(self.path), version)

    def _take(self, content: dict, twice: list[str], version: tuple) -> None:
        """The concepts of a file's content. An entry that is as it was keeps its very concept."""
        before, known = self._concepts, self._entries
        skipped, entries = SkippedItems(), {}
        for tag in twice:
            skipped.add("given twice, of which the first counts", tag)
        concepts: dict[str, Concept] = {}
        taken: set[str] = set()
        new: list[str] = []
        for tag, entry in content["concept_dict"].items():
            kept = known.get(tag)
            if kept is not None and kept[0] == entry and kept[1] not in taken:
                concepts[tag[1:-1]], entries[tag] = before[tag[1:-1]], kept
                taken.add(kept[1])
                continue
            try:
                concept, wrong = concept_of(tag, entry, self._inside)
                for reason in wrong:
                    skipped.add(reason, tag)
                if self.need_images and not concept.images:
                    raise EntryError("no image left" if wrong else "no image is given")
                key = name_key(concept.name)
                if key in taken:
                    raise EntryError("another has the same name")
            except EntryError as reason:
                skipped.add(str(reason), tag)
                continue
            taken.add(key)
            concepts[concept.name] = concept
            new.append(concept.name)
            if not wrong:
                entries[tag] = entry, key
        self.changes = Changes(
            self.loaded,
            tuple(new),
            tuple(sorted(before.keys() - concepts.keys())),
        )
        self._concepts, self._entries = concepts, entries
        self.skipped, self.loaded = skipped, version

    def _inside(self, image: str) -> str:
        return inside(image, self.root, self.prefix)

    def _find(self, entries: dict, name: str) -> str:
        """The tag of an entry, whose name may be written as captions may write it."""
        for tag in (tag_of(name), *entries):
            if tag in entries and name_key(tag.strip("<>")) == name_key(name):
                return tag
        raise DatabaseError(f"{self.path} holds no concept {name!r}")

    def _check(self, name: str) -> None:
        try:
            check_name(name)
        except EntryError as reason:
            raise DatabaseError(f"{self.path}, {name!r}: {reason}") from None

    def _with_own_images(self, concept: Concept) -> Concept:
        """The concept with every image inside of the image root, each opened once."""
        self._check(concept.name)
        images = []
        for image in concept.images:
            path = Path(image) if Path(image).is_absolute() else self.root / image
            try:
                open_photo(path, 64)
                try:
                    images.append(inside(str(image), self.root))
                except EntryError:
                    images.append(self._copied(path))
            except PhotoError as reason:
                raise DatabaseError(
                    f"{self.path}, {concept.name!r}: image {image}: {reason}"
                ) from None
        return replace(concept, images=tuple(images), attributes=tuple(concept.attributes))

    def _copied(self, path: Path) -> str:
        """A copy below the image root, called after the content of the original. It holds pixels
        alone, upright: a database may be given away, and a photo says where it was taken."""
        digest = hashlib.sha256(photo_bytes(path)).hexdigest()[:16]
        ending, options = COPIES[path.suffix.lower() in LOSSLESS]
        target = self.root / IMAGES / f"{digest}.{ending}"
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(target) as file:
                open_photo(path, LONGEST_COPY).save(file, **options)
        return target.relative_to(self.root).as_posix()


class DatabaseError(InputError):
    """A database that cannot be read or edited as asked: which, why, and the remedy."""


def read_database(path: Path, exact: bool = False) -> tuple[dict, list[str]]:
    """The content of a file, and the keys that it gives twice in one object; the first counts.

    Args:
        exact: refuse what :func:`data_gen.files.json_stream.from_json` would shorten, as a file
            that is written again must lose nothing.

    Raises:
        DatabaseError: it is missing, no JSON, or no concept database.
    """
    twice: list[str] = []

    def first_counts(pairs: list[tuple]) -> dict:
        found: dict = {}
        for key, value in pairs:
            if key in found:
                twice.append(key)
            found.setdefault(key, value)
        return found

    if path.exists() and not is_file(path):  # before opening: a named pipe would wait for ever
        raise DatabaseError(f"{path} is no file; name a database.json")
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = (json.loads if exact else from_json)(text, object_pairs_hook=first_counts)
    except OSError as error:
        raise DatabaseError(f"{path} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise DatabaseError(f"{path} is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise DatabaseError(f"{path} is no JSON (line {error.lineno}: {error.msg})") from None
    except (RecursionError, ValueError):
        raise DatabaseError(
            f"{path} is no concept database that can be edited: an entry is nested too deeply, or "
            "holds a number of too many digits; remove that entry by hand"
        ) from None
    if (
        not isinstance(content, dict)
        or not isinstance(content.get("concept_dict"), dict)
        or not isinstance(content.setdefault("path_to_concept", {}), dict)
    ):
        raise DatabaseError(
            f"{path} is no concept database: expected an object with "
            "'concept_dict' and 'path_to_concept'"
        )
    return content, twice


def read_to_edit(path: Path) -> dict:
    """The content of a file that will be written again.

    Raises:
        DatabaseError: see :func:`read_database`; or it gives a key twice.
    """
    content, twice = read_database(path, exact=True)
    if twice:
        raise DatabaseError(
            f"{path} gives {twice[0]!r} twice, and an edit would lose one of them; rename or "
            "delete one by hand"
        )
    return content


def write_database(path: Path, content: dict) -> None:
    """Put a database in place, whole or not at all, with a later time than the one before."""
    text = json.dumps(content, indent=4, ensure_ascii=False) + "\n"
    with atomic_file(path) as file:
        # A lone surrogate, which only an escape can have brought in, goes back as that escape.
        file.write(text.encode("utf-8", "backslashreplace"))
        file.flush()
        # Two edits within one tick of the file system's clock must be told apart.
        before = path.stat().st_mtime_ns if path.exists() else 0
        now = max(time.time_ns(), before + 1_000_000)
        os.utime(file.fileno(), ns=(now, now))


def version_of(path: Path) -> tuple:
    """Changes whenever another file has been put in place, or this one written to.

    Raises:
        DatabaseError: there is none.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        raise DatabaseError(f"{path} cannot be read ({error.strerror})") from None
    return status.st_mtime_ns, status.st_size, status.st_ino
