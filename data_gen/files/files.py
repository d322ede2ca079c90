"""Write files atomically, digest their contents, and see what is there."""

import errno
import hashlib
import json
import os
import socket
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from data_gen.files.errors import InputError
from data_gen.files.skipped import printable


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


def refuse_other_json(path: Path, keys: Iterable[str], beside: Iterable[str] = ()) -> None:
    """Refuse to write over a JSON file that something else has written.

    Args:
        path: of the file, which need not be there.
        keys: that every such file of ours has.
        beside: names of files that are written beside it: where it is not there, neither may they
            be.

    Raises:
        FileExistsError: one that lacks the keys, or is no JSON object, is there.
    """
    other = path
    if os.path.lexists(path):
        try:
            ours = is_file(path) and json.loads(path.read_bytes()).keys() >= set(keys)
        except (OSError, ValueError, RecursionError, AttributeError):
            ours = False
    else:
        there = [path.parent / name for name in beside if os.path.lexists(path.parent / name)]
        ours, other = not there, there[0] if there else path
    if not ours:
        raise FileExistsError(f"{other} is there, and byname did not write it; name another --out")


def refuse_other_lines(path: Path, keys: Iterable[str]) -> None:
    """Refuse to add to a file of JSON lines that something else has written.

    Args:
        path: of the file, which need not be there, or may be empty.
        keys: that every line of ours has.

    Raises:
        FileExistsError: something else is there: no file, or one without any such line.
    """
    if not os.path.lexists(path) or (is_file(path) and not path.read_bytes().strip()):
        return
    if not is_file(path) or not any(set(keys) <= line.keys() for line in kept_lines(path)):
        raise FileExistsError(f"{path} is there, and byname did not write it; name another file")


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


def refuse_no_folder(path: str, key: str) -> None:
    """Refuse what can be no folder to write into: a file, or a path that no file system takes.

    Args:
        path: what was given; nothing need be there.
        key: the setting that it was given for.

    Raises:
        InputError: why not.
    """
    try:
        Path(path).stat()
        why = "" if Path(path).is_dir() else "a file is there"
        why = why if path.strip() else "it is blank"
    except FileNotFoundError:
        why = ""
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
    if why:
        raise InputError(f"{key} {printable(path)} can be no folder: {why}; name another")


def refuse_pipe(path: str | Path) -> None:
    """Refuse what a program would wait for, before it is opened: a named pipe, a device, a socket.
    What is not there is for the reader to say.

    Raises:
        OSError: it is one.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "it is a pipe or a device, no file", str(path))


def kept_lines(path: Path) -> list[dict]:
    """The objects of a file of JSON lines; empty where there is no file. A line that a kill cut
    off, or that is damaged otherwise, is ignored."""
    found = []
    refuse_pipe(path)
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
