"""Names are counted as sets; precision, recall and F1 are micro averages."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.metrics.intervals import value
from benchmarks.metrics.naming import count_names, naming_metrics, strict_tallies


def values(metrics):
    return {key: round(value(metric), 4) for key, metric in metrics.items()}


@pytest.mark.parametrize(
    ("text", "hits", "extra", "missed"),
    [
        ("<bo> sits beside <Mia>'s chair.", 2, 0, 0),
        ("A dog and a cat.", 0, 0, 2),
        ("<bo> <bo> <bo> <bo>", 1, 0, 1),
        ("<bo>, <mia> and <tom>.", 2, 1, 0),  # tom is absent
        ("<bo> and <nobody> and <nobody>", 1, 1, 1),  # an unlisted tag, once
        ("<bo>a dog</bo>", 0, 0, 2),  # markup is no mention
        ("", 0, 0, 2),
    ],
)
def test_names_are_counted_as_sets(text, hits, extra, missed):
    found = count_names(text, ["bo", "mia"], ["tom"])
    assert (found.hits, found.extra, found.missed) == (hits, extra, missed)


def test_naming_is_a_micro_average():
    tallies = [
        count_names("<bo> and <tom>", ["bo"], ["tom"]),  # 1 hit, 1 extra
        count_names("a picture", ["mia", "kim"]),  # 2 missed
        count_names("<mia> and <kim>", ["mia", "kim"]),
    ]  # 2 hits
    assert values(naming_metrics(tallies)) == {
        "precision": 0.75,
        "recall": 0.6,
        "f1": round(2 * 3 / (2 * 3 + 1 + 2), 4),
        "names_used": round(2 / 3, 4),
        "names_nothing": round(1 / 3, 4),
    }


def test_naming_nothing_has_no_precision():
    metrics = naming_metrics([count_names("a toy", ["bo"])])
    assert value(metrics["f1"]) == 0 and value(metrics["recall"]) == 0
    assert str(value(metrics["precision"])) == "nan"


WORDS = st.sampled_from(
    [
        "<bo>",
        "<Bo>",
        "bo",
        "<mia>",
        "<black widow>",
        "<T>",
        "<a-b>",
        "mia",
        "Mia,",
        "(<bo>)",
        "<bo>'s",
        "T",
        "t",
        "black",
        "widow",
        "</s>",
        "-",
        "<mia></s>",
        "a-b.",
    ]
)


@settings(deadline=None, max_examples=60)
@given(st.lists(WORDS | st.text(max_size=8), max_size=8).map(" ".join))
def test_passing_over_names_that_cannot_be_there_changes_nothing(text):
    expected, others = ["bo", "black widow"], ["mia", "T", "a-b", "Bo_Bo", "ﬁ", "ß", "小明"]
    assert strict_tallies([text], [expected], others) == [count_names(text, expected, others)]
