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
_HAN_OR_KANA = re.compile("[\u3005-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]{{1,24}}|[^\w\s\u200b]")

# Characters that render as blanks, though Unicode calls them letters and symbols: Hangul fillers,
# the empty Braille cell, the null notehead. NFKC turns two further fillers into the second.
_BLANK_LETTERS = "\u115f\u1160\u2800\u3164\uffa0\U0001d159"

# All apostrophes and hyphens become one of each, so that rules name only that one.
_ONE_SIGN = str.maketrans(
    {"\u2019": "'", "\u2018": "'", "\u02bc": "'", "\u2010": "-"}
    | dict.fromkeys(_BLANK_LETTERS, " ")
)

# Unicode's stream-safe limit. Sorting a run of marks takes quadratic time: `unicodedata.normalize`
# would need twenty seconds for 100 k of them.
_MAX_MARKS = 30

# What counts as text in `blank_bytes`: four blanks in a row, as in an indented paragraph, and three
# marks or joiners on one letter, as in pointed Hebrew or an emoji of several parts.
_MAX_SPACES = 4
_MAX_ATTACHED = 3


def normalise(text: str) -> str:
    """Text in comparable form: NFKC, one kind of apostrophe and hyphen, no invisible characters.

    Args:
        text: any string, lone surrogates included.

    Returns:
        The text after Unicode NFKC (UAX #15). Format characters (soft hyphen, joiners, direction
        marks), variation selectors and all of the planes of tags and private use are dropped; the
        zero-width space stays, because it separates words, and blank letters become spaces. A run
        of combining marks is cut at 30 (UAX #15, stream-safe text).
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


def words(text: str) -> list[str]:
    """The words of a text, to be compared: normalised and case-folded.

    Punctuation marks and, in scripts without spaces, single characters are words of their own; a
    word is split after 24 characters, so that "aaaa…" consists of equal words.
    """
    return _WORD.findall(normalise(text).casefold())


def blank_bytes(text: str) -> int:
    """How many UTF-8 bytes of a text show nothing: an upper bound of the tokens that it spends on
    that, because a token holds at least one byte.

    By Unicode's general categories these are control, format, private-use and surrogate characters
    (C), marks (M) and spaces (Z); also tags, variation selectors, blank letters, and U+FFFD, which
    stands for bytes that are no text. What ordinary text has of them is not counted: up to four
    spaces in a row; up to three marks on a letter that is no ASCII letter or becomes one by them
    (é in two parts); up to three joiners, selectors or zero-width spaces after a letter without
    case (Persian, Hindi, Khmer; not Han or kana) or a symbol (emoji).

    Args:
        text: any string; time is linear in its length.
    """
    blank = spaces = attached = 0
    base = ""  # the last character that shows something, with the mark that it composes with
    for char in text:
        if char.isspace():
            spaces += 1
            blank += len(char.encode()) if spaces > _MAX_SPACES else 0
        elif not (mark := _is_mark(char) and not _invisible(char)) and not _shows_nothing(char):
            base, spaces, attached = char, 0, 0
        else:
            if mark and base.isascii():
                composed = unicodedata.normalize("NFC", base + char)
                base = composed if len(composed) == 1 else base
            attached += 1
            wanted = not base.isascii() if mark else _takes_joiners(base)
            if not wanted or attached > _MAX_ATTACHED:
                blank += len(char.encode("utf-8", "surrogatepass"))
    return blank


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
    return (
        unicodedata.category(char) == "Cf" or "\ufe00" <= char <= "\ufe0f" or char >= "\U000e0000"
    )


def _shows_nothing(char: str) -> bool:
    if "!" <= char <= "~":
        return False
    # Unassigned characters (Cn) show what a newer Unicode gives them, such as the latest emoji.
    return (
        _invisible(char)
        or unicodedata.category(char) in ("Cc", "Cf", "Co", "Cs")
        or char in _BLANK_LETTERS
        or char == "\ufffd"
    )


def _takes_joiners(base: str) -> bool:
    return bool(base) and (
        unicodedata.category(base) in ("Lo", "So", "Sk") and not _HAN_OR_KANA.match(base)
    )
