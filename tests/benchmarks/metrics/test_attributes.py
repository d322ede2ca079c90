"""What captions claim about toys, compared with the toys there are."""

import random
from dataclasses import asdict
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.metrics.attributes import attribute_metrics, length_metrics, true_attributes
from benchmarks.metrics.intervals import value
from data_gen.toybox.identity import draw_identity
from data_gen.toybox.language import caption, read_caption
from data_gen.toybox.scene import compose


def values(metrics):
    return {key: round(value(metric), 4) for key, metric in metrics.items()}


def test_length():
    assert values(length_metrics([99, 100, 200])) == {"tokens": 133.0, "at_floor": round(2 / 3, 4)}


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_a_true_caption_is_wholly_true(n):
    rng = random.Random(n)
    for _ in range(10):
        identities = []
        while len(identities) < n:
            identities.append(draw_identity(rng, held_out=True))
        scene = compose(rng, identities, 32)
        toys = [asdict(toy.identity) for toy in scene.toys]
        for names in ([None] * n, [f"name{i}" for i in range(n)]):
            claims = read_caption(caption(rng, scene, names, "medium"))
            found = attribute_metrics([claims], [toys])
            assert value(found["attribute_accuracy"]) == 1
            assert value(found["attribute_coverage"]) == 1
        short = attribute_metrics([read_caption(caption(rng, scene, [None] * n, "short"))], [toys])
        assert value(short["attribute_accuracy"]) == 1
        assert value(short["attribute_coverage"]) == pytest.approx(1 / 3)  # two of six attributes


def test_claims_about_nobody_are_wrong():
    bear = {"kind": "bear", "colour": "red"}
    assert true_attributes([bear, bear], [bear]) == 2
    twice = attribute_metrics([[bear, bear]], [[bear]])
    assert value(twice["attribute_accuracy"]) == 0.5  # the second bear is not there
    assert value(twice["attribute_coverage"]) == 1
    nothing = attribute_metrics([[]], [[bear]])
    assert str(value(nothing["attribute_accuracy"])) == "nan"


things = st.fixed_dictionaries({"kind": st.sampled_from("ab"), "colour": st.sampled_from("xyz")})


@given(st.lists(things, max_size=4), st.lists(things, min_size=1, max_size=3))
def test_the_best_matching_is_found(claims, toys):
    wide = claims + [{}] * len(toys)
    best = max(
        sum(
            sum(toy.get(k) == v for k, v in claim.items())
            for claim, toy in zip(order, toys, strict=True)
        )
        for order in permutations(wide, len(toys))
    )
    assert true_attributes(claims, toys) == best


def test_a_hundred_thousand_claims_take_no_time():
    bear = {"kind": "bear", "colour": "red"}
    assert true_attributes([bear] * 100_000, [bear] * 4) == 8
