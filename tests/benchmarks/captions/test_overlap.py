"""Captions compared as words: BLEU, Self-BLEU and what is copied from the question."""

import math

import pytest

from benchmarks.captions.overlap import bleu, bleus, overlaps, self_bleus
from data_gen.files.errors import InputError

SAID = ["a dog sits on the red sofa", "two birds fly over the old house", "a cup with a blue rim"]


def test_bleu():
    assert bleu(SAID, [[text] for text in SAID]) == pytest.approx(1)
    # By hand: precisions 4/5, 3/4, 2/3, 1/2 and a brevity penalty of exp(1 - 6/5).
    found = bleu(["a dog sits on it"], [["a dog sits on the sofa"]])
    expected = math.exp(1 - 6 / 5) * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25
    assert found == pytest.approx(expected)
    assert bleu(SAID[:1], [[SAID[1], SAID[0]]]) == pytest.approx(1)  # any reference will do
    assert bleus(["a dog sits on it", SAID[0]], [["a dog sits on the sofa"], SAID]) == (
        pytest.approx([expected, 1])
    )
    assert bleus(["a dog", ""], [["a dog"], ["a dog"]]) == pytest.approx([1, 0])  # short, empty
    with pytest.raises(InputError, match="at least one reference"):
        bleu(SAID, [[], [], []])


def test_self_bleu_is_high_where_all_captions_are_one():
    assert self_bleus([SAID[0]] * 5) == pytest.approx([1] * 5)
    assert max(self_bleus(SAID)) < 0.15
    assert self_bleus(SAID * 40) == self_bleus(SAID * 40)  # drawn, but always the same
    with pytest.raises(InputError, match="two captions"):
        self_bleus(SAID[:1])


def test_overlap_with_the_info_in_the_question():
    info = "<bo> is a red dog with a white tail"
    said = [info, "<bo> sleeps beside the window today", "short"]
    assert overlaps(said, [info] * 3) == pytest.approx([1, 0, 0])
