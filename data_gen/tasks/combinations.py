"""How many references a caption row has, how many subjects its query shows, and how many are both.

R references, T subjects in the query, K of them in both. A policy that is rewarded for the names of
the K learns whatever tells K without a look at the images. So R and T are drawn independently of
each other, and whether K is 0 independently of both; K above 0 differs no more than K <= min(R, T)
forces.
"""

import random
from collections.abc import Mapping
from typing import NamedTuple, TypeVar

from data_gen.files.errors import InputError

Key = TypeVar("Key")

MAX_REFERENCES = 8
MAX_SUBJECTS = 4
"""Most subjects in one query."""


class Combination(NamedTuple):
    """What a caption row shows.

    Args:
        references: R, the concepts that the prompt introduces.
        subjects: T, those in the query.
        expected: K, those that are both: their names belong in the caption.
    """

    references: int
    subjects: int
    expected: int


def draw_combination(
    rng: random.Random,
    references: Mapping[int, float],
    subjects: Mapping[int, float],
    absent: float,
    expected: Mapping[int, float],
    combinations: Mapping[str, float] | None = None,
) -> Combination:
    """R, T and K of a row.

    Args:
        references, subjects: weights of R and of T.
        absent: P(K = 0), whatever R and T; without references K is always 0.
        expected: weights of K above 0; those above min(R, T) are left out.
        combinations: weights of ``"R/T/K"``, in place of all the others.
    """
    if combinations:
        return choose(rng, read_combinations(combinations))
    r, t = choose(rng, references), choose(rng, subjects)
    nobody = rng.random() < absent
    able = {k: weight for k, weight in expected.items() if k <= min(r, t) and weight}
    return Combination(r, t, 0 if nobody or not r else choose(rng, able or {min(r, t): 1.0}))


def choose(rng: random.Random, weights: Mapping[Key, float]) -> Key:
    """A key of ``weights``, as likely as its weight."""
    return rng.choices(list(weights), list(weights.values()))[0]


def read_weights(name: str, given: Mapping, least: int, most: int) -> dict[int, float]:
    """``given`` with whole numbers as keys and numbers as values.

    Args:
        name: of the setting, for messages.
        least, most: range of the keys.

    Raises:
        InputError: a key out of range, a negative weight, or no weight above 0.
    """
    try:
        weights = {int(k): float(v) for k, v in given.items()}
    except (AttributeError, TypeError, ValueError):
        raise InputError(f"{name}: must be numbers with weights, as {{1: 0.5, 2: 0.5}}") from None
    if out := [k for k in weights if not least <= k <= most]:
        raise InputError(f"{name}: {out[0]} is not from {least} to {most}")
    _check_weights(name, weights)
    return weights


def read_combinations(given: Mapping[str, float] | None) -> dict[Combination, float]:
    """``{"2/3/1": 0.5}`` as combinations of R, T and K with their weights.

    Raises:
        InputError: a key that is none, an impossible one, or weights that cannot be drawn by.
    """
    found: dict[Combination, float] = {}
    for key, weight in (given or {}).items():
        numbers = str(key).split("/")
        if len(numbers) != 3 or not all(number.isdecimal() for number in numbers):
            raise InputError(f"combinations: {key!r} is not 'references/subjects/expected'")
        r, t, k = one = Combination(*map(int, numbers))
        if not (r <= MAX_REFERENCES and 1 <= t <= MAX_SUBJECTS and k <= min(r, t)):
            raise InputError(
                f"combinations: {key} is impossible: references 0 to {MAX_REFERENCES}, subjects 1 "
                f"to {MAX_SUBJECTS}, expected no more than either"
            )
        found[one] = float(weight)
    if found:
        _check_weights("combinations", found)
    return found


def check_paired_rows(
    absent: float, references: Mapping[int, float], combinations: Mapping[str, float] | None
) -> None:
    """Refuse settings by which not every caption row that expects somebody can have a mate, about
    the same query, that expects nobody.

    Raises:
        InputError: naming the settings.
    """
    if absent != 0.5 or references.get(0) or combinations:
        raise InputError(
            "paired_rows: of two caption rows one expects somebody and one nobody: absent_share "
            "must be 0.5, rows without any reference cannot be, and combinations must be null"
        )


def _check_weights(name: str, weights: Mapping) -> None:
    if min(weights.values(), default=0) < 0 or not sum(weights.values()) > 0:
        raise InputError(f"{name}: weights must not be negative, and one must be above 0")
