"""How long a caption is, and length as a reward of its own.

    length         = (units − bytes that show nothing) · min(1, share of new words / 0.65)
    caption_length = min(1, length / (low · asked), 2 − units / (high · asked)), at least 0

Length is what a caption shows and has not said before: nothing else can reach a floor or a band.

1. What shows nothing (`rewards.unicode_text.blank_bytes`): a token spent on it holds at least one
   byte, so as many tokens are taken off as there are such bytes.
2. A word is *new* if the three words that end with it have not stood together in the caption
   before, and the five that end with it do not stand in the prompt. All numbers are one word, so
   that numbering makes nothing new. The share of new words, weighted by how many tokens they may
   take, counts in full from 0.65. Lowest shares of long captions: 0.67 among the toybox's true ones
   of toys that differ in one attribute each, 0.83 of random toys, 0.95 of the released RePIC model.

3. Reasoning is no caption (`rewards.parsing.answer_part`). Of its tokens the caption has the share
   that its words may take of all words, since no reward knows the tokenizer.

So repeating a caption multiplies its length by at most 1.54, however often (but for two words at
the first seam), and filling it up with one-token words by about 2.5; an echo of the prompt has no
length.

Source: the floor is that of RePIC (arXiv 2506.18369), which multiplies it into the naming reward; a
length that is a reward of its own leaves that to naming. The band is that of BalCapRL (arXiv
2605.07394): from half to twice what is asked. Normalise each reward by itself then (GDPO, arXiv
2601.05242; `multi_objective_aggregation: normalize_then_sum`), so that both keep their scale.

Cheats refused: whitespace, control characters, zero-width, tag and other invisible characters,
variation selectors, blank letters, piles of combining marks, broken bytes; one sentence, word or
character over and over, also numbered, and mostly also with one word changed each time; counting;
the echo of the prompt; captions without an end. Not refused: a different word each time, whether it
makes sense or not, and words spelled out in smaller tokens than a tokenizer would use.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import repeat

from rewards.parsing import answer_part, completion_text, prompt_text
from rewards.unicode_text import blank_bytes, words

TASK = "identity_consistency"
UNITS = ("tokens", "words", "characters")

_TAG = re.compile(r"(<[^<>]{1,80}>)")
_NEW_SHARE = 0.65
_SAID_BEFORE = 3  # words
_GIVEN = 5  # words; shorter ones are shared by any two texts about one thing


def caption_length(
    completions,
    *,
    completion_ids,
    task,
    prompts=None,
    asked_length: float | Sequence[float | None] = 200,
    band: Sequence[float] = (0.5, 2.0),
    unit: str = "tokens",
    uncounted_ids=(),
    **_,
) -> list[float | None]:
    """1 for a caption about as long as asked, falling linearly to 0 outside of the band.

    Too short is judged by what a caption shows and says anew, too long by all that it writes, so
    padding helps on neither side.

    Args:
        completions: B strings or conversations.
        completion_ids: B lists of C token ids, as TRL passes them.
        task: B task names; rows other than captions get None.
        prompts: B strings or conversations; what is copied from them adds no length.
        asked_length: what the request asks, in units: one number for all rows, or a column of B;
            None in a row where nothing is asked. The default's band begins at RePIC's floor, 100.
        band: low and high, in multiples of what is asked: 1 within them, 0 for an empty caption and
            from 2 · high.
        unit: "tokens", "words" or "characters".
        uncounted_ids: see `rewards.identity_consistency.mention_ratio`.

    Returns:
        B rewards, each in 0…1, or None.

    Raises:
        ValueError: an unknown unit, a band that is not 0 < low ≤ high, or a length not above 0.

    Source:
        The module's docstring.
    """
    check_unit(unit)
    if len(band) != 2 or not 0 < band[0] <= band[1]:
        raise ValueError(f"band is {band!r}; it is [low, high] with 0 < low <= high")
    if asked_length is None or isinstance(asked_length, int | float):
        check_asked([asked_length], unit)
        asked = [asked_length] * len(task)
    else:
        check_asked(asked_length, unit)
        asked = asked_length
    return [
        None
        if row_task != TASK or row_asked is None
        else _in_band(
            counted_length(completion_text(completion), ids, unit, uncounted_ids, prompt),
            full_length(completion_text(completion), ids, unit, uncounted_ids),
            row_asked * band[0],
            row_asked * band[1],
        )
        for completion, ids, row_task, row_asked, prompt in zip(
            completions, completion_ids, task, asked, prompts or repeat("", len(task)), strict=True
        )
    ]


def counted_length(
    text: str, ids, unit: str = "tokens", uncounted_ids=(), prompt: str | list[dict] = ""
) -> int:
    """Length of a caption, without what shows nothing or was said before.

    Args:
        text: all that the model wrote, reasoning included, which does not count.
        ids: its C token ids; only "tokens" needs them.
        unit: "tokens", "words" or "characters".
        uncounted_ids: token ids that add no length.
        prompt: a string or a conversation; what is copied from it adds no length.

    Returns:
        The length in units, at least 0; that of `full_length` for an ordinary caption.
    """
    full, caption = full_length(text, ids, unit, uncounted_ids), answer_part(text)
    shown = full if unit == "words" else max(full - blank_bytes(caption), 0)
    return int(shown * min(1.0, new_share(caption, prompt_text(prompt)) / _NEW_SHARE))


def full_length(text: str, ids, unit: str = "tokens", uncounted_ids=()) -> int:
    """All that a caption writes: its ids that are not in `uncounted_ids`, its words without
    punctuation, or its characters; of a text with reasoning, what follows."""
    caption = answer_part(text)
    if unit == "characters":
        return len(caption)
    if unit == "words":
        return sum(word[0].isalnum() for word in words(caption))
    uncounted = frozenset(uncounted_ids)
    tokens = sum(token not in uncounted for token in ids)
    if caption == text:
        return tokens
    size = len(caption.encode("utf-8", "surrogatepass"))  # a token holds at least one byte
    return min(size, int(tokens * _weight(caption) / max(_weight(text), 1)))


def new_share(text: str, given: str = "") -> float:
    """The share of a text's words that are new, weighted by their tokens.

    Args:
        text: any string.
        given: a text from which it may have copied.

    Returns:
        0…1; 0 for a text without words.
    """
    said, before = _words(text), list(map(_comparable, _words(given)))
    copied = {tuple(before[end - _GIVEN : end]) for end in range(_GIVEN, len(before) + 1)}
    compared = list(map(_comparable, said))
    seen, new, total = set(), 0, 0
    for end, word in enumerate(said, start=1):
        last = tuple(compared[max(end - _SAID_BEFORE, 0) : end])
        size = _tokens(word)
        if last not in seen and tuple(compared[max(end - _GIVEN, 0) : end]) not in copied:
            new += size
        seen.add(last)
        total += size
    return new / total if total else 0.0


def check_asked(asked: Sequence[float | None], unit: str) -> None:
    """Refuse lengths that cannot be asked.

    Raises:
        ValueError: one is not above 0.
    """
    if wrong := [a for a in asked if a is not None and not a > 0]:
        raise ValueError(f"asked_length is {wrong[0]!r}; it must be above 0 {unit}")


def check_unit(unit) -> None:
    """Refuse an unknown unit.

    Raises:
        ValueError: it is none of `UNITS`.
    """
    if unit not in UNITS:
        raise ValueError(f"unit is {unit!r}; it must be {', '.join(map(repr, UNITS))}")


def _words(text: str) -> list[str]:
    """The words of a text; a tag is one, so that a name is no copy."""
    parts = enumerate(_TAG.split(text))
    return [word for i, part in parts for word in ([part] if i % 2 else words(part))]


def _weight(text: str) -> int:
    """About how many tokens the words of a text take."""
    return sum(map(_tokens, _words(text)))


def _comparable(word: str) -> str:
    return "0" if word.isnumeric() else word


def _tokens(word: str) -> int:
    """About how many tokens a word takes, rather too many than too few where it is no English: what
    weighs too little is cheap to repeat."""
    if not word.isascii():
        return (len(word.encode("utf-8", "surrogatepass")) + 1) // 2
    return len(word) if word.isnumeric() else 1 + len(word) // 4


def _in_band(length: float, full: float, low: float, high: float) -> float:
    return max(min(1.0, length / low, 2 - full / high), 0.0)
