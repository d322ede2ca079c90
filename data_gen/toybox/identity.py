"""Identities of toys: one value for each of six named attributes, split into train and held out.

10 kinds x 9 colours x 5 patterns x 8 pattern colours x 8 accessories x 8 accessory colours
= 230,400 identities; the pattern's and the accessory's colour always differ from the body's.
One identity in ten is held out, by a hash of its number, so training and held-out identities are
disjoint whatever the seed. A second hash splits the held-out ones in halves: ``validation``, by
which settings are chosen, and ``test``, on which results are reported.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

KINDS = ("bear", "rabbit", "cat", "dog", "duck", "owl", "robot", "frog", "dragon", "elephant")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white", "black")
PATTERNS = ("striped", "spotted", "checked", "starred", "patched")
ACCESSORIES = ("top hat", "party hat", "crown", "scarf", "bow tie", "balloon", "boots", "glasses")
ATTRIBUTES = ("kind", "colour", "pattern", "second", "accessory", "accessory_colour")

N_IDENTITIES = len(KINDS) * len(COLOURS) * len(PATTERNS) * 8 * len(ACCESSORIES) * 8
HELD_OUT_ONE_IN = 10
HALVES = ("validation", "test")
"""The two splits of the held-out identities."""

CATEGORY_FACTS = {
    "bear": "round ears",
    "rabbit": "long ears",
    "cat": "pointed ears",
    "dog": "floppy ears",
    "duck": "a flat beak",
    "owl": "big round eyes",
    "robot": "an antenna",
    "frog": "a wide mouth",
    "dragon": "two wings",
    "elephant": "a long trunk",
}

MARKS = {
    "striped": "stripes",
    "spotted": "spots",
    "checked": "checks",
    "starred": "a star",
    "patched": "a patch",
}
"""Pattern -> the noun for what it puts on the belly."""


@dataclass(frozen=True)
class Identity:
    """One toy. ``kind`` is its category; ``second`` is the colour of its pattern."""

    kind: str
    colour: str
    pattern: str
    second: str
    accessory: str
    accessory_colour: str

    @property
    def category(self) -> str:
        return self.kind

    @property
    def description(self) -> str:
        """One true sentence."""
        article = "an" if self.colour[0] in "aeiou" else "a"
        return (
            f"It is {article} {self.colour} {self.kind} with {mark(self)} on its belly "
            f"and {worn(self)}."
        )

    @property
    def features(self) -> list[str]:
        """What distinguishes it from others of its kind, and its kind from other kinds."""
        return [f"a {self.colour} body", mark(self), worn(self), CATEGORY_FACTS[self.kind]]


def mark(identity: Identity) -> str:
    """The pattern as a noun phrase: ``white stripes``, ``a white star``."""
    noun = MARKS[identity.pattern]
    if noun.startswith("a "):
        article = "an" if identity.second[0] in "aeiou" else "a"
        return f"{article} {identity.second} {noun[2:]}"
    return f"{identity.second} {noun}"


def worn(identity: Identity) -> str:
    """The accessory as a noun phrase: ``a red top hat``, ``red boots``."""
    plural = identity.accessory in ("boots", "glasses")
    article = "" if plural else ("an " if identity.accessory_colour[0] in "aeiou" else "a ")
    return f"{article}{identity.accessory_colour} {identity.accessory}"


def from_number(number: int) -> Identity:
    """Identity 0 ... ``N_IDENTITIES`` - 1, one to one.

    Raises:
        IndexError: for a number outside the range.
    """
    if not 0 <= number < N_IDENTITIES:
        raise IndexError(f"identity {number} is not in 0...{N_IDENTITIES - 1}")
    number, kind = divmod(number, len(KINDS))
    number, colour = divmod(number, len(COLOURS))
    number, pattern = divmod(number, len(PATTERNS))
    number, second = divmod(number, 8)
    accessory_colour, accessory = divmod(number, len(ACCESSORIES))
    body = COLOURS[colour]
    others = _others(body)
    return Identity(
        KINDS[kind],
        body,
        PATTERNS[pattern],
        others[second],
        ACCESSORIES[accessory],
        others[accessory_colour],
    )


def to_number(identity: Identity) -> int:
    """The inverse of :func:`from_number`."""
    others = _others(identity.colour)
    number = others.index(identity.accessory_colour)
    number = number * len(ACCESSORIES) + ACCESSORIES.index(identity.accessory)
    number = number * 8 + others.index(identity.second)
    number = number * len(PATTERNS) + PATTERNS.index(identity.pattern)
    number = number * len(COLOURS) + COLOURS.index(identity.colour)
    return number * len(KINDS) + KINDS.index(identity.kind)


def is_held_out(identity: Identity) -> bool:
    """Whether training must never see it (a fixed tenth of all identities)."""
    # Multiplicative hash: neighbours in one attribute fall on either side independently.
    return (to_number(identity) * 2654435761 % 2**32 >> 8) % HELD_OUT_ONE_IN == 0


def half_of(identity: Identity) -> str:
    """Which of :data:`HALVES` a held-out identity belongs to."""
    # Other bits of another product, so that the two hashes are independent.
    return HALVES[to_number(identity) * 2246822519 % 2**32 >> 15 & 1]


def draw_identity(rng: random.Random, *, held_out: bool, half: str | None = None) -> Identity:
    """A random identity of one side of the split that has a hard negative on the same side.

    About 1 in 60 held-out identities has none, and 1 in 8 none in its half; on the training side
    all have several.

    Args:
        half: draw only from this half of the held-out identities; ``None`` takes both.
    """
    while True:
        identity = from_number(rng.randrange(N_IDENTITIES))
        if _is_on_side(identity, held_out, half) and (
            not held_out or _has_hard_negative(identity, half)
        ):
            return identity


def hard_negatives(identity: Identity, half: str | None = None) -> list[Identity]:
    """All toys on the same side of the split (and in ``half``) that differ in exactly one
    attribute."""
    return list(_hard_negatives(identity, half))


def hard_negative(rng: random.Random, identity: Identity, half: str | None = None) -> Identity:
    """One of :func:`hard_negatives`: a random attribute and value, drawn again until it is one.

    Raises:
        ValueError: there is none (never for an identity that :func:`draw_identity` gave, with the
            same ``half``).
    """
    if is_held_out(identity) and not _has_hard_negative(identity, half):
        raise ValueError(f"{identity} has no hard negative on its side of the split")
    held_out = is_held_out(identity)
    while True:
        attribute = rng.choice(ATTRIBUTES)
        other = replace(identity, **{attribute: rng.choice(_choices(attribute))})
        if other != identity and is_legal(other) and _is_on_side(other, held_out, half):
            return other


def is_legal(identity: Identity) -> bool:
    """Whether the pattern's and the accessory's colour differ from the body's."""
    return identity.colour not in (identity.second, identity.accessory_colour)


def _hard_negatives(identity: Identity, half: str | None) -> Iterator[Identity]:
    held_out = is_held_out(identity)
    for attribute in ATTRIBUTES:
        for value in _choices(attribute):
            other = replace(identity, **{attribute: value})
            if other != identity and is_legal(other) and _is_on_side(other, held_out, half):
                yield other


def _has_hard_negative(identity: Identity, half: str | None) -> bool:
    return next(_hard_negatives(identity, half), None) is not None


def _is_on_side(identity: Identity, held_out: bool, half: str | None) -> bool:
    return is_held_out(identity) == held_out and half in (None, half_of(identity))


def _others(colour: str) -> tuple[str, ...]:
    return tuple(c for c in COLOURS if c != colour)


def _choices(attribute: str) -> tuple[str, ...]:
    return {"kind": KINDS, "pattern": PATTERNS, "accessory": ACCESSORIES}.get(attribute, COLOURS)
