"""What was learned of a concept, on disk: tensors and facts, one pair of files per concept.

    my/database.json.learned/yollava/bo-1f0c….safetensors      the tensors
    my/database.json.learned/yollava/bo-1f0c….json             what they were made from, their cost

A file counts only as long as the policy, the method's settings, and the concept's pictures and text
are what they were. One that does not is named once, in a printed sentence, and made again.
"""

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from concepts.concept import Concept, renamed
from data_gen.files.files import atomic_file, fingerprint_of, remove_abandoned
from rewards.names import name_key

_MADE_FROM = {
    "kind": "another method",
    "policy": "another policy",
    "settings": "other settings",
    "text": "another text about it",
    "pictures": "other pictures",
}
"""Fact -> what is said where it is not what it was."""


def learned_folder(database: str | Path) -> Path:
    """Where everything lies that was learned of the concepts of a ``database.json``."""
    database = Path(database)
    return database.with_name(f"{database.name}.learned")


class LearnedStore:
    """What one method learned with one policy.

    Args:
        folder: see :func:`learned_folder`; made when something is saved.
        kind: the method's.
        policy_digest: of the policy's files.
        settings_digest: of the method's settings.
        root: directory that the concepts' images are relative to; the folder's parent by default.
        names_matter: whether what is learned depends on the concept's name, as where captions that
            hold it were imitated. Otherwise it stays good when the concept is renamed.
    """

    def __init__(
        self,
        folder: Path,
        kind: str,
        policy_digest: str,
        settings_digest: str,
        *,
        root: Path | None = None,
        names_matter: bool = False,
    ):
        self.folder = Path(folder) / kind
        self.kind, self.policy, self.settings = kind, policy_digest, settings_digest
        self.root = Path(folder).parent if root is None else Path(root)
        self.names_matter = names_matter
        self._digests: dict[tuple, str] = {}
        self._told: set[str] = set()
        self._begun: dict[Concept, dict] = {}

    def load(self, concept: Concept) -> tuple[dict[str, Tensor], dict] | None:
        """Tensors and facts of a concept; ``None`` where nothing was learned, or from something
        else: why is printed once. What is saved of it next counts as made from its pictures as they
        are now: where they change during learning, it is stale at once."""
        facts = self.facts(concept.name)
        made_from = self._begun[concept] = self._made_from(concept)
        if facts is None:
            if self._path(concept.name, ".json").is_file():
                self._stale(concept.name, "cannot be read")
            return None
        differs = [words for key, words in _MADE_FROM.items() if facts.get(key) != made_from[key]]
        if differs:
            return self._stale(concept.name, f"was made from {' and '.join(differs)}")
        try:
            data = self._path(concept.name, ".safetensors").read_bytes()
            if hashlib.sha256(data).hexdigest() != facts.get("sha256"):
                return self._stale(concept.name, "is damaged, or was half written")
            return load(data), facts
        except (OSError, SafetensorError):
            return self._stale(concept.name, "cannot be read")

    def facts(self, name: str) -> dict | None:
        """What is written about a concept, up to date or not; ``None`` where nothing is."""
        try:
            facts = json.loads(self._path(name, ".json").read_bytes())
        except (OSError, ValueError, RecursionError):
            return None
        return facts if isinstance(facts, dict) else None

    def save(self, concept: Concept, tensors: Mapping[str, Tensor], facts: Mapping) -> int:
        """Keep what was learned of a concept, whole or not at all, in place of what was there.

        Args:
            tensors: by name, on any device.
            facts: further ones for the JSON, such as ``seconds`` and ``n_parameters``.

        Returns:
            Bytes on disk.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_abandoned(self.folder)
        data = save({key: t.detach().cpu().contiguous() for key, t in tensors.items()})
        about = {
            **facts,
            "name": concept.name,
            **(self._begun.get(concept) or self._made_from(concept)),
            "sha256": hashlib.sha256(data).hexdigest(),
        }
        text = (json.dumps(about, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "replace")
        # A kill between the two leaves facts whose checksum is not the tensors': they do not count.
        for ending, content in ((".safetensors", data), (".json", text)):
            with atomic_file(self._path(concept.name, ending)) as file:
                file.write(content)
        self._told.discard(concept.name)
        return len(data) + len(text)

    def size(self, name: str) -> int:
        """Bytes on disk of what was learned of a concept."""
        files = (self._path(name, ending) for ending in (".safetensors", ".json"))
        return sum(file.stat().st_size for file in files if file.is_file())

    def remove(self, name: str) -> None:
        """Delete what was learned of a concept; nothing there is no error."""
        for ending in (".json", ".safetensors"):
            self._path(name, ending).unlink(missing_ok=True)
        self._told.discard(name)

    def rename(self, name: str, to: str) -> None:
        """What was learned of a concept goes with it when it is renamed; where names matter, it is
        deleted, as it must be learned again."""
        facts = self.facts(name)
        if facts is not None and not self.names_matter:
            for ending in (".safetensors", ".json"):
                file = self._path(name, ending)
                if file.is_file():
                    text = json.dumps({**facts, "name": to}, indent=1, ensure_ascii=False) + "\n"
                    new = (
                        text.encode("utf-8", "replace") if ending == ".json" else file.read_bytes()
                    )
                    with atomic_file(self._path(to, ending)) as out:
                        out.write(new)
        if safe_name(name) != safe_name(to) or self.names_matter:
            self.remove(name)

    def names(self) -> list[str]:
        """Concepts of which something lies here, up to date or not, in alphabetical order."""
        found = []
        for file in self.folder.glob("*.json"):
            try:
                name = json.loads(file.read_bytes())["name"]
            except (OSError, ValueError, RecursionError, KeyError, TypeError):
                continue
            if isinstance(name, str):
                found.append(name)
        return sorted(found)

    def _path(self, name: str, ending: str) -> Path:
        return self.folder / f"{safe_name(name)}{ending}"

    def _made_from(self, concept: Concept) -> dict:
        own = concept if self.names_matter else renamed(concept, "it")
        text = [own.name, own.info, own.category, *own.attributes]
        return {
            "kind": self.kind,
            "policy": self.policy,
            "settings": self.settings,
            "text": fingerprint_of(*text),
            "pictures": [self._picture_digest(self.root / image) for image in concept.images],
        }

    def _picture_digest(self, file: Path) -> str:
        try:
            status = file.stat()
            key = file, status.st_mtime_ns, status.st_size
            if key not in self._digests:
                self._digests[key] = fingerprint_of(file)
            return self._digests[key]
        except (OSError, ValueError):
            return "missing"

    def _stale(self, name: str, why: str) -> None:
        if name not in self._told:
            print(f"what {self.kind} learned of {name!r} {why}; it is learned again", flush=True)
            self._told.add(name)


def safe_name(name: str) -> str:
    """A concept's name as the stem of a file name on any disk: no two names share one that are not
    one name to captions (:func:`rewards.names.name_key`)."""
    key = name_key(name)
    digest = hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()[:12]
    plain = re.sub(r"[^\w-]+", "_", unicodedata.normalize("NFC", key))
    return f"{plain[:40].strip('_') or 'concept'}-{digest}"
