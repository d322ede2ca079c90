"""The two penalties: repeated n-grams, and n-grams copied from the prompt."""

import pytest

from rewards import copying, repetition

CAPTION = "identity_consistency"


def test_repetition_is_the_share_of_ngrams_seen_before(batch):
    texts = ["one two three four five", "one two one two one", "bo bo", "", "a" * 100_000]
    fresh, half, short, empty, endless = repetition(**batch(texts, CAPTION), ngram=2)
    assert (fresh, short, empty) == (0, 0, 0)
    assert half == -0.5  # four bigrams, two of them distinct
    assert endless < -0.99
    (chinese,) = repetition(**batch(["小明睡觉" * 20], CAPTION))
    assert chinese < -0.9, "in scripts without spaces a character is a word"


def test_copying_is_the_share_of_ngrams_from_the_prompt(batch):
    texts = [
        "A small BROWN dog with a red collar",  # the info, in capitals
        "<bo> naps on the sofa while it rains outside.",
        "One two three four a small brown dog with",  # one of five 5-grams
        "too short",
    ]
    assert copying(**batch(texts, CAPTION)) == [-1, 0, -0.2, 0]
    plain = batch(texts[:1], CAPTION) | {"prompts": ["Say: a small brown dog with a red collar"]}
    assert copying(**plain) == [-1]


@pytest.mark.parametrize("penalty", [repetition, copying])
def test_an_ngram_has_a_word(penalty, batch):
    with pytest.raises(ValueError, match="ngram is 0"):
        penalty(**batch(["x"], CAPTION), ngram=0)


def test_rows_of_other_tasks_are_not_judged(batch):
    for penalty in (repetition, copying):
        assert penalty(**batch(["x x x x x x"], "object_consistency")) == [None]


def test_diluting_a_copy_lowers_its_share_by_as_much_as_it_adds(batch):
    """The known limit that the docstring names."""
    copied = "This is <bo>, a small brown dog with a red collar."
    own = "on grass beside an old stone wall under a cloudy sky"
    alone, diluted = copying(**batch([copied, f"{copied} {own}"], CAPTION))
    assert alone == -1 < diluted < -0.3


def test_words_are_compared_whole_and_folded(batch):
    (folded,) = repetition(**batch(["A red DOG a Red dog"], CAPTION), ngram=3)
    assert folded == pytest.approx(-1 / 4)  # 4 trigrams, one of them twice
    assert repetition(**batch(["dogs dog"], CAPTION), ngram=1) == [0]
