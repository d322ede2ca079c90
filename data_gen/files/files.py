"""Whole files or none, and digests of what files hold."""

import hashlib
import json
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


def digest(data: str | bytes) -> int:
    """64 bits that are equal where ids, or pictures, are, and hardly ever where they are not."""
    data = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears at ``path`` whole, or not at all. Its unfinished name says whose it is,
    so that two processes that make the same shard do not write into each other's."""
    partial = path.with_name(f"{path.name}.{socket.gethostname()}-{os.getpid()}.partial")
    try:
        with open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # before the name: a power cut must not leave an empty file
        os.replace(partial, path)
    except BaseException:
        with suppress(FileNotFoundError):
            partial.unlink()
        raise


def remove_abandoned(folder: Path) -> None:
    """Delete unfinished files of processes of this machine that no longer run."""
    for partial in folder.glob(f"*.{socket.gethostname()}-*.partial"):
        pid = int(partial.name.removesuffix(".partial").rpartition("-")[2])
        try:
            os.kill(pid, 0)  # signal 0 only asks whether the process is there
        except ProcessLookupError:
            partial.unlink(missing_ok=True)
        except PermissionError:  # it is, and is somebody else's
            continue


def write_json(path: Path, value: dict) -> None:
    """Write JSON, whole or not at all."""
    with atomic_file(path) as file:
        file.write((json.dumps(value, indent=2) + "\n").encode())


def stamp_of(*parts: str | Path) -> str:
    """A digest of texts and of files' contents, in their order."""
    whole = hashlib.sha256()
    for part in parts:
        data = part.read_bytes() if isinstance(part, Path) else part.encode("utf-8", "replace")
        whole.update(len(data).to_bytes(8, "big") + data)
    return whole.hexdigest()[:16]


def file_digest(paths: Iterable[str | Path]) -> str:
    """A digest of files' contents, in their order, in little memory."""
    parts = []
    for path in paths:
        with open(path, "rb") as file:
            parts.append(hashlib.file_digest(file, "sha256").hexdigest())
    return stamp_of(*parts)


def find_file(folder: Path, name: str) -> Path | None:
    """A picture by its file name, or by the end of it: Objects365 writes ``images/v1/patch16/`` in
    front of files that lie in ``patch16/``. Names never lead out of the folder."""
    parts = [part for part in Path(name).parts if part not in ("/", "..", ".")]
    for start in range(len(parts)):
        file = folder.joinpath(*parts[start:])
        if file.is_file():
            return file
    return None


def kept_lines(path: Path) -> list[dict]:
    """The objects of a file of JSON lines; one torn by a kill is passed over, no file is none."""
    found = []
    for line in path.read_text(encoding="utf-8").split("\n") if path.exists() else []:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            found.append(entry)
    return found


def is_missing_path(path: str) -> bool:
    """Whether ``path`` is meant as a local path and nothing is there; ``owner/name`` may be a hub
    id, unless a folder ``owner`` is here."""
    first = Path(path).parts[:1]
    here = path.startswith((".", "~", "/")) or bool(first and Path(first[0]).is_dir())
    return here and not Path(path).exists()
