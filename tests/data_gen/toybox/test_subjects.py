"""Toys as a source of subjects."""

import numpy as np
import pytest

from data_gen.toybox.identity import is_held_out
from data_gen.toybox.pairs import read_item
from data_gen.toybox.subjects import Toys, toy_source


@pytest.mark.parametrize(("split", "held_out"), [("train", False), ("heldout", True)])
def test_toys_are_different_and_of_one_side_of_the_split(split, held_out):
    toys = Toys(20, 3, split)
    assert len(toys) == len(set(toys.identities)) == len({toy.key for toy in toys}) == 20
    assert {is_held_out(identity) for identity in toys.identities} == {held_out}


def test_a_toy_has_several_views_that_depend_on_the_seed():
    toys, again, other = Toys(3, 0, size=32), Toys(3, 0, size=32), Toys(3, 1, size=32)
    images = [np.asarray(view.open()) for view in toys[0].views]
    assert len(images) == 2 and images[0].shape == (32, 32, 3)
    assert (images[0] != images[1]).any()
    assert np.array_equal(images[0], np.asarray(again[0].views[0].open()))
    assert toys.identities != other.identities


def test_a_toy_is_described_by_its_attributes():
    source = toy_source(4, 0, size=32, views=1)
    assert source.name == "toys"
    for toy, identity in zip(source.subjects, source.subjects.identities, strict=True):
        assert toy.category == identity.kind and toy.info == identity.description
        assert read_item(toy.label) == identity
