"""What the preference rewards pay for a chain of reasons, and which cheats they refuse."""

import random
import re
import time

import pytest

from rewards import (
    preference_accuracy,
    preference_format,
    profile_similarity,
)
from rewards.loading import load_rewards
from rewards.preference import ELEMENTS, MOST_CHARACTERS, preference_parts, read_chain

LIKED = ("cartoon", "golden", "oil paint", "muted", "intricate")
DISLIKED = ("mosaic", "icy", "pencil", "vivid", "minimal")

SHORT = """<liked>cartoon, golden, oil paint, muted, intricate</liked>
<disliked>mosaic, icy, pencil, vivid, minimal</disliked>
<think>
style: A cartoon 5, B mosaic 1
colour: A golden 5, B icy 1
medium: A oil paint 5, B pencil 1
saturation: A vivid 1, B muted 5
detail: A intricate 5, B minimal 1
total: A 21, B 9
</think>
<answer>A</answer>"""

LONG = """<visual preference profile>
"Art Styles": "cartoon",
"Color": "golden",
"Artistic Medium": "oil paint",
"Saturation": "muted",
"Detail": "intricate"
</visual preference profile>

<visual non-preference profile>
"Art Styles": "mosaic",
"Color": "icy",
"ArtisticMedium": "pencil",
"Saturation": "vivid",
"Detail": "minimal"
</visual non-preference profile>

<think>
1. Artistic style:
Image A(5) - lines as in a comic; 7 of them.
Image B(1) - little squares, A is better.

2. Color:
Image A(5) - warm;
Image B(1) - cold.

3. Artistic Medium:
Image A(5) - thick paint;
Image B(1) - thin lines.

4. Saturation:
Image A(1) - loud;
Image B(5) - quiet.

5. Detail:
Image A(5) - much;
Image B(1) - little.

Total:
Image A: total_score=5+5+5+1+5=21
Image B: total_score=1+1+1+5+1=9
</think>

<answer>Image A</answer>"""


def accuracy(text, truth="A"):
    return preference_accuracy([text], task=["preference"], answer=[truth])[0]


def form(text):
    return preference_format([text], task=["preference"])[0]


def profile(text, liked=LIKED, disliked=DISLIKED, **settings):
    given = {"liked_profile": [liked], "disliked_profile": [disliked]}
    return profile_similarity([text], task=["preference"], **given, **settings)[0]


@pytest.mark.parametrize("text", [SHORT, LONG], ids=["short", "long"])
def test_a_true_chain_is_paid_in_full_in_either_wording(text):
    chain = read_chain(text)
    assert (chain.liked, chain.disliked) == (LIKED, DISLIKED)
    assert chain.scores == ((5, 1), (5, 1), (5, 1), (1, 5), (5, 1))
    assert (chain.totals, chain.answer, chain.fault) == ((21, 9), "A", "")
    assert accuracy(text) == form(text) == profile(text) == 1.0
    assert accuracy(text, "B") == 0.0


THINK = SHORT[SHORT.index("<think>") : SHORT.index("<answer>")]
ANSWER = "<answer>A</answer>"

CHEATS = {
    "totals that do not add up": (SHORT.replace("A 21", "A 25"), "totals do not add up"),
    "summands that are not the scores": (
        LONG.replace("5+5+5+1+5=21", "5+5+5+5+1=21"),
        "totals do not add up",
    ),
    "all fives": (
        re.sub(r" [15]([,\n])", r" 5\1", SHORT).replace("A 21, B 9", "A 25, B 25"),
        "answer does not follow from the totals",
    ),
    "the other answer": (
        SHORT.replace(ANSWER, "<answer>B</answer>"),
        "answer does not follow from the totals",
    ),
    "both answers in one": (SHORT.replace(">A<", ">A and B<"), "answer is not A or B"),
    "both answers in two": (SHORT + "<answer>B</answer>", "no one <answer> block"),
    "answer before thinking": (
        ANSWER + SHORT.replace(ANSWER, ""),
        "blocks out of order",
    ),
    "empty blocks": (
        "<liked></liked><disliked></disliked><think></think><answer>A</answer>",
        "profile is not five terms",
    ),
    "no thinking": (SHORT.replace(THINK, ""), "no one <think> block"),
    "words before": ("Sure! " + SHORT, "words outside the blocks"),
    "words after": (SHORT + " Both are fine.", "words outside the blocks"),
    "a score above five": (
        SHORT.replace("A cartoon 5", "A cartoon 9").replace("A 21", "A 25"),
        "scores are not 0-5 of A and B for five elements",
    ),
    "an element left out": (
        SHORT.replace("colour: A golden 5, B icy 1\n", ""),
        "scores are not 0-5 of A and B for five elements",
    ),
    "an element twice": (
        SHORT.replace("detail: A", "style: A cartoon 5, B mosaic 1\ndetail: A"),
        "scores are not 0-5 of A and B for five elements",
    ),
    "A scored twice": (
        SHORT.replace("B mosaic 1", "A mosaic 1"),
        "scores are not 0-5 of A and B for five elements",
    ),
    "four terms": (SHORT.replace("cartoon, golden", "golden", 1), "profile is not five terms"),
    "two terms in one place": (
        SHORT.replace("mosaic, icy", "mosaic, rosy, icy", 1),
        "opposite is not five terms",
    ),
    "blocks within blocks": (
        SHORT.replace("</liked>", "").replace("</disliked>", "</disliked></liked>"),
        "blocks out of order",
    ),
    "100,000 characters": (SHORT + " " * 100_000, "too long"),
}


@pytest.mark.parametrize(("text", "fault"), CHEATS.values(), ids=CHEATS)
def test_a_cheat_has_no_good_format(text, fault):
    assert read_chain(text).fault == fault
    assert form(text) == 0.0


@pytest.mark.parametrize("cheat", ["both answers in one", "both answers in two"])
def test_both_answers_are_no_answer(cheat):
    text, _ = CHEATS[cheat]
    assert accuracy(text, "A") == accuracy(text, "B") == 0.0


def test_each_true_term_is_worth_a_tenth_and_a_copied_profile_nothing():
    one_wrong = SHORT.replace("cartoon, golden", "cartoon, rosy", 1)
    assert profile(one_wrong) == pytest.approx(0.9)
    copied = SHORT.replace(", ".join(DISLIKED), ", ".join(LIKED))
    assert profile(copied) == 0.0
    # One term in both is worth nothing in either; the others still count.
    shared = SHORT.replace("<disliked>mosaic", "<disliked>cartoon")
    assert profile(shared) == pytest.approx(0.8)
    assert profile(SHORT.replace(", ".join(DISLIKED), "")) == pytest.approx(0.5)
    assert profile("") == 0.0
    swapped = SHORT.replace("liked>", "x>").replace("disx>", "liked>").replace("x>", "disliked>")
    assert profile(swapped) == 0.0


def test_similarities_are_asked_once_for_all_and_kept_within_0_and_1():
    asked = []

    def similarity(pairs, offset=0.0):
        asked.append(pairs)
        return [offset + (0.5 if a != b else 1.0) for a, b in pairs]

    one_wrong = SHORT.replace("cartoon, golden", "cartoon, rosy", 1)
    assert profile(one_wrong, similarity=similarity) == pytest.approx(0.95)
    assert asked == [[*zip(LIKED, LIKED, strict=True), *zip(DISLIKED, DISLIKED, strict=True)]] or (
        asked[0][1] == ("rosy", "golden") and len(asked[0]) == 10
    )
    low = {"similarity_settings": {"offset": -9.0}}
    high = {"similarity_settings": {"offset": 9.0}}
    assert profile(SHORT, similarity=similarity, **low) == 0.0
    assert profile(SHORT, similarity=similarity, **high) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="asked for 10 similarities"):
        profile(SHORT, similarity=lambda pairs: [1.0])


def test_pictures_share_the_reward_with_terms():
    def pictures(pairs):
        return [0.5 for _ in pairs]

    assert profile(SHORT, pictures=pictures) == pytest.approx(0.75)
    assert profile(SHORT, pictures=pictures, picture_weight=0.0) == pytest.approx(1.0)
    assert profile(SHORT, pictures=pictures, picture_weight=1.0) == pytest.approx(0.5)
    copied = SHORT.replace(", ".join(DISLIKED), ", ".join(LIKED))
    assert profile(copied, pictures=pictures) == 0.0
    with pytest.raises(ValueError, match="picture_weight is 2"):
        profile(SHORT, picture_weight=2)


def parts_of(text, liked=LIKED, disliked=DISLIKED):
    """Name of a part -> what it is written as, and whether it is right."""
    (parts,) = preference_parts(
        [text], task=["preference"], liked_profile=[liked], disliked_profile=[disliked]
    )
    assert len({name for name, *_ in parts}) == len(parts)
    return {name: (text[start:end], right) for name, start, end, right in parts}


def test_the_parts_of_a_true_chain_are_right_and_stand_where_they_are_said_to():
    parts = parts_of(SHORT)
    assert {right for _, right in parts.values()} == {1.0}
    assert len(parts) == 10 + 10 + 2 + 1
    assert parts["liked/medium"] == ("oil paint", 1.0)
    assert parts["score/saturation/A"] == ("1", 1.0)
    assert (parts["total/B"], parts["answer"]) == (("9", 1.0), ("A", 1.0))
    # Reasons in words of their own do not say which term a score is for.
    parts = parts_of(LONG)
    assert {right for _, right in parts.values()} == {1.0}
    assert {name.partition("/")[0] for name in parts} == {"liked", "disliked", "total", "answer"}
    assert parts["disliked/medium"] == ("pencil", 1.0)
    told = parts_of(LONG.replace("lines as in a comic; 7 of them", "cartoon, as in those"))
    assert told["score/art_style/A"] == ("5", 1.0)


@pytest.mark.parametrize(
    ("before", "after", "wrong"),
    [
        ("A cartoon 5", "A cartoon 1", {"score/art_style/A", "total/A"}),
        ("A cartoon 5", "A mosaic 5", {"score/art_style/A"}),  # seen otherwise, scored as before
        ("A cartoon 5", "A pop art 5", {"score/art_style/A"}),  # nothing is known of it
        ("A cartoon 5", "A pop art 3", {"total/A"}),
        ("A cartoon 5", "A cartoon 9", {"score/art_style/A", "total/A"}),  # there is no 9
        ("total: A 21", "total: A 22", {"total/A"}),
        ("<answer>A", "<answer>B", {"answer"}),
        ("<liked>cartoon", "<liked>mosaic", {"liked/art_style", "disliked/art_style",
                                             "score/art_style/A", "score/art_style/B"}),
        ("total:", "style: A mosaic 5, B cartoon 1\ntotal:", {"total/A", "total/B"}),
    ],
)  # fmt: skip
def test_a_part_is_wrong_for_itself_alone(before, after, wrong):
    parts = parts_of(SHORT.replace(before, after, 1))
    assert {name for name, (_, right) in parts.items() if not right} == wrong


def test_a_term_stands_where_it_is_said_of_its_element_also_inside_another():
    text = LONG.replace("cartoon", "oil paint cartoon")  # the medium is oil paint
    (parts,) = preference_parts(
        [text], task=["preference"], liked_profile=[LIKED], disliked_profile=[DISLIKED]
    )
    places = {name: (start, end) for name, start, end, _ in parts}
    assert text[slice(*places["liked/art_style"])] == "oil paint cartoon"
    start, end = places["liked/medium"]
    assert text[start:end] == "oil paint" and text[:start].endswith('"Artistic Medium": "')


def test_parts_that_cannot_be_judged_are_left_out():
    assert not any(name.startswith(("liked", "disl")) for name in parts_of(SHORT, None, None))
    assert not any(name.startswith("score") for name in parts_of(SHORT.replace("<liked>", "")))
    assert preference_parts(
        [SHORT], task=["object_consistency"], liked_profile=[None], disliked_profile=[None]
    ) == [[]]  # fmt: skip


def test_rows_of_other_tasks_and_without_a_profile_are_not_judged():
    rows = {"task": ["preference", "other"], "answer": ["A", "yes"]}
    assert preference_accuracy([SHORT, SHORT], **rows) == [1.0, None]
    assert preference_format([SHORT, SHORT], **rows) == [1.0, None]
    known = {"liked_profile": [None, LIKED], "disliked_profile": [None, DISLIKED]}
    assert profile_similarity([SHORT, SHORT], **rows, **known) == [None, None]
    with pytest.raises(ValueError, match="has the answer 'yes'"):
        accuracy(SHORT, "yes")


def test_the_released_example_is_read():
    """The structure of PreferThinker's published output, with other words."""
    text = LONG.replace("cartoon", "Mesoamerican Art").replace("icy", "Jungle Green")
    assert read_chain(text).fault == ""
    assert read_chain(text).liked[0] == "Mesoamerican Art"


def test_any_text_is_read_fast_and_scored_within_bounds():
    rng = random.Random(0)
    pieces = [
        *re.split(r"(\W)", SHORT),
        *re.split(r"(\W)", LONG),
        "\0",
        "٣",
        "\ud800",
        "ﬀ",
        "\n" * 9,
    ]
    for _ in range(300):
        text = "".join(rng.choices(pieces, k=rng.randrange(120)))
        chain = read_chain(text)
        assert form(text) == float(not chain.fault)
        assert 0.0 <= profile(text) <= 1.0 and accuracy(text) in (0.0, 1.0)
        assert all(written for written, _ in parts_of(text).values())
    start = time.process_time()
    for text in ("\n", "A ", "<think>", "style:", "A(", '"', "total: A ", "1+", "Image A: "):
        long = "<think>" + text * (MOST_CHARACTERS // len(text) - 4) + "</think>"
        read_chain(long)
        parts_of(long)
    assert time.process_time() - start < 2


def test_the_rewards_load_by_their_addresses_with_a_similarity():
    loaded = load_rewards(
        ["rewards:preference_accuracy", "rewards:preference_format", "rewards:profile_similarity"],
        {"profile_similarity": {"picture_weight": 0.5}},
    )
    columns = {
        "task": ["preference"],
        "answer": ["A"],
        "liked_profile": [LIKED],
        "disliked_profile": [DISLIKED],
    }
    for reward in loaded:
        assert reward(completions=[SHORT], prompts=[""], **columns) == [1.0]
    assert len(ELEMENTS) == 5
