"""Reading and writing a ``database.json`` as it is: what its entries mean is not looked at."""

import json
import os
import time
from pathlib import Path

from data_gen.shards import atomic_file


class DatabaseError(ValueError):
    """A database that cannot be read or edited as asked: which, why, and the remedy."""


def read_database(path: Path) -> tuple[dict, list[str]]:
    """The content of a file, and the keys that it gives twice in one object; the first counts.

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

    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=first_counts)
    except OSError as error:
        raise DatabaseError(f"{path} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise DatabaseError(f"{path} is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise DatabaseError(f"{path} is no JSON (line {error.lineno}: {error.msg})") from None
    except (RecursionError, ValueError):  # nested too deeply; a number of too many digits
        raise DatabaseError(f"{path} is no concept database") from None
    if (not isinstance(content, dict) or not isinstance(content.get("concept_dict"), dict)
            or not isinstance(content.setdefault("path_to_concept", {}), dict)):
        raise DatabaseError(f"{path} is no concept database: expected an object with "
                            "'concept_dict' and 'path_to_concept'")
    return content, twice


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


def stamp_of(path: Path) -> tuple:
    """Changes whenever another file has been put in place, or this one written to.

    Raises:
        DatabaseError: there is none.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        raise DatabaseError(f"{path} cannot be read ({error.strerror})") from None
    return status.st_mtime_ns, status.st_size, status.st_ino
