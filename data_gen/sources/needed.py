"""Files that settings name and that are not there, told before anything is opened: which setting,
and where a published set comes from.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from data_gen.files.errors import SourceError
from data_gen.sources.pair_parquet import is_hub_id

FILES = ("annotations", "references", "path", "classes", "prompts", "database", "neighbours")
FOLDERS = ("root", "images")

PUBLISHED = {
    "coco": "https://cocodataset.org/#download",
    "objects365": "https://www.objects365.org",
    "refcoco": "https://github.com/lichengunc/refer",
    "repic": "https://github.com/oyt9306/RePIC",
    "yollava": "https://github.com/WisconsinAIVision/YoLLaVA",
    "yollava-data": "https://github.com/WisconsinAIVision/YoLLaVA",
    "dreambooth": "https://github.com/google/dreambooth",
}
"""A folder in a path -> where its set comes from."""


def check_needed(settings: Mapping[str, Any], where: str = "") -> None:
    """Refuse settings that name a file or a folder that is not there.

    Args:
        settings: of a generator (which ``generator`` names), or of a benchmark; other keys than
            :data:`FILES` and :data:`FOLDERS` are passed over, and so is the hub id of pairs.
        where: stands before the key.

    Raises:
        SourceError: the first that is missing, with its key and what to do.
    """
    for key, value in _named(settings):
        path = Path(value)
        pairs = key == "path" and settings.get("generator") == "subjects200k"
        if path.exists() or (pairs and is_hub_id(value)):
            continue
        what = (
            "is no directory"
            if key in FOLDERS
            else "cannot be read: there is no such file or directory"
        )
        raise SourceError(f"{where}{key}: {value} {what}; {_remedy(key, path)}")


def _named(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key in (*FILES, *FOLDERS):
        value = settings.get(key)
        for path in value.values() if isinstance(value, Mapping) else [value]:
            if isinstance(path, str | Path) and path:
                yield key, str(path)


def _remedy(key: str, path: Path) -> str:
    source = next((PUBLISHED[part] for part in path.parts if part in PUBLISHED), "")
    if key == "root":
        return "give a folder that holds <subject>/*.jpg"
    if key == "neighbours":
        return "byname mine_negatives makes it"
    return f"fetch it from {source}, or name its place" if source else "name its place"
