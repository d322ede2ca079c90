"""Unicode normalisation and word boundaries, for everything in this package that reads model text.

A policy under reinforcement learning writes anything: lone surrogates, a hundred thousand combining
marks, full-width letters, invisible characters inside words. `normalise` makes such text comparable
in linear time; nothing here raises on any `str`.

Not done: stripping accents (`Zoe` is not `Zoë`), transliteration, mapping look-alike letters of
other alphabets (a Cyrillic `о` is not a Latin `o`).
"""

from __future__ import annotations

import re
import unicodedata

# Scripts written without spaces between words, as the inside of a regular expression's [...]:
# Thai, Lao, Myanmar, Khmer, kana, Han.
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff"
)
_UNSPACED = re.compile(f"[{UNSPACED}]")
_KATAKANA = re.compile("[\u30a1-\u30fa\u30fc-\u30ff]")

# All apostrophes and hyphens become one of each, so that rules name only that one.
_ONE_SIGN = str.maketrans({"\u2019": "'", "\u2018": "'", "\u02bc": "'", "\u2010": "-"})

# Unicode's stream-safe limit. Sorting a run of marks takes quadratic time: `unicodedata.normalize`
# would need twenty seconds for 100 k of them.
_MAX_MARKS = 30


def normalise(text: str) -> str:
    """Text in comparable form: NFKC, one kind of apostrophe and hyphen, no invisible characters.

    Args:
        text: any string, lone surrogates included.

    Returns:
        The text after Unicode NFKC (UAX #15). Format characters (soft hyphen, joiners, direction
        marks) and variation selectors are dropped; the zero-width space stays, because it separates
        words. A run of combining marks is cut at 30 (UAX #15, stream-safe text).
    """
    if text.isascii():
        return text
    kept, marks = [], 0
    for char in text:
        if _invisible(char):
            continue
        marks = marks + 1 if _is_mark(char) or char in "\uff9e\uff9f" else 0
        if marks <= _MAX_MARKS:
            kept.append(char)
    return unicodedata.normalize("NFKC", "".join(kept)).translate(_ONE_SIGN)


def is_word(char: str) -> bool:
    """Whether one character can be part of a word: letter, digit, underscore or mark of a letter.

    Python's own `\\w` excludes vowel signs, which would split Thai and Devanagari words.
    """
    return char.isalnum() or char == "_" or _is_mark(char)


def joined(left: str, right: str) -> bool:
    """Whether two neighbouring characters belong to one word.

    In a script without spaces only a dictionary could tell. There the answer is no, except within a
    run of katakana, which is one word, and before a mark, which belongs to its letter. A word also
    ends where such a script meets another: `我的Bo很可爱`.
    """
    if _is_mark(right):
        return True
    if not (is_word(left) and is_word(right)):
        return False
    if _KATAKANA.match(left) and _KATAKANA.match(right):
        return True
    return not (_UNSPACED.match(left) or _UNSPACED.match(right))


def _is_mark(char: str) -> bool:
    return not char.isascii() and unicodedata.category(char)[0] == "M"


def _invisible(char: str) -> bool:
    if char.isascii() or char == "\u200b":
        return False
    return unicodedata.category(char) == "Cf" or "\ufe00" <= char <= "\ufe0f"
