"""When a name counts as written in a text: one rule, for rewards and benchmarks.

1. Comparison. Names and text are compared after NFKC and case folding, with invisible characters
   dropped; a run of whitespace or underscores equals one space, so `Bull_dog` is `bull dog`.
2. Tags. `<name>` always counts, in any case and any surroundings: `< Bo >`,
   `<<bo>>`, `<bo>'s`, `<bo's>`. A name of several words needs all of them in one tag.
3. Closing tags. `</name>` never counts. The name is also reported as *closed*: a caption wrapped in
   `<bo>…</bo>` is markup, and the rewards refuse it.
4. Bare names, outside of tags, count only
   a. whole: not inside another word, nor joined to one by a hyphen or an apostrophe, except by the
      possessive 's. `t-shirt`, `Bobby` and `Bo-like` name nobody; `Bo's` names Bo. Where a longer
      listed name is written, a shorter one inside it is not;
   b. if they have two letters or digits or more. A name of one letter, or of none (an emoji), needs
      its tag;
   c. not as ordinary words. If every word of a name is ordinary (`rewards.ordinary_words`), it must
      be written as a name is: each word with a capital (`Black Widow`), and a single word not
      merely because it opens a sentence (`Can of beer`), unless the name is given with a capital
      (`Bond`), nor in capitals throughout unless so given. An underscore shows it too
      (`backpack_dog`). A name that is no ordinary word counts in any case (`bo`).
5. Scripts without spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese). Word boundaries are not
   visible, so 4a requires none there: `小明` counts in `小明在公园`, and wrongly in `小明星`. Two
   boundaries are visible and required: a run of katakana is one word, and a mark belongs to its
   letter.
6. Unlisted tags. Any other `<…>` of up to 80 characters that does not begin with ASCII
   punctuation is an invented name. `<br>` is one; `<|im_end|>` and `<!-- -->` are not.

Known limits: inflected and prefixed forms (Korean particles, Russian cases, Arabic prefixes) count
only as tags; in a caption in Title Case an ordinary word looks like a name.

Source: the strict rule was set after the defects of RePIC's released metric, which splits at
whitespace (so `<black widow>` and possessives never match), and of a naive word match, which reads
"t-shirt" as `<T>` and "a bond" as `<Bond>`.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rewards.ordinary_words import ORDINARY_WORDS
from rewards.unicode_text import is_word, joined, normalise

_TAG = re.compile(r"<([^<>]*)>")
_SEPARATOR = re.compile(r"[\s_]+")
_MAX_TAG = 80
_SENTENCE_END = ".!?:;…。！？\n"
_OPENING_SIGNS = " \t\"'“„«([{*#>•-"


def find_names(text: str, names: Iterable[str]) -> Naming:
    """Which of the given names a text writes, by the rule in this module's docstring.

    Args:
        text: any string; time is linear in its length, for each name.
        names: bare names, as given in the row: `bo`, `black widow`.

    Returns:
        A `Naming`: the names as given in `names`, and unlisted tags in folded form.

    Raises:
        ValueError: a name is blank.
    """
    listed = _by_key(names)
    text = normalise(text)
    written, closed, unlisted = set(), set(), set()
    for _, key, given, closes in _tags(text, listed):
        if closes:
            closed |= given
        elif given:
            written |= given
        else:
            unlisted.add(key)
    for _, _, key in _bare_names(text, listed):
        written |= listed[key]
    return Naming(frozenset(written), frozenset(closed), frozenset(unlisted))


def find_mentions(text: str, names: Iterable[str]) -> list[Mention]:
    """Where a text writes names, by the rule in this module's docstring.

    Args:
        text: any string, `normalise`d: places are of characters in it.
        names: as in `find_names`.

    Returns:
        A `Mention` for each time that a name of `names` or an unlisted tag is written, in their
        order in the text. The names are those of `find_names(text, names)`.

    Raises:
        ValueError: a name is blank.
    """
    listed = _by_key(names)
    found = [
        Mention(tag.start(), tag.end(), name)
        for tag, key, given, closes in _tags(text, listed)
        if not closes
        for name in sorted(given) or [key]
    ]
    for start, end, key in _bare_names(text, listed):
        found += [Mention(start, end, name) for name in sorted(listed[key])]
    return sorted(found, key=lambda mention: mention.start)


def names_written(text: str, names: Iterable[str]) -> set[str]:
    """The given names that a text writes; `find_names(text, names).written` as a set."""
    return set(find_names(text, names).written)


def tally(
    written: Iterable[str],
    expected: Iterable[str],
    unlisted: Iterable[str] = (),
    places: Mapping[str, Sequence[bool]] | None = None,
) -> Tally:
    """Compare the names written with the expected names, as sets.

    Args:
        written: listed names that were written.
        expected: names that belong in the text.
        unlisted: tags that are no given name; each is one extra.
        places: of a text that was read for them, name -> for each thing on which the text puts the
            name, whether that is the one which bears it. An expected name then is a hit only where
            one of its things is its own, each other thing is one extra, and a name that is put on
            none is missed. None: a name may stand anywhere.

    Returns:
        A `Tally`; tallies add up, and the sum's precision, recall and F1 are the micro average.
        With `places` no tally has more hits, fewer extras or fewer misses than without.
    """
    written, expected = set(written), set(expected)
    hits, extra = written & expected, len(written - expected) + len(set(unlisted))
    if places is not None:
        extra += sum(not own for name in hits for own in places.get(name, ()))
        hits = {name for name in hits if any(places.get(name, ()))}
    return Tally(hits=len(hits), extra=extra, missed=len(expected - hits))


def name_key(name: str) -> str:
    """The form in which names are compared: folded words, one space between."""
    return " ".join(word for word in _SEPARATOR.split(normalise(name).casefold()) if word)


def name_problem(name: object) -> str | None:
    """What keeps a value from being a name that a text can write; `None` if nothing does.

    Whoever takes names from outside asks this, so that no name passes there which `find_names`
    could not find: rows, databases, benchmark files. Two names with one `name_key` are one name.
    """
    if not isinstance(name, str):
        return "is no text"
    if not _encodable(name) or "\0" in name:
        return "is no readable text"
    key = name_key(name)
    if not key:
        return "is blank: no letter, digit or sign is left of it"
    if set(key) & set("<>"):
        return "is not bare (write bo, not <bo>)"
    if key.startswith("/"):
        return "begins with a slash, as a closing tag does"
    if key in ("think", "answer"):
        return f"is <{key}> as a tag, which models write around their reasoning and answers"
    return None


def _encodable(text: str) -> bool:
    """Whether a text is UTF-8: half of a surrogate pair is not."""
    return text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)


def _by_key(names: Iterable[str]) -> dict[str, set[str]]:
    """The key of each name -> the names as given that have it."""
    listed: dict[str, set[str]] = {}
    for name in names:
        listed.setdefault(name_key(name), set()).add(name)
    if "" in listed:
        raise ValueError(f"one of the names is blank: {sorted(listed[''])!r}")
    return listed


def _tags(
    text: str, listed: dict[str, set[str]]
) -> Iterator[tuple[re.Match[str], str, set[str], bool]]:
    """The tags of a normalised text that name somebody: each with its key, the listed names that it
    writes (none: it is unlisted), and whether it is a closing tag of these."""
    for tag in _TAG.finditer(text):
        inside = tag[1].strip()
        if inside.startswith("/"):
            key = name_key(inside[1:])
            yield tag, key, listed.get(key, set()), True
            continue
        key = name_key(inside)
        given = listed.get(key) or listed.get(key.removesuffix("'s")) or set()
        if given or key and len(key) <= _MAX_TAG and key[0] not in string.punctuation:
            yield tag, key, given, False


def _bare_names(text: str, listed: dict[str, set[str]]) -> Iterator[tuple[int, int, str]]:
    """Places and keys of the listed names that are written outside of tags in a normalised text."""
    # NUL is neither letter nor space, so no name can begin, end or continue across a tag.
    text = _TAG.sub(lambda tag: "\0" * len(tag[0]), text)
    folded, origin = _fold_with_origin(text)
    taken = bytearray(len(folded))
    for key in sorted(listed, key=len, reverse=True):
        if sum(char.isalnum() for char in key) < 2:
            continue
        words = key.split(" ")
        ordinary = all(word in ORDINARY_WORDS for word in words)
        for match in re.finditer(r"[\s_]+".join(map(re.escape, words)), folded):
            start, end = match.span()
            if taken[start] or taken[end - 1] or not _is_whole(folded, start, end):
                continue
            first, last = (origin[start], origin[end - 1]) if origin else (start, end - 1)
            if ordinary and not _as_a_name(text, first, last + 1, listed[key]):
                continue
            taken[start:end] = b"\1" * (end - start)
            yield first, last + 1, key


def _fold_with_origin(text: str) -> tuple[str, list[int] | None]:
    """Case-folded text and, where folding made it longer, each character's original index."""
    folded = text.casefold()
    if len(folded) == len(text):
        return folded, None
    return folded, [index for index, char in enumerate(text) for _ in char.casefold()]


def _is_whole(text: str, start: int, end: int) -> bool:
    """Rule 4a: the span consists of whole words."""
    before, after = text[max(start - 2, 0) : start], text[end : end + 3]
    if before and joined(before[-1], text[start]):
        return False
    if after and joined(text[end - 1], after[0]):
        return False
    if before == "</":  # a closing tag that the length limit cut off
        return False
    if len(before) == 2 and before[1] in "'-" and is_word(before[0]):
        return False
    if len(after) > 1 and after[0] in "'-" and is_word(after[1]):
        return after[:2] == "'s" and not (len(after) > 2 and is_word(after[2]))
    return True


def _as_a_name(text: str, start: int, end: int, given: set[str]) -> bool:
    """Rule 4c: an ordinary word, or several, is spelt as a name."""
    spelt = text[start:end]
    if "_" in spelt:
        return True
    if spelt.isupper() and not any(name.isupper() for name in given):
        return False
    words = spelt.split()
    if any(word[0].islower() for word in words):
        return False
    given_as_name = any(name != name.lower() for name in given)
    return len(words) > 1 or given_as_name or not _opens_sentence(text, start)


def _opens_sentence(text: str, start: int) -> bool:
    """Whether there are only opening signs between a position and the end of a sentence before."""
    window = text[max(start - 8, 0) : start]
    before = window.rstrip(_OPENING_SIGNS)
    return before[-1] in _SENTENCE_END if before else True


@dataclass(frozen=True)
class Naming:
    """Which names a text writes.

    Attributes:
        written: given names that count as written, by tag or bare.
        closed: given names whose closing tag `</name>` occurs, written or not.
        unlisted: tags that are no given name, folded and without brackets.
    """

    written: frozenset[str]
    closed: frozenset[str]
    unlisted: frozenset[str]


@dataclass(frozen=True)
class Mention:
    """One place at which a text writes a name.

    Attributes:
        start, end: of the characters that write it, its tag included: `text[start:end]`.
        name: as given; the folded form of an unlisted tag.
    """

    start: int
    end: int
    name: str


@dataclass(frozen=True)
class Tally:
    """Set-level counts of one caption or, added up, of many.

    Attributes:
        hits: expected names that were written (with `places`: on what bears them).
        extra: names written that were not expected, unlisted tags (and names on other things).
        missed: expected names that were no hits.
    """

    hits: int = 0
    extra: int = 0
    missed: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.hits + other.hits, self.extra + other.extra, self.missed + other.missed)

    @property
    def precision(self) -> float:
        """hits / (hits + extra), in 0…1; 1 where nothing was written, because nothing is wrong."""
        named = self.hits + self.extra
        return self.hits / named if named else 1.0

    @property
    def recall(self) -> float:
        """hits / (hits + missed), 0-1; 1 where nothing was expected, because nothing is missed."""
        expected = self.hits + self.missed
        return self.hits / expected if expected else 1.0

    @property
    def f1(self) -> float:
        """2 hits / (2 hits + extra + missed), in 0…1; 1 where nothing was expected or written."""
        total = 2 * self.hits + self.extra + self.missed
        return 2 * self.hits / total if total else 1.0
