"""The plan of a row set: what it is made from, and whether a set on disk was made from the same."""

import json
from importlib.metadata import version
from pathlib import Path

import data_gen
from data_gen.files.errors import InputError
from data_gen.files.files import fingerprint_of
from data_gen.files.redaction import without_secrets

VERSIONS = ("byname", "datasets", "pyarrow", "pillow", "numpy")

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


def finished(out: Path, settled: dict) -> dict | None:
    """The manifest of the set at ``out`` if it is whole and of this plan."""
    try:
        manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    same = all(key in manifest and manifest[key] == value for key, value in settled.items())
    return manifest if same and all(is_there(out, shard) for shard in manifest["shards"]) else None


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


def is_there(folder: Path, shard: dict) -> bool:
    """Whether a shard is in ``folder`` as its mark or the manifest says."""
    file = folder / "data" / shard["file"]
    return file.is_file() and file.stat().st_size == shard["bytes"]


def same_plan(folder: Path, settled: dict) -> None:
    """Raise :class:`PlanError` where ``folder`` holds the beginnings of a set of another plan."""
    file = next(f for f in (folder / "plan.json", folder / "manifest.json") if f.exists())
    old = json.loads(file.read_bytes())
    changed = _differences({key: old.get(key) for key in settled}, settled)
    if changed:
        raise PlanError(
            f"{folder} holds a half-made set of another plan ({'; '.join(changed[:3])})"
            "; give its settings to resume it, name another --out, or remove it"
        )


def _differences(old: dict, new: dict, prefix: str = "") -> list[str]:
    found = []
    for key in sorted({*old, *new}):
        before, now = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(now, dict):
            found += _differences(before, now, f"{prefix}{key}.")
        elif before != now:
            found.append(f"{prefix}{key} was {before!r:.40} and is {now!r:.40}")
    return found
