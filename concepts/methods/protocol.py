"""What every method of personalization offers."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Reference:
    """A thing as the user shows it: bare ``name``, picture file, and what is known about it."""

    name: str
    image: Path
    info: str | None = None
