"""The plan of a row set: what it is made from, and whether a set on disk was made from the same."""

import json
from importlib.metadata import version
from pathlib import Path

from data_gen.files.files import stamp_of

VERSIONS = ("byname", "datasets", "pyarrow", "pillow", "numpy")

NOT_IN_ROWS = ("chat.py", "contact_sheet.py", "disk.py", "embedding.py", "inspection.py",
               "making.py", "negatives.py", "open_source.py", "pair_sheet.py", "reading.py",
               "rows.py", "things.py")
"""Code that may change in the middle of a set: no row depends on it."""


class PlanError(ValueError):
    """A half-made set is in the way; the message says whose and what to do."""


def plan(**settled) -> dict:
    """What a set is made from, as it stands in the manifest: settings and versions, as JSON."""
    settled["versions"] = {name: version(name) for name in VERSIONS}
    return json.loads(json.dumps(settled, default=str))


def finished(out: Path, settled: dict) -> dict | None:
    """The manifest of the set at ``out`` if it is whole and of this plan."""
    try:
        manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    same = all(key in manifest and manifest[key] == value for key, value in settled.items())
    return manifest if same and all(is_there(out, shard) for shard in manifest["shards"]) else None


def code_digest() -> str:
    """A digest of the generators' code and the prompts: rows may differ when it does."""
    folder = Path(__file__).parent
    files = [*folder.rglob("*.py"), *folder.rglob("*.txt"),
             *(folder.parent / "configs" / "prompts").glob("*.yaml")]
    rows_depend_on = sorted(file for file in files if file.name not in NOT_IN_ROWS)
    return stamp_of(*(part for file in rows_depend_on for part in (file.name, file)))


def is_there(folder: Path, shard: dict) -> bool:
    """Whether a shard is in ``folder`` as its mark or the manifest says."""
    file = folder / "data" / shard["file"]
    return file.is_file() and file.stat().st_size == shard["bytes"]


def same_plan(folder: Path, settled: dict) -> None:
    """Raise :class:`PlanError` where ``folder`` holds the beginnings of something else."""
    file = next(f for f in (folder / "plan.json", folder / "manifest.json") if f.exists())
    old = json.loads(file.read_bytes())
    changed = _differences({key: old.get(key) for key in settled}, settled)
    if changed:
        raise PlanError(f"{folder} holds a half-made set of another plan ({'; '.join(changed[:3])})"
                        "; give its settings to go on with it, name another --out, or remove it")


def _differences(old: dict, new: dict, prefix: str = "") -> list[str]:
    found = []
    for key in sorted({*old, *new}):
        before, now = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(now, dict):
            found += _differences(before, now, f"{prefix}{key}.")
        elif before != now:
            found.append(f"{prefix}{key} was {before!r:.40} and is {now!r:.40}")
    return found
