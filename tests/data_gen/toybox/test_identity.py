"""Identities: numbering, the split, hard negatives, descriptions."""

import random
from collections import Counter

import numpy as np
import pytest

from concepts.importers import draw_toys
from data_gen.toybox import identity as toys
from data_gen.toybox.identity import (
    ATTRIBUTES,
    HALVES,
    N_IDENTITIES,
    from_number,
    half_of,
    is_held_out,
    to_number,
)
from tests.data_gen.toybox.toys import some_identities


def test_there_are_more_than_100_000_identities_and_each_has_one_number():
    assert N_IDENTITIES >= 100_000
    sample = random.Random(0).sample(range(N_IDENTITIES), 2000)
    assert [to_number(from_number(n)) for n in sample] == sample
    assert len({from_number(n) for n in sample}) == len(sample)


def test_colours_of_one_toy_can_be_told_apart():
    for identity in some_identities(500):
        assert identity.colour not in (identity.second, identity.accessory_colour)


def test_a_tenth_is_held_out_and_no_draw_crosses_the_line():
    share = np.mean([is_held_out(from_number(n)) for n in range(0, N_IDENTITIES, 7)])
    assert 0.09 < share < 0.11
    assert not any(map(is_held_out, some_identities(300, held_out=False)))
    assert all(map(is_held_out, some_identities(300, held_out=True)))


@pytest.mark.parametrize("held_out", [False, True])
def test_hard_negatives_differ_in_one_attribute_and_stay_on_their_side(held_out):
    rng = random.Random(1)
    changed = Counter()
    for identity in some_identities(300, held_out=held_out):
        other = toys.hard_negative(rng, identity)
        differing = [a for a in ATTRIBUTES if getattr(a_of := identity, a) != getattr(other, a)]
        assert a_of is identity and len(differing) == 1
        assert is_held_out(other) == held_out
        assert other.colour not in (other.second, other.accessory_colour)
        changed[differing[0]] += 1
    assert set(changed) == set(ATTRIBUTES), "every attribute is varied"


@pytest.mark.parametrize("half", HALVES)
def test_the_held_out_toys_are_halved(half):
    """All toys of a row, hard negatives and databases included, are of one half."""
    share = np.mean(
        [
            half_of(from_number(n)) == half
            for n in range(0, N_IDENTITIES, 7)
            if is_held_out(from_number(n))
        ]
    )
    assert 0.48 < share < 0.52
    rng = random.Random(2)
    drawn = [toys.draw_identity(rng, held_out=True, half=half) for _ in range(200)]
    for toy in [
        *drawn,
        *(toys.hard_negative(rng, toy, half) for toy in drawn),
        *draw_toys(40, 1, half=half).values(),
    ]:
        assert is_held_out(toy) and half_of(toy) == half


def test_descriptions_and_features_state_the_attributes():
    for i in some_identities(50):
        words = " ".join([i.description, *i.features])
        for value in (i.kind, i.colour, i.second, i.accessory, i.accessory_colour):
            assert value in words
        assert i.category == i.kind
