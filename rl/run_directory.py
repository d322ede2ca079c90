"""The directory of a run: for one training at a time, and for one run.

    <run>/lock                    held while a run trains
    <run>/config.resolved.yaml    its settings
    <run>/rows.json               digests of the rows that it trains on
    <run>/log.jsonl, completions/, checkpoints/, policy/

Nothing of an earlier run is deleted. A run resumes only with the settings and rows it was started
with; one that starts from the beginning moves the whole directory aside, to ``<run>.1`` or the next
free number, and only once rows, rewards and weights are loaded.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from filelock import FileLock, Timeout
from transformers import TrainingArguments

from data_gen.files.errors import InputError
from data_gen.files.files import (
    atomic_file,
    file_digest,
    free_beside,
    is_file,
    write_json,
)
from data_gen.files.settings import read_yaml, yaml_text
from data_gen.files.skipped import printable
from data_gen.rows.reading import files_of
from rl import checkpoints
from rl.settings import PolicySettings, StartupError, changed, resolved

CONFIG, ROWS = "config.resolved.yaml", "rows.json"
RESULTS = ("log.jsonl", "completions", "policy")


class RunDirectory:
    """A run's directory, claimed by :func:`claimed`."""

    def __init__(self, settings: PolicySettings):
        self.settings, self.path = settings, place(settings)
        self._new, self._begun = not self.path.exists(), False
        self._locks: list[FileLock] = []

    def begin(
        self, config: dict, program: str, checkpoint: Path | None, rows: dict[str, str]
    ) -> None:
        """Write down what the run is, after an earlier one was moved aside where this one does not
        go on with it. Every process calls it, when all is loaded.

        Args:
            config: all settings, of :func:`rl.settings.resolved`.
            program: for the config's first line.
            checkpoint: that the run resumes from.
            rows: of :func:`row_digests`.

        Raises:
            StartupError: the earlier run cannot be moved, or this one not be written.
        """
        on_first(lambda: self._begin(_yaml_like(config), program, checkpoint, rows))

    def _begin(self, config: dict, program: str, checkpoint: Path | None, rows: dict) -> None:
        self._begun = True
        try:
            if starts_over(self.settings, checkpoint, config, rows):
                aside = free_beside(self.path)
                self.path.rename(aside)
                print(f"the earlier run is kept in {aside}", flush=True)
                (self.path / "checkpoints").mkdir(parents=True)
                self._lock()
        except OSError as error:
            raise StartupError(
                f"the earlier run in {self.path} cannot be moved aside ({error.strerror}); give "
                f"another --name"
            ) from None
        file = self.settings.output / CONFIG
        with atomic_file(file) as out:
            out.write(f"# byname {program} --config {file}\n{yaml_text(config)}".encode())
        write_json(self.path / ROWS, rows)

    def _take(self) -> None:
        try:
            (self.path / "checkpoints").mkdir(parents=True, exist_ok=True)
            self._lock()
        except OSError as error:
            raise StartupError(
                f"cannot write to {self.settings.output}: {error.strerror}"
            ) from None

    def _lock(self) -> None:
        lock = FileLock(self.path / "lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise StartupError(
                f"{self.settings.output} is being trained in by another process; wait for it, or "
                f"give another --name"
            ) from None
        self._locks.append(lock)

    def _release(self) -> None:
        for lock in self._locks:
            lock.release()
        if self._new and not self._begun and PartialState().is_main_process:
            with suppress(OSError):  # refused before anything was written: leave nothing behind
                (self.path / "checkpoints").rmdir()
                (self.path / "lock").unlink(missing_ok=True)
                self.path.rmdir()


@contextmanager
def claimed(settings: PolicySettings) -> Iterator[RunDirectory]:
    """The run's directory, for this run alone while inside; it is made where there is none.

    Raises:
        StartupError: another process trains there, it cannot be written to, it is a row set that is
            read, or ``name`` leads out of ``output_root``.
    """
    run = RunDirectory(settings)
    for key, path in settings.row_sets.items():
        here = _inside(path, run.path) and run.path.is_relative_to(Path(path).resolve())
        if here:  # what a run writes would be taken for rows
            raise StartupError(f"{key} {path} is where this run would write: give another --name")
    try:
        on_first(run._take)
        yield run
    finally:
        run._release()


def place(settings: PolicySettings) -> Path:
    """Where the run's directory really is, whatever links lead there.

    Raises:
        StartupError: ``name`` is no name of a folder below ``output_root``; links in a circle.
    """
    name = Path(settings.name)
    if not name.parts or ".." in name.parts or name.is_absolute() or not str(name).isprintable():
        raise StartupError(
            f"name is {settings.name!r}; it must be that of a folder below {settings.output_root}"
        )
    try:
        found = settings.output.resolve()
    except (OSError, RuntimeError):
        raise StartupError(f"{settings.output} is a link that leads to itself; remove it") from None
    try:
        found.exists()
    except OSError as error:
        raise StartupError(
            f"name {printable(settings.name)} cannot be that of a folder ({error.strerror})"
        ) from None
    return found


def resume_from(settings: PolicySettings, args: TrainingArguments) -> Path | None:
    """The checkpoint to resume from, with the settings of the run that wrote it.

    Raises:
        StartupError: there is none where ``resume`` names one; it cannot be resumed (see
            :func:`rl.checkpoints.choose`); the run was started with other settings; or this run
            needs what lies in the earlier run that it would move aside.
    """
    checkpoint = on_first(
        lambda: checkpoints.choose(settings.resume, settings.checkpoints, args.world_size)
    )
    if goes_on(settings, checkpoint):
        before = _earlier_config(settings)
        differ = (
            changed(before, _yaml_like(resolved(settings, args)), type(settings)) if before else []
        )
        if differ:
            raise StartupError(
                f"{settings.output} was started with other settings ({'; '.join(differ)}): "
                f"{_elsewhere(settings)}"
            )
    elif _holds_run(place(settings)):
        _refuse_own_parts(settings)
    return checkpoint


def row_digests(settings: PolicySettings, checkpoint: Path | None) -> dict[str, str]:
    """Setting -> digest of the row set that it names, for all that are trained on.

    Raises:
        StartupError: a run that goes on has been trained on others so far.
    """
    sets = settings.row_sets
    digests = on_first(
        lambda: {key: file_digest(filter(is_file, files_of(path))) for key, path in sets.items()}
    )
    before = _earlier_rows(settings) if goes_on(settings, checkpoint) else {}
    for key, path in sets.items():
        if before.get(key, digests[key]) != digests[key]:
            raise StartupError(
                f"{key}: {path} no longer holds the rows that {settings.output} was trained on so "
                f"far: put them back, or {_elsewhere(settings)}"
            )
    return digests


def goes_on(settings: PolicySettings, checkpoint: Path | None) -> bool:
    """Whether resuming from ``checkpoint`` goes on with the run that is in the directory."""
    return checkpoint is not None and checkpoint.resolve().is_relative_to(place(settings))


def starts_over(
    settings: PolicySettings, checkpoint: Path | None, config: dict, rows: dict[str, str]
) -> bool:
    """Whether there is an earlier run with which this one does not go on.

    One that was stopped before its first checkpoint goes on from the beginning, if it is the same:
    all of its steps are made again.
    """
    path = place(settings)
    if goes_on(settings, checkpoint) or not _holds_run(path):
        return False
    if settings.resume != "auto" or (path / "policy").exists():
        return True
    before = _earlier_config(settings)
    return (
        not before
        or bool(changed(before, config, type(settings)))
        or _earlier_rows(settings) != rows
    )


def on_first(call: Callable[[], Any]) -> Any:
    """What ``call`` returns in the first process, in all of them; and what it refuses.

    Raises:
        StartupError: ``call`` raised an ``InputError``, or could not find or read a file.
    """
    found: list[Any] = [None, None]
    if PartialState().is_main_process:
        try:
            found[0] = call()
        except (InputError, OSError) as error:
            found[1] = " ".join(str(error).split())
    broadcast_object_list(found)
    value, refusal = found
    if refusal is not None:
        raise StartupError(refusal)
    return value


def _holds_run(path: Path) -> bool:
    """Whether something that a run writes is there."""
    folder = path / "checkpoints"
    return any((path / name).exists() for name in (CONFIG, *RESULTS)) or (
        folder.is_dir() and any(folder.iterdir())
    )


def _elsewhere(settings: PolicySettings) -> str:
    """What to do instead, for a sentence's end."""
    aside = free_beside(place(settings))
    return f"give another --name, or --resume none to start over, which keeps it in {aside}"


def _earlier_config(settings: PolicySettings) -> dict:
    """The settings that the run in the directory was started with; empty where it has none."""
    file = settings.output / CONFIG
    if not file.exists():
        return {}
    try:
        return read_yaml(file)
    except ValueError as error:
        raise StartupError(f"{error}; {_elsewhere(settings)}") from None


def _earlier_rows(settings: PolicySettings) -> dict[str, str]:
    """The digests that the run in the directory was started with; empty where it has none."""
    file = place(settings) / ROWS
    try:
        found = json.loads(file.read_bytes()) if is_file(file) else {}
        if not isinstance(found, dict):
            raise ValueError("no object")
        return found
    except (ValueError, RecursionError):
        raise StartupError(f"{file} is damaged: {_elsewhere(settings)}") from None


def _refuse_own_parts(settings: PolicySettings) -> None:
    """Refuse to move a run aside that this one reads from."""
    for key, value in asdict(settings).items():
        for text in value if isinstance(value, list) else [value]:
            if key in ("name", "output_root") or not isinstance(text, str):
                continue
            # A reward is FILE:FUNCTION.
            if any(_inside(path, place(settings)) for path in (text, text.rpartition(":")[0])):
                raise StartupError(
                    f"{key} {text} lies in the earlier run {settings.output}, which would be moved "
                    f"aside: give another --name"
                )


def _inside(path: str, folder: Path) -> bool:
    try:
        return bool(path) and Path(path).resolve().is_relative_to(folder)
    except (OSError, ValueError, RuntimeError):  # not even a path
        return False


def _yaml_like(values: dict) -> dict:
    return json.loads(json.dumps(values, default=str))
