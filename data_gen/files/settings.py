"""Settings of every program."""

from dataclasses import fields
from typing import Any


class BenchmarkError(ValueError):
    """A benchmark cannot be used. The message names the file and says what to do."""


def check_settings(given: Any, cls: type, where: str) -> None:
    """Refuse what cannot be the settings of a dataclass.

    Raises:
        BenchmarkError: no mapping, or a setting that ``cls`` does not have.
    """
    if not isinstance(given, dict):
        raise BenchmarkError(f"{where} must hold settings, not {given!r:.60}")
    known = [f.name for f in fields(cls)]
    if unknown := [key for key in given if key not in known]:
        raise BenchmarkError(f"{where} has no setting {unknown[0]!r}; it has {', '.join(known)}")
