"""Yes/no: whole words, one answer, no hedging."""

import pytest

from rewards import object_consistency
from rewards.parsing import completion_text, yes_or_no


@pytest.mark.parametrize(
    "text",
    ["yes", "Yes.", " YES\n", "**Yes**", '"yes"', "Yes, it is.", "The answer is yes", "yes, yes!"]
    + ["<answer>yes</answer>", "Ｙｅｓ", "Yes - the same dog.", '{"answer": "yes"}'],
)
def test_yes_in_any_dress(text):
    assert yes_or_no(text) == "yes"


@pytest.mark.parametrize(
    "text",
    ["no", "No, <bo> is not there.", "NO!", "no.", "I know this dog, and no, it is another."],
)
def test_no_in_any_dress(text):
    assert yes_or_no(text) == "no"


@pytest.mark.parametrize(
    "text",
    ["", "I know.", "nothing", "yesterday", "eyes", "no-one is there", "yes_no", "Not the same."]
    + ["sí", "non", "nope"],
)
def test_neither_word_is_no_answer(text):
    """RePIC's released code finds the "no" in "know"."""
    assert yes_or_no(text) is None


@pytest.mark.parametrize(
    "text",
    ["yes no", "Yes or no?", "yes/no", "No, wait, yes.", "Answer with only yes or no."],
)
def test_both_words_are_no_answer(text):
    assert yes_or_no(text) is None


@pytest.mark.parametrize(
    "text",
    ["Probably yes.", "Maybe no", "I think yes", "yes?", "Not yes.", "It isn't a no.", "No idea."]
    + ["No, but I'm not sure.", "There is no way to tell.", "Yes, perhaps", "I cannot tell: no"]
    + ["Yes, although I can’t really say."],
)
def test_a_hedged_answer_is_none(text):
    assert yes_or_no(text) is None


def test_reward_is_one_for_the_right_answer_only(batch):
    texts = ["yes", "no", "yes no", ""]
    assert object_consistency(**batch(texts, "object_consistency")) == [1, 0, 0, 0]
    assert object_consistency(**batch(texts, "object_consistency", answer="no")) == [0, 1, 0, 0]


def test_a_row_without_truth_is_an_error_not_a_zero(batch):
    """A broken row must stop the run; only the model's text is forgiven everything."""
    with pytest.raises(ValueError, match="answer None"):
        object_consistency(**batch(["yes"], "object_consistency", answer=None))


def test_text_of_a_completion_in_every_form_trl_uses():
    parts = [{"type": "text", "text": "yes"}, {"type": "image", "text": None}]
    assert completion_text("yes") == "yes"
    assert completion_text([{"role": "assistant", "content": "yes"}]) == "yes"
    assert completion_text([{"role": "assistant", "content": parts}]) == "yes"
    assert completion_text([{"role": "assistant", "content": None}]) == ""
    assert completion_text([{"role": "tool", "content": "no"}]) == ""
    assert completion_text([]) == ""
