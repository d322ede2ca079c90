"""The published naming metric, against its rule looked up word by word."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.metrics.repic_naming import published_tallies
from rewards.names import Tally


@pytest.mark.parametrize(
    ("caption", "counts"),
    [
        ("<bo> and <mia> play.", (2, 0, 0)),
        ("bo and (mia), too!", (2, 0, 0)),  # bare names count, signs around them do not matter
        ("<bo>'s ball", (0, 0, 2)),  # a possessive matches nothing
        ("**<bo>** and <mia></s>", (1, 0, 1)),
        ("<bo> <mia> <tom>", (2, 0, 0)),  # beside every expected name, a wrong name costs nothing
        ("<bo> and <tom>", (1, 1, 1)),  # in place of an expected one, it is one error
        ("tom", (0, 2, 2)),  # and here it is two
        ("<zoe> alone", (0, 0, 2)),  # nobody in the file is called so
        ("<Bo> and <MIA>", (0, 0, 2)),
    ],
)
def test_what_the_published_metric_counts(caption, counts):
    expected = [["<bo>", "<mia>"], ["<tom>", "<kim>"]]
    found = published_tallies([caption, ""], expected, "2")[0]
    assert (found.hits, found.extra, found.missed) == counts
    folded = published_tallies([caption, ""], expected, "n")[0]
    assert folded == (Tally(2) if caption == "<Bo> and <MIA>" else found)


def test_another_spelling_is_another_concept_unless_there_is_one_each():
    # As released: several concepts are told apart before case is folded, single ones after.
    assert published_tallies(["<bo>", ""], [["<bo>", "<mia>"], ["<Bo>", "<x>"]], "n")[0].extra == 1
    assert published_tallies(["<Bo>", ""], [["<bo>"], ["<Bo>"]], "n")[0] == Tally(1)


def slow_tally(caption, expected, everybody, variant):
    """The published rule, looked up word by word and name by name."""

    def inside(name):
        return name[1:-1] if name[:1] == "<" and name[-1:] == ">" else name

    def fold(text):
        return text if variant == "2" else text.lower()

    words = [w.strip(".,!?;:()[]{}\"'-") for w in fold(caption.replace("</s>", "")).split()]
    words = [w for w in words if w]
    there = [n for n in everybody if fold(n) in words or inside(fold(n)) in words]
    total = Tally()
    for name in expected:
        if any(inside(fold(other)) == inside(fold(name)) for other in there):
            total += Tally(1)
        else:
            unlisted = [inside(fold(n)) for n in everybody if n not in expected]
            wrong = any(inside(fold(n)) in unlisted for n in there)
            total += Tally(0, int(wrong), 1)
    return total


NAMES = ["<bo>", "<Bo>", "bo", "<mia>", "<black widow>", "<T>", "<a-b>"]
words = st.sampled_from(
    [
        *NAMES,
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
caption_rows = st.lists(
    st.tuples(
        st.lists(words, max_size=6).map(" ".join),
        st.lists(st.sampled_from(NAMES), min_size=2, max_size=4),
    ),
    min_size=1,
    max_size=5,
)


@given(caption_rows, st.sampled_from("2n"))
def test_equals_the_slow_rule(rows, variant):
    captions, expected = [caption for caption, _ in rows], [names for _, names in rows]
    everybody = sorted({name for names in expected for name in names})
    assert published_tallies(captions, expected, variant) == [
        slow_tally(caption, names, everybody, variant) for caption, names in rows
    ]
