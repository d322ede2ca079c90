"""Comparable text and word boundaries in many scripts."""

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.unicode_text import is_word, joined, normalise

anything = st.text(st.characters(exclude_categories=[]))  # lone surrogates included


@pytest.mark.parametrize(
    "text, plain",
    [
        ("Ｂｏ", "Bo"),
        ("ﬁn", "fin"),  # full width, ligature
        ("Bo\u2019s", "Bo's"),
        ("Bo\u02bcs", "Bo's"),
        ("t\u2010shirt", "t-shirt"),
        ("B\u00ado", "Bo"),
        ("B\u200do", "Bo"),
        ("\u202eBo", "Bo"),
        ("B\ufe0fo", "Bo"),
        ("Zoe\u0308", "Zo\u00eb"),  # one letter, however it is composed
        ("a\u200bb", "a\u200bb"),  # separates words, so it stays
    ],
)
def test_text_is_made_comparable(text, plain):
    assert normalise(text) == plain


def test_accents_and_other_alphabets_stay_apart():
    assert normalise("Zoe") != normalise("Zo\u00eb") and normalise("Bo") != normalise("B\u043e")


@given(anything)
def test_normal_text_stays_as_it_is(text):
    assert normalise(normalise(text)) == normalise(text)


def test_a_run_of_marks_is_cut_at_thirty_and_takes_no_time():
    started = time.process_time()
    text = normalise("a" + "\u0300\u0327" * 50_000 + "b")
    assert time.process_time() - started < 1.5
    assert text.endswith("b") and 28 <= sum(map(bool, map(unicodedata.combining, text))) <= 30


@pytest.mark.parametrize(
    "left, right, one_word",
    [
        ("a", "b", True),
        ("a", " ", False),
        ("a", "1", True),
        ("a", "_", True),
        ("a", "-", False),
        ("\u0e01", "\u0e33", False),  # two Thai letters: only a dictionary could tell
        ("\u0e01", "\u0e34", True),  # a Thai letter and its vowel sign
        ("\u30dc", "\u30fc", True),
        ("\u30dc", "\u6211", False),  # katakana, and katakana before Han
        ("\u7684", "B", False),
        ("\u6211", "\u7684", False),
    ],
)
def test_neighbours_of_one_word(left, right, one_word):
    assert joined(left, right) is one_word


def test_vowel_signs_are_parts_of_words():
    assert all(map(is_word, "\u0915\u093e\u0e34z9_")) and not any(map(is_word, " -'<\0"))
