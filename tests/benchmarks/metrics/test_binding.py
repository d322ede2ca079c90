"""On whom captions put the names, counted."""

from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.metrics.binding import BINDING, binding_metrics
from benchmarks.metrics.intervals import value
from benchmarks.metrics.naming import count_names, naming_metrics


def scores(*captions):
    """Of captions given as (text, expected names, absent names, places)."""
    found = binding_metrics(*map(list, zip(*captions, strict=True)))
    assert tuple(found) == BINDING
    return {key: value(metric) for key, metric in found.items()}


def test_a_name_counts_once_and_on_its_own_thing():
    found = scores(
        ("<bo> <mila> <zuri>", ["bo", "mila"], ["zuri"], {"bo": [True], "mila": [False]})
    )
    assert found["f1_on_toy"] == 2 / (2 + 2 + 1)  # a hit; zuri and mila's place extra; mila missed
    assert (found["on_own_toy"], found["on_another_toy"], found["on_no_toy"]) == (1 / 2, 1 / 2, 0)
    found = scores(("<bo> <bo> <bo>", ["bo"], [], {"bo": [True, False]}))
    assert found["f1_on_toy"] == 2 / 3 and found["named_twice"] == 1
    absent = {"bo": [True], "zuri": [False, None]}
    found = scores(("<bo> <zuri> <zuri>", ["bo"], ["zuri"], absent))
    assert found["f1_on_toy"] == 2 / 3, "an absent name is one extra, as in naming F1"
    assert found["on_own_toy"] == 1 and found["named_twice"] == 1


def test_a_name_on_nothing_is_missed_and_only_an_invented_thing_is_extra():
    found = scores(("<bo>", ["bo", "mila"], [], {"bo": []}))
    assert found["f1_on_toy"] == 0 and found["on_no_toy"] == 1
    only_bo = ["bo"], []
    half = scores(("<bo>", *only_bo, {"bo": [True]}), ("<bo>", *only_bo, {"bo": []}))
    assert half["f1_on_toy"] == 2 / 3, "a hit and a miss"
    invented = scores(("<bo>", *only_bo, {"bo": [True]}), ("<bo>", *only_bo, {"bo": [None]}))
    assert invented["f1_on_toy"] == 2 / 4 and invented["on_no_toy"] == 1 / 2


def test_captions_without_a_mention_say_nothing_of_places():
    found = scores(("A bear.", ["bo"], [], {}))
    assert found["f1_on_toy"] == found["named_twice"] == 0
    assert found["on_own_toy"] != found["on_own_toy"], "0 of 0"


owns = st.lists(st.sampled_from([True, False, None]), max_size=3)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(["bo", "mila"]), owns), min_size=1, max_size=3))
def test_it_is_at_most_f1_and_f1_where_every_name_has_its_place(places):
    texts = [" ".join(f"<{name}>" for name in [*at, "zuri"]) for at in places]
    expected, absent = [["bo", "mila"]] * len(texts), [["zuri"]] * len(texts)

    def score(at):
        return value(binding_metrics(texts, expected, absent, at)["f1_on_toy"])

    counted = [count_names(*each) for each in zip(texts, expected, absent, strict=True)]
    f1 = value(naming_metrics(counted)["f1"])
    assert 0 <= score(places) <= f1
    assert score([dict.fromkeys(at, [True]) for at in places]) == f1
