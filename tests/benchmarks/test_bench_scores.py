"""Scorers: text in, numbers out."""

import random
from dataclasses import asdict
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.metrics.attributes import attribute_metrics, length_metrics, true_attributes
from benchmarks.metrics.intervals import value
from benchmarks.metrics.localization import answered_box, localization_metrics
from benchmarks.metrics.naming import count_names, naming_metrics
from benchmarks.metrics.recognition import recognition_metrics
from data_gen.toybox.identity import draw_identity
from data_gen.toybox.language import caption, read_caption
from data_gen.toybox.scene import compose


def values(metrics):
    return {key: round(value(metric), 4) for key, metric in metrics.items()}


@pytest.mark.parametrize(("text", "hits", "extra", "missed"), [
    ("<bo> sits beside <Mia>'s chair.", 2, 0, 0),
    ("A dog and a cat.", 0, 0, 2),
    ("<bo> <bo> <bo> <bo>", 1, 0, 1),
    ("<bo>, <mia> and <tom>.", 2, 1, 0),  # tom is absent
    ("<bo> and <nobody> and <nobody>", 1, 1, 1),  # an unlisted tag, once
    ("<bo>a dog</bo>", 0, 0, 2),  # markup is no mention
    ("", 0, 0, 2),
])
def test_names_are_counted_as_sets(text, hits, extra, missed):
    found = count_names(text, ["bo", "mia"], ["tom"])
    assert (found.hits, found.extra, found.missed) == (hits, extra, missed)


def test_naming_is_a_micro_average():
    tallies = [count_names("<bo> and <tom>", ["bo"], ["tom"]),  # 1 hit, 1 extra
               count_names("a picture", ["mia", "kim"]),  # 2 missed
               count_names("<mia> and <kim>", ["mia", "kim"])]  # 2 hits
    assert values(naming_metrics(tallies)) == {
        "precision": 0.75, "recall": 0.6, "f1": round(2 * 3 / (2 * 3 + 1 + 2), 4),
        "names_used": round(2 / 3, 4), "names_nothing": round(1 / 3, 4)}


def test_naming_nothing_has_no_precision():
    metrics = naming_metrics([count_names("a toy", ["bo"])])
    assert value(metrics["f1"]) == 0 and value(metrics["recall"]) == 0
    assert str(value(metrics["precision"])) == "nan"


def test_recognition():
    texts = ["yes", "no", "No.", "Yes!", "yes and no", "no"]
    truths = ["yes", "yes", "no", "no", "no", "no"]
    hard = [False, False, False, False, True, True]
    assert values(recognition_metrics(texts, truths, hard)) == {
        "accuracy": 0.5, "positive": 0.5, "negative": 0.5, "negative_easy": 0.5,
        "negative_hard": 0.5, "answered": round(5 / 6, 4)}
    always = recognition_metrics(["yes"] * 6, truths)
    assert value(always["accuracy"]) == 0.5 and "negative_hard" not in always


def test_localization_in_the_frame_of_the_policy():
    texts = ['{"bbox_2d": [10, 20, 50, 60]}', "[0, 0, 50, 100]", "no idea", "[1,2,3,4] [1,2,3,4]"]
    truth = (0.1, 0.2, 0.5, 0.6)
    metrics = localization_metrics(texts, [truth, (0, 0, 1, 1), truth, truth], [[100, 100]] * 4)
    # The second is exactly one half, which counts.
    assert values(metrics) == {"iou50": 0.5, "mean_iou": 0.375, "answered": 0.5}
    assert answered_box("[500, 0, 1000, 1000]", [1000, 1000]) == (0.5, 0, 1, 1)
    assert answered_box("[5, 5, 1, 1]", [10, 10]) is None


def test_length():
    assert values(length_metrics([99, 100, 200])) == {
        "tokens": 133.0, "at_floor": round(2 / 3, 4)}


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
    best = max(sum(sum(toy.get(k) == v for k, v in claim.items())
                   for claim, toy in zip(order, toys, strict=True))
               for order in permutations(wide, len(toys)))
    assert true_attributes(claims, toys) == best


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet=st.characters() | st.sampled_from("<>/[],. yesno0123bearred"), max_size=80))
def test_any_text_gives_shares(text):
    toys = [[{"kind": "bear", "colour": "red"}]]
    found = {
        **recognition_metrics([text], ["yes"], [False]),
        **localization_metrics([text], [(0, 0, 1, 1)], [[8, 8]]),
        **naming_metrics([count_names(text, ["bo"], ["no"])]),
        **attribute_metrics([read_caption(text)], toys),
    }
    for key, metric in found.items():
        number = value(metric)
        assert number != number or 0 <= number <= 1, key


def test_a_hundred_thousand_claims_take_no_time():
    bear = {"kind": "bear", "colour": "red"}
    assert true_attributes([bear] * 100_000, [bear] * 4) == 8
