"""CoViP's reward: questions answered from the caption alone."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards import caption_questions
from rewards.caption_questions import is_degenerate
from tests.rewards.conftest import CAPTION

ROW = json.dumps(
    [
        {"question": "Who gave <bo>?", "options": ["an aunt", "a friend"], "answer": 0},
        {"question": "Where does <bo> sleep?", "options": ["outside", "at home"], "answer": 1},
        {"question": "Who gave <zuri>?", "options": ["an aunt", "a friend"], "answer": None},
        {"question": "Where does <zuri> sleep?", "options": ["outside", "home"], "answer": None},
    ]
)


def reads(asked):
    """A judge that decides a question if the caption has the name and one option."""
    return [
        next((i for i, each in enumerate(options) if each in caption), len(options))
        if question.split("<")[1].split(">")[0] in caption
        else len(options)
        for caption, question, options in asked
    ]


def score(text, judge=reads, row=ROW, **others):
    (value,) = caption_questions([text], questions=[row], judge=judge, **others)
    return value


def test_right_answers_less_what_should_have_stayed_open():
    assert score("<bo>, from an aunt, is at home.") == 1
    assert score("<bo>, from an aunt.") == 0.5
    assert score("<bo>, from an aunt, is at home, <zuri>, a friend of his, too.") == 1 - 2 / 2
    assert score("<bo> and <zuri> are from an aunt.") == 1 / 2 - 1 / 2
    assert score("<zuri> is outside, a friend says.") == -1
    assert score("Two toys.") == 0
    assert score("<bo>, from an aunt, is at home.", per_question=1 / 3) == pytest.approx(2 / 3)


def test_silence_and_degenerate_captions_are_not_asked_about():
    def never(asked):
        assert asked == []
        return []

    assert score(" \n", never) == 0
    assert score("<bo> is from an aunt. " * 3, never) == -1
    assert score(CAPTION, never, completion_ids=[[7] * 512]) == -1


def test_what_is_degenerate():
    assert not is_degenerate("") and not is_degenerate(CAPTION)
    assert is_degenerate("A dog. A dog. A car.")
    assert is_degenerate(CAPTION + CAPTION)
    assert not is_degenerate(f"{CAPTION} A dog sits on a grey sofa.")


def test_a_missing_answer_is_none_for_the_whole_group_and_is_counted():
    """A None counts as 0 in TRL's sum, so one member of a group must not have it alone."""

    def half(asked):
        return [None if "late" in caption else 0 for caption, _, _ in asked]

    logged = {}
    other = json.dumps([{"question": "?", "options": ["a", "b"], "answer": 0}])
    rewards = caption_questions(
        ["<bo> naps", "late", "a dog", "late twice. late twice."],
        questions=[ROW, ROW, other, None],
        judge=half,
        log_metric=logged.__setitem__,
    )
    assert rewards == [None, None, 1, None]
    assert logged == {"caption_questions/unanswered": 4 / 9}


@given(texts=st.lists(st.text(max_size=60), min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
def test_any_text_gives_a_number_in_range(texts):
    values = caption_questions(texts, questions=[ROW] * len(texts), judge=reads)
    assert all(-1 <= value <= 1 for value in values)


@pytest.mark.parametrize(
    "row",
    ["{", "[1]", "3", '[{"question": "?"}]', '[{"question": "?", "options": ["a"], "answer": 1}]'],
)
def test_rows_without_proper_questions_are_errors(row):
    with pytest.raises(ValueError, match="questions cannot be read|has the answer"):
        score("a dog", row=row)


def test_the_judge_is_checked():
    with pytest.raises(ValueError, match="needs a judge"):
        caption_questions([], questions=[])
    with pytest.raises(ValueError, match="asked 4 questions and answers 1"):
        score("a dog", lambda asked: [0])
    told = {}
    caption_questions([], questions=[], judge=lambda asked, **s: told.update(s) or [],
                      judge_settings={"url": "http://judge"})  # fmt: skip
    assert told == {"url": "http://judge"}
