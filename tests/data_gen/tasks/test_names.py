"""The list of names."""

import random
import unicodedata

from data_gen.tasks.names import all_names, draw_names


def test_names_are_bare_normalised_and_distinct_whatever_the_case():
    names = all_names()
    assert len(names) > 900 and len({name.casefold() for name in names}) == len(names)
    for name in names:
        assert name == name.strip() == unicodedata.normalize("NFC", name)
        assert not set(name) & set("<>#")


def test_drawn_names_are_distinct_and_the_same_for_a_seed():
    drawn = draw_names(random.Random(3), 50)
    assert len(set(drawn)) == 50 and drawn == draw_names(random.Random(3), 50)
