"""Precision x coverage of a caption's claims, with the toybox's reader."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_gen.toybox.facts import read_facts
from rewards import caption_facts

TOY = {
    "kind": "bear",
    "colour": "red",
    "pattern": "striped",
    "second": "white",
    "accessory": "crown",
    "accessory_colour": "blue",
}
OTHER = TOY | {"kind": "owl", "colour": "green"}
FACTS = json.dumps({"toys": [TOY]})
ALL = "A red bear with white stripes and a blue crown."


def score(text, facts=FACTS):
    (value,) = caption_facts([text], facts=[facts], reader=read_facts)
    return value


def test_precision_times_coverage():
    assert score(ALL) == 1
    assert score("A red bear.") == pytest.approx(2 / 2 * 2 / 6)
    assert score("A red bear with white stripes and a green crown.") == pytest.approx(5 / 6 * 5 / 6)
    assert score(ALL, json.dumps({"toys": [TOY, OTHER]})) == pytest.approx(6 / 12)


def test_cheats():
    assert score("") == score("A toy.") == 0
    assert score(ALL * 2) == pytest.approx(1 / 2), "the second description is of no other toy"
    everything = " ".join(
        f"A {colour} {kind}." for colour in ("red", "blue", "green") for kind in ("bear", "owl")
    )
    assert score(everything) == pytest.approx(2 / 12 * 2 / 6)


@given(text=st.text(max_size=200))
@settings(max_examples=50, deadline=None)
def test_any_text_gives_a_number_in_range(text):
    assert 0 <= score(text) <= 1


def test_rows_without_facts_are_none():
    texts = [[{"role": "assistant", "content": ALL}], ALL, ALL]
    facts = [FACTS, None, json.dumps({"toys": []})]
    # A claim where there is nothing to state is impossible for the toybox, and no zero.
    assert caption_facts(texts[:2], facts=facts[:2], reader=read_facts) == [1, None]
    assert score("A toy.", facts[2]) is None


@pytest.mark.parametrize("counts", [(1, 2, 6), (7, 7, 6), (1, -1, 6)])
def test_a_reader_that_cannot_be_right_is_refused(counts):
    with pytest.raises(ValueError, match="the reader counts"):
        caption_facts([""], facts=[FACTS], reader=lambda text, facts: counts)
    with pytest.raises(ValueError, match="needs a reader"):
        caption_facts([""], facts=[FACTS])
