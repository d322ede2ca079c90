"""The truth of a scene as a column, read back from its true captions; and who is called what."""

import json
import random
import time
from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_gen.toybox.facts import (
    facts_of,
    fitting_toys,
    name_places,
    read_facts,
    read_names,
    true_attributes,
)
from data_gen.toybox.identity import ATTRIBUTES, Identity, draw_identity
from data_gen.toybox.language import LENGTHS, VOICES, caption
from data_gen.toybox.rows import ToyboxSettings, toybox_row, toybox_rows
from data_gen.toybox.scene import compose

SMALL = {"reference_px": 32, "query_px": 32}


def test_true_captions_claim_nothing_false_and_long_ones_everything():
    rng = random.Random(0)
    for n in (1, 2, 3, 4):
        scene = compose(rng, [draw_identity(rng, held_out=False) for _ in range(n)], 32)
        facts = facts_of(scene, {})
        for voice in VOICES:
            text = caption(rng, scene, ["bo", *[None] * (n - 1)], "long", voice)
            assert read_facts(text, facts) == (6 * n, 6 * n, 6 * n)
            claims, true, _ = read_facts(caption(rng, scene, [None] * n, "short", voice), facts)
            assert claims == true == 2 * n


def test_the_column_is_the_truth_of_captioned_scenes_and_changes_nothing_else():
    counts = {"identity_consistency": 3, "description": 2, "object_consistency": 2}
    with_facts = list(toybox_rows(counts, 0, ToyboxSettings(**SMALL, targets=True, facts=True)))
    without = list(toybox_rows(counts, 0, ToyboxSettings(**SMALL, targets=True)))
    for row, plain in zip(with_facts, without, strict=True):
        facts = row.pop("facts")
        assert row == plain
        assert (facts is None) == (row["task"] == "object_consistency")
        if facts:
            claims, true, there = read_facts(row["target"], facts)
            truth = json.loads(facts)
            assert claims == true > 0 and there == 6 * len(truth["toys"])
            # Who bears a name is who is expected, and a target calls nobody else by it.
            bearers = [name for name in truth["names"] if name is not None]
            assert sorted(bearers) == sorted(row["names"])
            assert len(truth["names"]) == len(truth["toys"])
            for name, places in read_names(row["target"], facts).items():
                assert name in bearers and places == [True]


def test_owner_words_are_asked_about():
    settings = ToyboxSettings(**SMALL, owner_words=True)
    for i in range(6):
        row = toybox_row("identity_consistency", i, 0, settings)
        prompt = json.dumps(row["prompt"], ensure_ascii=False)
        asked = json.loads(row["questions"])
        assert len(asked) == 3 * (len(row["names"]) + len(row["absent_names"]))
        for each in asked:
            (name,) = [
                n for n in row["names"] + row["absent_names"] if f"<{n}>" in each["question"]
            ]
            assert (each["answer"] is None) == (name in row["absent_names"])
            assert len(set(each["options"])) == 4
            if each["answer"] is not None:
                assert each["options"][each["answer"]] in prompt, "the owner has said it"
    assert toybox_row("description", 0, 0, settings)["questions"] is None


# --- who is called what ----------------------------------------------------------------------

CAT = asdict(Identity("cat", "red", "striped", "white", "crown", "blue"))
DOG = asdict(Identity("dog", "blue", "spotted", "green", "scarf", "red"))
OWL = asdict(Identity("owl", "pink", "starred", "black", "boots", "white"))
A_CAT = "a red cat with white stripes and a blue crown"
A_DOG = "a blue dog with green spots and a red scarf"
AN_OWL = "a pink owl with a black star and white boots"
SCENE, NAMES = [CAT, DOG, OWL], ["bo", "mila", None]


def places(text, toys=SCENE, names=NAMES):
    return name_places(text, toys, names)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("voice", VOICES)
def test_captions_that_name_who_is_there_put_each_name_on_its_toy(seed, length, voice):
    rng = random.Random(seed)
    identities: list[Identity] = []
    while len(identities) < rng.randint(1, 4):
        identities.append(draw_identity(rng, held_out=False))
    scene = compose(rng, identities, 32)
    toys = [asdict(toy.identity) for toy in scene.toys]
    names = [rng.choice([f"name{i}", None]) for i in range(len(toys))]
    text = caption(rng, scene, names, length, voice)
    assert name_places(text, toys, names) == {name: [True] for name in names if name}
    # The same with the names moved one toy on: none is right, unless a short phrase fits both.
    moved = [*names[1:], *names[:1]]
    text = caption(rng, scene, moved, length, voice)
    for name, where in name_places(text, toys, names).items():
        own = toys[names.index(name)]
        under = toys[moved.index(name)]
        alike = length == "short" and all(own[k] == under[k] for k in ("kind", "colour"))
        assert where == [own == under or alike]


def test_own_toy_another_one_and_none():
    assert places(f"{A_CAT}, <bo>, and {A_DOG}, <mila>.") == {"bo": [True], "mila": [True]}
    assert places(f"{A_CAT}, <mila>, and {A_DOG}, <bo>.") == {"bo": [False], "mila": [False]}
    assert places(f"{A_CAT}, and {AN_OWL}, <bo>.") == {"bo": [False]}, "a toy without a name"
    assert places("A green frog with a pink patch, <bo>.") == {"bo": [None]}, "nobody is like that"
    assert places("This is <bo>.") == places(f"<bo>. {A_CAT}.") == {"bo": []}
    assert places("") == places(f"{A_CAT}, <zuri>.") == {}
    # A name that nobody here bears is on another toy, and takes nobody's name from it.
    absent = name_places(f"{A_CAT}, <bo>, <zuri>. {A_DOG}, <zuri>.", SCENE, NAMES, ["zuri"])
    assert absent == {"bo": [True], "zuri": [False, False]}


def test_a_misread_attribute_does_not_make_it_another_toy():
    assert places("A red cat with white spots and a pink crown, <bo>.") == {"bo": [True]}
    # Between two toys that fit alike the kind decides.
    assert places("A blue cat, <bo>, and a pink dog, <mila>.") == {"bo": [True], "mila": [True]}
    mixed = (
        "a blue cat with white spots and a blue scarf, <{}>, and a red dog with green stripes and "
        "a red crown, <{}>."
    )
    assert places(mixed.format("bo", "mila")) == {"bo": [True], "mila": [True]}
    assert places(mixed.format("mila", "bo")) == {"bo": [False], "mila": [False]}


def test_a_name_given_twice():
    twice = f"{A_CAT}, <bo>. {A_DOG}, <bo>."
    assert places(twice) == {"bo": [True, False]}
    assert places(f"{A_CAT}, <bo>. <bo> waits on the left. <bo> looks big.") == {"bo": [True]}
    assert places(f"{A_CAT}, <bo>. {A_CAT}, <bo>.") == {"bo": [True]}, "one toy, said twice"


def test_a_toy_is_described_once():
    """What contradicts its best description is another thing, and nobody."""
    invented = "a red bear with white stripes and a blue balloon"
    assert places(f"{A_CAT}, <bo>, and {invented}, <bo>.") == {"bo": [True, None]}
    assert places(f"{A_CAT}, and {invented}, <bo>.") == {"bo": [None]}
    assert places(f"{invented}, <bo>.") == {"bo": [True]}, "the cat, misread"
    assert places(f"{A_CAT} waits on the left. A red cat, <bo>, looks big.") == {"bo": [True]}


def test_twins_do_not_count_against_a_caption():
    twin = CAT | {"accessory": "balloon"}
    toys, names = [CAT, twin], ["bo", "mila"]
    either = "A red cat with white stripes, <{}>, and a red cat with white stripes, <{}>."
    for first, second in (names, names[::-1]):
        found = places(either.format(first, second), toys, names)
        assert found == {"bo": [True], "mila": [True]}
    # What tells them apart decides, and a third value of it leaves them alike.
    assert places(f"{A_CAT}, <mila>.", toys, names) == {"mila": [False]}
    assert places("A red cat with white stripes and a blue scarf, <mila>.", toys, names) == {
        "mila": [True]
    }


CHEATS = {
    "all names on one toy": f"{A_CAT}, <bo> and <mila>, waits. {A_DOG} waits.",
    "all names on every toy": f"{A_CAT}, <bo>, <mila>. {A_DOG}, <bo>, <mila>.",
    "the same in sentences": f"{A_CAT}. It is <bo>, or maybe <mila>. {A_DOG}. It is <mila> or <bo>",
    "each toy twice": f"{A_CAT}, <bo>. {A_CAT}, <mila>. {A_DOG}, <bo>. {A_DOG}, <mila>.",
    "one description under every name": f"{AN_OWL}, <bo>. {AN_OWL}, <mila>.",
    "names first": f"Here are <bo> and <mila>. {A_CAT}. {A_DOG}.",
    "names last": f"{A_CAT}. {A_DOG}. These are <bo> and <mila>.",
    "names alone": "<bo> and <mila>",
}


@pytest.mark.parametrize("text", CHEATS.values(), ids=CHEATS)
def test_who_does_not_say_who_is_who_names_nobody(text):
    assert not any(own for where in places(text).values() for own in where)


def test_the_reader_of_the_reward():
    scene = compose(random.Random(1), [Identity(**CAT), Identity(**DOG)], 32)
    facts = facts_of(scene, {Identity(**CAT): "bo", Identity(**OWL): "zuri"})
    assert read_names(f"{A_CAT}, <bo>, {AN_OWL}, <bo>.", facts) == {"bo": [True, False]}
    assert read_names(f"{A_CAT}, <zuri>.", facts) == {}, "she is not there"
    with pytest.raises(ValueError, match="generate the rows anew"):
        read_names("", json.dumps({"toys": []}))


pieces = st.sampled_from(
    [A_CAT, A_DOG, AN_OWL, "<bo>", "<mila>", "<zed>", "bo", "It is ", " is ", ", ", ". ", " and "]
    + ["A red ", "\n", "\u0130", "\ud800", "\u0301", "</bo>", "<", ">"]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(pieces, max_size=25).map("".join))
def test_any_text_can_be_read(text):
    found = places(text)
    assert found.keys() <= {"bo", "mila"}
    for where in found.values():
        assert where.count(True) <= 1, "a name has one toy"
    right = [name for name, where in found.items() if True in where]
    assert len(right) <= true_attributes([CAT, DOG], SCENE)


def test_long_texts_take_linear_time():
    started = time.process_time()
    for text in ("<bo> " * 10_000, f"{A_CAT}, <bo>. " * 1_000, "is a " * 10_000 + "<bo>"):
        places(text)
        places(f"{A_CAT} {text}")
        places(f"{text} {A_CAT}")
    assert time.process_time() - started < 4


claims = st.dictionaries(st.sampled_from(ATTRIBUTES), st.sampled_from("abc"), min_size=1)


@settings(max_examples=40, deadline=None)
@given(claims, st.lists(claims, max_size=4))
def test_the_toys_that_fit_best(claim, toys):
    fits = fitting_toys(claim, toys)
    scores = [sum(toy.get(k) == v for k, v in claim.items()) for toy in toys]
    assert bool(fits) == (2 * max(scores, default=0) >= len(claim))
    best = [i for i, score in enumerate(scores) if score == max(scores)]
    assert fits <= set(best)
    for i in fits and best:
        same = [k for k in ("kind", "colour") if claim.get(k) == toys[i].get(k, "")]
        kept = [k for k in ("kind", "colour") if claim.get(k) == toys[min(fits)].get(k, "")]
        assert (i in fits) == (same == kept)
        assert "kind" in kept or "kind" not in same
