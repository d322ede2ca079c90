"""What a policy reasoned about several descriptions."""

import json
import random

import pytest

from concepts.methods.r2p.reasoning import MOST_ATTRIBUTES, Choice, consistent, read_choice
from concepts.methods.r2p.replies import UnreadableReply
from data_gen.toybox.curriculum.knowledge import option_reasons
from data_gen.toybox.identity import draw_identity, hard_negative

NAMES = ["bo", "mia", "kim"]


def answered(answer, **shared):
    return json.dumps({**shared, "Reasoning": "It is red.", "Answer": answer})


@pytest.mark.parametrize(
    "answer", ["B", "b", " B.", "(B)", "**B**", "Option B", "B. <mia>", "B) a dog", "mia", "<Mia>."]
)
def test_an_answer_is_a_letter_or_a_name(answer):
    assert read_choice(answered(answer), NAMES).option == 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("D", "a letter that is no option"),
        ("Z.", "a letter that is no option"),
        ("None", "an answer that is no letter"),
        ("A dog", "an answer that is no letter"),
        ("A or B", "an answer that is no letter"),
        ("", "an answer that is no letter"),
        (["A"], "an answer that is no letter"),
        (None, "an answer that is no letter"),
    ],
)
def test_other_answers_are_no_guesses(answer, reason):
    with pytest.raises(UnreadableReply, match=reason):
        read_choice(answered(answer), NAMES)


def test_two_options_of_one_name_are_told_apart_by_letter_alone():
    with pytest.raises(UnreadableReply):
        read_choice(answered("bo"), ["bo", "Bo"])


def test_shared_attributes_by_letter():
    choice = read_choice(answered("A", A="red dog, a hat", b=["a hat"], C="None", D="x"), NAMES)
    assert choice.shared == (("red dog", "a hat"), ("a hat",), ())
    many = read_choice(answered("A", A=", ".join(map(str, range(40)))), NAMES)
    assert len(many.shared[0]) == MOST_ATTRIBUTES


def test_the_toyboxs_reasons_are_read():
    shown = draw_identity(random.Random(0), held_out=False)
    like = hard_negative(random.Random(0), shown)
    choice = read_choice(option_reasons([like, shown], shown, "B"), NAMES[:2])
    assert choice.option == 1 and len(choice.shared[1]) == 3 and len(choice.shared[0]) == 2


CAT, DOG = ["orange cat", "a blue patch", "a hat"], ["orange dog", "a blue patch", "a hat"]


@pytest.mark.parametrize(
    ("said", "option", "shared"),
    [
        # seen in the image, and written for the wrong option alone
        ((("orange cat", "a blue patch", "hat"), ()), 1, (2, 3)),
        # what was written of one option holds for the other
        ((("a hat",), ("orange cat", "blue patch")), 1, (2, 3)),
        # both share as much: the answer stands
        ((("a blue patch",), ()), 0, (1, 1)),
        # nothing of it is in any description
        ((("a crown", "blue hat"), ()), 0, (0, 0)),
        (((), ()), 0, (0, 0)),
    ],
)
def test_a_choice_can_be_held_to_its_own_words(said, option, shared):
    held = consistent(Choice(0, said), [DOG, CAT])
    assert held.option == option and tuple(map(len, held.shared)) == shared
    for of, description in zip(held.shared, (DOG, CAT), strict=True):
        assert all(any(a in d for d in description) for a in of)


def test_an_answer_that_shares_less_gives_way_to_the_first_that_shares_most():
    assert consistent(Choice(1, (("red",), (), ())), [["red"], ["blue"], ["red"]]).option == 0
    assert consistent(Choice(2, (("red",), (), ())), [["red"], ["blue"], ["red"]]).option == 2
