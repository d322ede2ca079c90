"""Draw random, multilingual names for subjects.

The list is a file, not a call to a generator, so that rows stay the same when a library changes.
"""

import random
from functools import cache
from pathlib import Path


@cache
def all_names() -> tuple[str, ...]:
    """Every name of ``names.txt``, bare, NFC, distinct whatever the case."""
    lines = (Path(__file__).parent / "names.txt").read_text(encoding="utf-8").splitlines()
    return tuple(line for line in lines if line and not line.startswith("#"))


def draw_names(rng: random.Random, n: int) -> list[str]:
    """``n`` distinct names."""
    return rng.sample(all_names(), n)
