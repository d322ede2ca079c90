"""What retrieval found, kept in a file: it does not depend on the policy, and is found once for all
policies, processes and sittings."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from tqdm.auto import tqdm

from data_gen.files.files import atomic_file, stamp_of

_KEEP_EVERY = 25


def found_once(
    file: Path, made_from: str, pictures: Mapping[str, str],
    find: Callable[[str], list[str] | None], title: str,
) -> dict[str, list[str]]:
    """Names found for each question; only what the file lacks is looked for.

    Args:
        file: JSON, written whole or not at all, every few questions.
        made_from: digest of all that findings depend on beside the question's picture; a file made
            from something else counts for nothing.
        pictures: question -> digest of its picture.
        find: question -> names, best first; ``None`` where nothing can be said, which is not kept.
        title: of the bar.
    """
    known = _read(file, made_from)
    todo = [question for question, picture in pictures.items()
            if known.get(question, {}).get("picture") != picture]
    for i, question in enumerate(tqdm(todo, desc=title, unit="row", disable=not todo)):
        names = find(question)
        known.pop(question, None)
        if names is not None:
            known[question] = {"names": names, "picture": pictures[question]}
        if (i + 1) % _KEEP_EVERY == 0 or i + 1 == len(todo):
            file.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(file) as out:
                out.write(json.dumps({"made_from": made_from, "found": known},
                                     ensure_ascii=False).encode())
    return {question: known[question]["names"] for question in pictures if question in known}


def read_found(file: Path) -> dict[str, list[str]]:
    """What the file holds, whatever it was made from; nothing where there is none."""
    return {question: one["names"] for question, one in _read(file, None).items()}


def stamp(*parts: str | Path) -> str:
    """A digest of texts and of what files hold; empty where a file cannot be read."""
    try:
        return stamp_of(*parts)
    except OSError:
        return ""


def _read(file: Path, made_from: str | None) -> dict[str, dict]:
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        return kept["found"] if made_from in (None, kept["made_from"]) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
