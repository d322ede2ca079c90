"""The threshold from which a concept counts as there, from its owner's own photos.

Of the photos that open, positives are a concept's other than the first, which is its reference;
negatives are the other concepts' photos, and photos of none of them. The threshold is the one with
the best mean of the two accuracies (the *weighted* accuracy of Yo'LLaVA 2406.09400): of several,
the middle of the widest gap. Test rows have no part in it. A method that has learned from the very
photos that it is calibrated on is surer of them than of new ones; its threshold is too high rather
than too low.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from concepts.database import Database
from concepts.methods.protocol import Method, Picture
from data_gen.files.errors import InputError
from data_gen.files.files import write_text

MOST_NEGATIVES = 20
"""Of one concept: drawn at random from photos of no concept and of the others alike."""


@dataclass(frozen=True)
class Threshold:
    """A threshold and how well it separates what it was chosen from.

    Args:
        value: least p of a concept that is there; 0-1.
        positive: share of photos of a concept that reach it.
        negative: share of photos without it that do not.
        n_positives, n_negatives: how many there were.
    """

    value: float
    positive: float
    negative: float
    n_positives: int
    n_negatives: int

    @property
    def weighted(self) -> float:
        """Mean of ``positive`` and ``negative``."""
        return (self.positive + self.negative) / 2


def best_threshold(positives: Sequence[float], negatives: Sequence[float]) -> Threshold:
    """The threshold with the best weighted accuracy.

    Args:
        positives, negatives: P and N probabilities; neither is empty.

    Raises:
        InputError: one of them is empty.
    """
    if not positives or not negatives:
        raise InputError("a threshold needs photos with a concept and photos without it")
    yes, no = np.sort(positives), np.sort(negatives)
    values = np.unique(np.concatenate([yes, no]))
    # Candidates: the middles between neighbours, and the outer ends.
    middles = np.concatenate(
        [[values[0] / 2], (values[:-1] + values[1:]) / 2, [(values[-1] + 1) / 2]]
    )
    widths = np.concatenate([[values[0]], np.diff(values), [1 - values[-1]]])
    positive = 1 - np.searchsorted(yes, middles, side="left") / len(yes)
    negative = np.searchsorted(no, middles, side="left") / len(no)
    best = max(range(len(middles)), key=lambda i: (round(positive[i] + negative[i], 9), widths[i]))
    return Threshold(
        float(middles[best]), float(positive[best]), float(negative[best]), len(yes), len(no)
    )


def calibrate(
    method: Method, database: Database, negatives: Sequence[Picture] = (), seed: int = 0
) -> Threshold:
    """The threshold of a method for the concepts of a database.

    Args:
        method: has learned them, where it learns.
        negatives: photos that show none of the concepts.
        seed: of the negatives that are drawn for each concept.

    Raises:
        InputError: no concept has a second photo, or there is nothing without a concept.
    """
    concepts = database.concepts().values()
    pictures = {c.name: of for c in concepts if (of := list(database.photos(c)))}
    there = [(photo, name) for name, of in pictures.items() for photo in of[1:]]
    if not there:
        raise InputError(
            f"{database.path}: every concept has one photo, which is its reference; add a second "
            f"one to some of them to choose a threshold"
        )
    absent: list[tuple[Picture, str]] = []
    for name in dict.fromkeys(name for _, name in there):
        others: list[Picture] = [p for other, of in pictures.items() if other != name for p in of]
        pool = [*negatives, *others]
        drawn = random.Random(f"{seed}-{name}").sample(pool, min(MOST_NEGATIVES, len(pool)))
        absent += [(photo, name) for photo in drawn]
    if not absent:
        raise InputError(
            f"{database.path} holds one concept alone; name a folder of photos without it "
            f"(negatives) to choose a threshold"
        )
    p = method.recognize([*there, *absent])
    return best_threshold(p[: len(there)], p[len(there) :])


def write_threshold(file: Path, found: Threshold, made_from: str) -> None:
    """Keep a threshold, with the digest of the system that it was chosen for."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps({**asdict(found), "made_from": made_from}, indent=1) + "\n")


def read_threshold(file: Path, made_from: str) -> Threshold | None:
    """The threshold that was kept; ``None`` where there is none, or for another system."""
    try:
        kept = json.loads(file.read_bytes())
        if kept.pop("made_from") != made_from:
            return None
        return Threshold(**kept)
    except (OSError, ValueError, RecursionError, AttributeError, KeyError, TypeError):
        return None
