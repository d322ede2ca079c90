"""Write files atomically, digest their contents, and see what is there."""

import hashlib
import json
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from data_gen.files.errors import InputError


def digest(data: str | bytes) -> int:
    """64 bits, equal for equal texts or bytes and hardly ever for different ones."""
    data = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears at ``path`` whole, or not at all. Its name until then holds host and
    process, so that two processes that write the same file do not disturb each other."""
    partial = path.with_name(f"{path.name}.{socket.gethostname()}-{os.getpid()}.partial")
    try:
        with open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # before renaming: a power cut must not leave an empty file
        os.replace(partial, path)
    except BaseException:
        with suppress(FileNotFoundError):
            partial.unlink()
        raise


def remove_abandoned(folder: Path) -> None:
    """Delete unfinished files of processes of this machine that no longer run."""
    for partial in folder.glob(f"*.{socket.gethostname()}-*.partial"):
        pid = partial.name.removesuffix(".partial").rpartition("-")[2]
        if not pid.isdecimal():
            continue  # somebody else's
        try:
            os.kill(int(pid), 0)  # signal 0 only asks whether the process is there
        except (ProcessLookupError, OverflowError):
            partial.unlink(missing_ok=True)
        except PermissionError:  # it runs, as another user
            continue


def remove_listed(folder: Path, files: Iterable[str]) -> None:
    """Delete these files of ``folder``, then the folders that are empty without them. Whatever else
    lies there stays.

    Args:
        folder: of the files.
        files: their paths in it; the last is deleted last, so that a list kept in it survives a
            kill.
    """
    folders = {folder}
    for name in files:
        path = folder / name
        path.unlink(missing_ok=True)
        folders.update(parent for parent in path.parents if folder in parent.parents)
    for emptied in sorted(folders, key=lambda path: len(path.parts), reverse=True):
        with suppress(OSError):  # not empty
            emptied.rmdir()


def free_beside(path: Path) -> Path:
    """``<path>.1``, or the next number under which nothing lies."""
    return next(
        beside
        for number in count(1)
        if not os.path.lexists(beside := path.with_name(f"{path.name}.{number}"))
    )


@contextmanager
def alone_in(folder: Path, advice: str = "wait for it") -> Iterator[None]:
    """``folder``, which is made where there is none, for this process alone while inside.

    Args:
        advice: what the error tells to do.

    Raises:
        InputError: another process is inside.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(f"{folder} is being worked on by another process; {advice}") from None
    try:
        yield
    finally:
        lock.release()


def write_json(path: Path, value: dict) -> None:
    """Write JSON, whole or not at all."""
    with atomic_file(path) as file:
        file.write((json.dumps(value, indent=2) + "\n").encode())


def refuse_other_json(path: Path, keys: Iterable[str]) -> None:
    """Refuse to write over a JSON file that something else has written.

    Args:
        path: of the file, which need not be there.
        keys: that every such file of ours has.

    Raises:
        FileExistsError: one that lacks them, or is no JSON object, is there.
    """
    if not os.path.lexists(path):
        return
    try:
        ours = json.loads(path.read_bytes()).keys() >= set(keys)
    except (OSError, ValueError, RecursionError, AttributeError):
        ours = False
    if not ours:
        raise FileExistsError(f"{path} is there, and byname did not write it; name another --out")


def write_text(path: Path, text: str) -> None:
    """Write text, whole or not at all. A lone surrogate, which a model can write, becomes a
    question mark."""
    with atomic_file(path) as file:
        file.write(text.encode("utf-8", "replace"))


def fingerprint_of(*parts: str | Path) -> str:
    """A digest of texts and of files' contents, in their order: something made from these is still
    up to date where the fingerprint is the same."""
    whole = hashlib.sha256()
    for part in parts:
        data = part.read_bytes() if isinstance(part, Path) else part.encode("utf-8", "replace")
        whole.update(len(data).to_bytes(8, "big") + data)
    return whole.hexdigest()[:16]


def file_digest(paths: Iterable[str | Path]) -> str:
    """A digest of files' contents, in their order, without holding a file in memory."""
    return fingerprint_of(*map(sha256_of, paths))


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file's content, in hex digits, without holding it in memory."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_file(path: str | Path) -> bool:
    """Whether there is a regular file. What cannot be a name, such as one that is too long or holds
    NUL, names none."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def kept_lines(path: Path) -> list[dict]:
    """The objects of a file of JSON lines; empty where there is no file. A line that a kill cut
    off, or that is damaged otherwise, is ignored."""
    found = []
    for line in path.read_bytes().split(b"\n") if path.exists() else []:
        try:
            entry = json.loads(line.decode("utf-8"))
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict):
            found.append(entry)
    return found


def is_missing_path(path: str) -> bool:
    """Whether ``path`` is a local path where nothing exists. ``owner/name`` may be a hub id, unless
    there is a folder ``owner``."""
    first = Path(path).parts[:1]
    here = path.startswith((".", "~", "/")) or bool(first and Path(first[0]).is_dir())
    return here and not Path(path).exists()
