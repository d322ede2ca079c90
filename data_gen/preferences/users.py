"""Users, their tastes, and the split of profiles into seen and unseen ones.

A *profile* is one term for each of the five elements. A *taste* is a liked profile and its
opposite, which differs from it in every element; a user has one taste or several. Profiles are
split by a hash of their terms: one in five is unseen, and no user of one side has a profile of the
other.
"""

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import yaml

from data_gen.files.errors import InputError
from data_gen.files.files import refuse_pipe
from rewards.preference import ELEMENTS

VOCABULARY = Path(__file__).parent / "vocabulary.yaml"

SIDES = ("seen", "unseen")
UNSEEN_ONE_IN = 5

_MOST_DRAWS = 30_000

Vocabulary = Mapping[str, Sequence[str]]
"""Element -> its terms."""


class Profile(NamedTuple):
    """One term for each element, in the order of ``rewards.preference.ELEMENTS``."""

    art_style: str
    colour: str
    medium: str
    saturation: str
    detail: str


@dataclass(frozen=True)
class Taste:
    """A liked profile, and a disliked one that differs from it in every element."""

    liked: Profile
    disliked: Profile


@dataclass(frozen=True)
class User:
    """One or several tastes; no term is liked by one of them and disliked by another."""

    tastes: tuple[Taste, ...]


def read_vocabulary(path: str | Path = VOCABULARY) -> dict[str, tuple[str, ...]]:
    """Read a file of terms: element -> list.

    Raises:
        InputError: the file has other elements, or an element has fewer than two terms or one
            twice.
    """
    try:
        refuse_pipe(path)
        found = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise InputError(
            f"vocabulary {path} cannot be read: {' '.join(str(error).split())}"
        ) from None
    if not isinstance(found, dict) or set(found) != set(ELEMENTS):
        raise InputError(f"vocabulary {path} must have the keys {', '.join(ELEMENTS)}")
    for element, terms in found.items():
        if not isinstance(terms, list) or len(terms) < 2:
            raise InputError(f"vocabulary {path}: {element} must be a list of two or more terms")
        for term in terms:
            if not isinstance(term, str) or not term.strip() or set(term) & set('<>",;:\n'):
                raise InputError(
                    f'vocabulary {path}: {element}: {term!r} must be words, without <>",;: marks'
                )
        if len({term.casefold() for term in terms}) < len(terms):
            raise InputError(f"vocabulary {path}: {element} has a term twice")
    return {element: tuple(found[element]) for element in ELEMENTS}


def is_unseen(profile: Profile) -> bool:
    """Whether no user that training sees may have this profile: one in five, by a hash."""
    digest = hashlib.sha256("|".join(profile).encode()).digest()
    return int.from_bytes(digest[:8], "big") % UNSEEN_ONE_IN == 0


def draw_profile(rng: random.Random, vocabulary: Vocabulary) -> Profile:
    """A random profile, of whichever side."""
    return Profile(*(rng.choice(vocabulary[element]) for element in ELEMENTS))


def draw_user(rng: random.Random, vocabulary: Vocabulary, tastes: int, unseen: bool) -> User:
    """A user all of whose profiles are on one side of the split.

    All profiles are drawn at once and drawn again until they fit, so that a user and the one of
    opposite taste are equally likely: from two pictures nobody can tell which one is preferred.

    Args:
        tastes: how many, from 1.

    Raises:
        InputError: the vocabulary is too small for so many tastes.
    """
    for _ in range(_MOST_DRAWS):
        terms = [_consistent(rng, vocabulary[element], tastes) for element in ELEMENTS]
        drawn = [Profile(*of) for of in zip(*terms, strict=True)]
        if all(is_unseen(profile) == unseen for profile in drawn):
            return User(tuple(map(Taste, drawn[:tastes], drawn[tastes:])))
    raise InputError(
        f"the vocabulary is too small for users with {tastes} taste{'s' * (tastes > 1)} of the "
        f"side {SIDES[unseen]}; add terms to it"
    )


def _consistent(rng: random.Random, terms: Sequence[str], tastes: int) -> list[str]:
    """A liked term for each taste, then a disliked one for each; none is both."""
    while True:
        drawn = [rng.choice(terms) for _ in range(2 * tastes)]
        if set(drawn[:tastes]).isdisjoint(drawn[tastes:]):
            return drawn


def draw_candidates(
    rng: random.Random, taste: Taste, exchanged: int, seen_only: bool
) -> tuple[Profile, Profile] | None:
    """What the preferred picture and the other one look like.

    Args:
        exchanged: number of elements, 0-2, in which the preferred picture shows what the user
            dislikes and the other one what they like.
        seen_only: whether a look that is an unseen profile will not do.

    Returns:
        The preferred look and the other one; ``None`` where one of them will not do.
    """
    places = set(rng.sample(range(len(ELEMENTS)), exchanged))
    pairs = [
        (b, a) if i in places else (a, b)
        for i, (a, b) in enumerate(zip(taste.liked, taste.disliked, strict=True))
    ]
    preferred, other = (Profile(*terms) for terms in zip(*pairs, strict=True))
    if seen_only and (is_unseen(preferred) or is_unseen(other)):
        return None
    return preferred, other
