"""Captions are true and can be read back; names are not ordinary words."""

import random

import pytest

from data_gen.tasks.names import all_names
from data_gen.tasks.prompts import load_prompts
from data_gen.toybox.identity import (
    ATTRIBUTES,
)
from data_gen.toybox.language import (
    LENGTHS,
    VOICES,
    caption,
    read_caption,
    read_descriptions,
)
from data_gen.toybox.scene import compose
from tests.data_gen.toybox.toys import some_identities


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("voice", VOICES)
def test_captions_tell_the_truth_and_nothing_else(length, voice):
    rng = random.Random(7)
    for k in (1, 2, 3, 4):
        scene = compose(rng, some_identities(k, seed=k), 64)
        text = caption(rng, scene, [None] * k, length, voice)
        claims = read_caption(text)
        assert len(claims) == k
        for claim, toy in zip(claims, scene.toys, strict=True):
            assert all(getattr(toy.identity, a) == value for a, value in claim.items())
            assert length == "short" or set(claim) == set(ATTRIBUTES)


def test_a_caption_writes_exactly_the_names_it_is_given():
    rng = random.Random(8)
    for length in LENGTHS:
        scene = compose(rng, some_identities(3), 64)
        text = caption(rng, scene, ["bo", None, "Zoé"], length)
        assert "<bo>" in text and "<Zoé>" in text and text.count("<") == text.count(">")


@pytest.mark.parametrize("text", ["", "blue", "a striped blue", "<bo> has red stripes.", "\ud800"])
def test_reading_a_caption_that_claims_nothing_gives_nothing(text):
    assert read_caption(text) == []


NAMED = {
    # names after their toys, as in this module's own captions
    "a red cat, <bo>, a blue dog, <mila> and a green owl, <zed>.": "bo / mila / zed",
    "A red cat with white stripes and a blue crown, <bo>, waits on the left.": "bo",
    "There is a red cat. It wears a crown. It is <bo>. <bo> waits there. There is a blue dog. "
    "It wears a red crown. It is <mila>. <mila> looks big.": "bo / mila",
    "A red cat called Bo and a blue dog named Mila.": "bo / mila",
    "A red cat (Bo), a blue dog (**Mila**).": "bo / mila",
    "A red cat waits on the left, <bo>, and a blue dog on the right, <mila>.": "bo / mila",
    "A red cat waits. Its name is <bo>. A blue dog waits. This is <mila>.": "bo / mila",
    # names before their toys
    "<bo>, a red cat, waits. <mila>, a blue dog, waits.": "bo / mila",
    "I see <bo>, a red cat, <mila>, a blue dog.": "bo / mila",
    "<bo> is a red cat and <mila> is a blue dog.": "bo / mila",
    "bo is a big red cat; mila's a blue dog.": "bo / mila",
    "<bo>, who wears a red scarf, is a red cat.": "bo",
    "This is <bo>. It is a red cat. This is <mila>. She is a small blue dog.": "bo / mila",
    "A red cat stands next to <mila>, a blue dog.": "- / mila",
    "<Red Bear>, a blue dog": "red bear",
    "<St. Bo>, a red cat": "st. bo",
    # two names
    "A red cat, <bo>, <mila>, waits.": "bo+mila",
    "A red cat. It is <bo>, or maybe <mila>. A blue dog.": "bo+mila / -",
    "A red cat, <bo>, <mila>, a blue dog.": "bo / mila",
    "<bo> and <mila> are a red cat. A blue dog.": "- / -",
    # names apart from what is described
    "This is <bo> and <mila>. A red cat waits. A blue dog waits.": "- / -",
    "This is <bo> with <mila>. It is a red cat.": "mila",
    "A red cat waits. A blue dog waits. Here are <bo> and <mila>.": "- / -",
    "A red cat, <bo>, stands next to <mila>.": "bo",
    "<bo> waits where there is a red cat.": "-",
    "<bo>": "",
}


@pytest.mark.parametrize("text", NAMED)
def test_which_name_stands_on_which_toy(text):
    found = read_descriptions(text, ["bo", "mila", "red bear", "st. bo"])
    assert " / ".join("+".join(sorted(d.names)) or "-" for d in found) == NAMED[text]


def test_descriptions_are_what_a_caption_claims():
    rng = random.Random(5)
    for k in (1, 2, 3, 4):
        scene = compose(rng, some_identities(k, seed=k), 32)
        text = caption(rng, scene, ["bo", *[None] * (k - 1)], "long")
        assert [d.attributes for d in read_descriptions(text, ["bo"])] == read_caption(text)


def test_names_are_no_words_of_captions_or_prompts():
    rng = random.Random(9)
    text = [str(load_prompts())]
    for seed in range(300):
        scene = compose(rng, some_identities(rng.randint(1, 4), seed=seed), 32)
        text += [caption(rng, scene, [None] * len(scene.toys), length) for length in LENGTHS]
    words = {w.strip(".,:;!?\"'[]{}()").casefold() for line in text for w in line.split()}
    assert not {name.casefold() for name in all_names()} & words
    assert len(all_names()) == len({n.casefold() for n in all_names()}) >= 900
