"""The plan of a row set: what it is made from, and whether a set on disk was made from the same."""

import json
import re
from importlib.metadata import version
from pathlib import Path

import data_gen
from data_gen.files.errors import InputError
from data_gen.files.files import fingerprint_of, is_file, sha256_of
from data_gen.files.redaction import without_secrets

VERSIONS = ("byname", "datasets", "pyarrow", "pillow", "numpy")

SHARD = re.compile(r"train-\d{5,}\.(parquet|tar)")
"""The names of shards, which lie in ``data/`` of a set."""

IN_MANIFEST = {"generator", "seed", "settings", "form", "versions", "rows", "tasks", "shards"}
"""Keys of every set's manifest; other programs' files of that name lack them."""

CODE = Path(data_gen.__file__).parent
"""Folder of the generators' code, prompts and names."""

NOT_IN_ROWS = (
    "files/chat.py",
    "files/redaction.py",
    "generators.py",
    "negatives/__init__.py",
    "negatives/embedding.py",
    "negatives/mining.py",
    "rows/__init__.py",
    "rows/building.py",
    "rows/contact_sheet.py",
    "rows/disk_space.py",
    "rows/inspection.py",
    "rows/reading.py",
    "rows/replacing.py",
    "synthesis/pair_sheet.py",
    "toybox/curriculum",
    "toybox/models",
    "toybox/subjects.py",
    "toybox/weights",
)
"""Files, and folders of files, in :data:`CODE` that may change while a set is being made: no row
depends on them. Each is given by its path, as different folders have files of one name."""


class PlanError(InputError):
    """A half-made set of another plan is in the way. The message says which and what to do."""


def plan(**settled) -> dict:
    """What a set is made from, as JSON for the manifest: settings without keys, and versions."""
    settled["versions"] = {name: version(name) for name in VERSIONS}
    return without_secrets(json.loads(json.dumps(settled, default=str)))


def manifest_of(folder: Path) -> dict | None:
    """The manifest of the set in ``folder``; ``None`` where there is none that byname wrote."""
    file = folder / "manifest.json"
    try:
        manifest = json.loads(file.read_bytes()) if is_file(file) else {}
        ours = manifest.keys() >= IN_MANIFEST and all(
            SHARD.fullmatch(shard["file"]) and isinstance(shard["bytes"], int)
            for shard in manifest["shards"]
        )
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return None
    return manifest if ours else None


def finished(out: Path, settled: dict, *, contents: bool = False) -> dict | None:
    """The manifest of the set at ``out`` if it is whole and of this plan.

    Args:
        contents: read all shards, too, and compare their digests with the manifest's.
    """
    manifest = manifest_of(out)
    if manifest is None or any(manifest.get(key) != value for key, value in settled.items()):
        return None
    whole = all(is_there(out, shard, contents=contents) for shard in manifest["shards"])
    return manifest if whole else None


def code_digest(code: Path = CODE) -> str:
    """A digest of the generators' code, prompts and names: rows may differ when it does."""
    left = [code / path for path in NOT_IN_ROWS]
    files = [
        file
        for ending in ("py", "txt", "yaml")
        for file in code.rglob(f"*.{ending}")
        if not any(file == path or path in file.parents for path in left)
    ]
    return fingerprint_of(
        *(part for file in sorted(files) for part in (file.relative_to(code).as_posix(), file))
    )


def is_there(folder: Path, shard: dict, *, contents: bool = False) -> bool:
    """Whether a shard is in ``folder`` as its mark or the manifest says.

    Args:
        contents: compare its digest, too, and not only its size.
    """
    file = folder / "data" / shard["file"]
    if not file.is_file() or file.stat().st_size != shard["bytes"]:
        return False
    return not contents or shard.get("sha256") in (None, sha256_of(file))


def same_plan(folder: Path, settled: dict) -> None:
    """Raise :class:`PlanError` where ``folder`` holds the beginnings of a set of another plan."""
    file = folder / ("plan.json" if (folder / "plan.json").exists() else "manifest.json")
    try:
        old = json.loads(file.read_bytes())
        changed = differences({key: old.get(key) for key in settled}, settled)
    except (OSError, ValueError, RecursionError, AttributeError):
        raise PlanError(
            f"{folder} is no half-made set, or its {file.name} is damaged; name another --out, or "
            f"remove it"
        ) from None
    if changed:
        raise PlanError(
            f"{folder} holds a half-made set of another plan ({'; '.join(changed[:3])}); give "
            "its settings to resume it, name another --out, or remove it"
        )


def differences(old: dict, new: dict, prefix: str = "") -> list[str]:
    """What is another in ``new``, as ``key was ... and is ...``."""
    found = []
    for key in sorted({*old, *new}):
        before, now = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(now, dict):
            found += differences(before, now, f"{prefix}{key}.")
        elif before != now:
            found.append(f"{prefix}{key} was {before!r:.40} and is {now!r:.40}")
    return found
