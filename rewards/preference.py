"""Preference: which of two pictures does a user prefer, and what does the chain of reasons say?

A completion is a chain of four blocks, in this order and with nothing else around them: the
user's profile, its opposite, scores, answer. Two wordings are read. The long one is that of
PreferThinker's released outputs, the short one has fewer tokens:

    <visual preference profile>            <liked>cartoon, golden, crayon, muted, plain</liked>
    "Art Styles": "cartoon",               <disliked>mosaic, icy, pencil, vivid, dense</disliked>
    ... "Color", "Artistic Medium",        <think>
    "Saturation", "Detail"                 style: A cartoon 5, B mosaic 1
    </visual preference profile>           ... colour, medium, saturation, detail
    <visual non-preference profile> ...    total: A 21, B 9
    <think>                                </think>
    1. Artistic style:                     <answer>A</answer>
    Image A(5) - reason;
    Image B(1) - reason. ...
    Total:
    Image A: total_score=5+5+1+5+5=21
    Image B: total_score=1+1+5+1+1=9
    </think>
    <answer>Image A</answer>

    preference_accuracy = 1 where the one answer is the truth, else 0
    preference_format   = 1 where the chain has no fault, else 0
    profile_similarity  = (1 - w) · text + w · picture
        text    = mean over the ten terms of s(predicted, true), at least 0
        picture = mean over the two profiles of s(picture drawn from the predicted profile,
                  picture drawn from the true one), at least 0

s is exact equality of terms unless `similarity` is given, and w is 0 unless `pictures` is. Both are
functions given by their addresses, because nothing here knows a model:

    reward_settings:
      profile_similarity:
        similarity: data_gen.preferences.similarity:sentence_similarity
        pictures: data_gen.preferences.similarity:toybox_pictures
        picture_weight: 0.5

    def similarity(pairs: list[tuple[str, str]], **settings) -> list[float]
    def pictures(pairs: list[tuple[Sequence[str], Sequence[str]]], **settings) -> list[float]

Each is given (predicted, true), terms or profiles of five terms, all of a batch at once, and
returns a number for each. They are called with an empty list before weights load, to check their
settings.

Source: PreferThinker (arXiv 2511.00609): weights 1.0, 0.3 and 0.7. Its released code multiplies the
profile's reward by 0, takes the last of several answers, and does not look into a block.

Cheats refused by the format: totals that do not add up, a tie (all fives), an answer that does not
follow from the totals, an answer before its reasons, blocks that are empty, doubled or out of
order, words around them, chains of more than 20,000 characters. By accuracy: both answers, in one
block or two. By the profile: the liked profile copied for its opposite (a term in both is worth
nothing in either), a list of terms in place of one. Not refused: reasons that nobody checked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rewards.parsing import completion_text

TASK = "preference"

ELEMENTS = ("art_style", "colour", "medium", "saturation", "detail")

LETTERS = ("A", "B")
"""Of the two candidates."""

BEST = 5
"""The highest score of an element; the lowest is 0."""

MOST_CHARACTERS = 20_000
MOST_OF_A_TERM = 60
MOST_OF_A_LINE = 500

BLOCKS = {
    "liked": ("liked", "visual preference profile"),
    "disliked": ("disliked", "visual non-preference profile"),
    "think": ("think",),
    "answer": ("answer",),
}
"""Block -> names of its tag."""

_LABELS = {
    "style": "art_style",
    "art style": "art_style",
    "art styles": "art_style",
    "art_style": "art_style",
    "artistic style": "art_style",
    "artistic styles": "art_style",
    "color": "colour",
    "colors": "colour",
    "colour": "colour",
    "colours": "colour",
    "medium": "medium",
    "artistic medium": "medium",
    "artisticmedium": "medium",
    "saturation": "saturation",
    "detail": "detail",
    "details": "detail",
    "total": "total",
    "totals": "total",
}
_TAG = {
    tag: re.compile(rf"<(/?)(?:{'|'.join(names)})>", re.IGNORECASE) for tag, names in BLOCKS.items()
}
_LABELLED = re.compile(r'(?:\d\.)?[ "]{0,4}([A-Za-z_]+(?: [A-Za-z]+)?)"?[ ]{0,4}:')
_NAME = r"(?:(?i:image|picture) )?([AB])\b"
_SCORE = re.compile(rf"{_NAME} ?\( ?([0-9]{{1,3}}) ?\)")
_SHORT_SCORE = re.compile(rf"{_NAME}:?([^()]{{0,80}}?)(?<!\w)([0-9]{{1,3}})\.?")
_TOTAL = re.compile(
    rf"{_NAME} ?:? ?(?:total[_ ]score ?[=:]? ?)?((?:[0-9]{{1,3}} ?\+ ?)*[0-9]{{1,3}} ?= ?)?"
    r"([0-9]{1,3})\.?"
)
_ANSWER = re.compile(rf"{_NAME}\.?")
_DIGITS = re.compile(r"[0-9]+")


@dataclass(frozen=True)
class Chain:
    """What a completion says; parts that cannot be read are ``None``.

    Attributes:
        liked, disliked: five terms, in the order of :data:`ELEMENTS`.
        scores: of A and of B for each element, in the same order.
        totals: of A and of B.
        answer: ``A`` or ``B``.
        fault: the first thing that is wrong with the format; empty where nothing is.
    """

    liked: tuple[str, ...] | None = None
    disliked: tuple[str, ...] | None = None
    scores: tuple[tuple[int, int], ...] | None = None
    totals: tuple[int, int] | None = None
    answer: str | None = None
    fault: str = ""


def read_chain(text: str) -> Chain:
    """Read a completion. Any string is read, in time linear in its length.

    Args:
        text: what the model wrote.
    """
    if len(text) > MOST_CHARACTERS:
        return Chain(fault="too long")
    found = {tag: _block(tag, text) for tag in BLOCKS}
    liked, disliked = (_words(_terms(text, found[tag])) for tag in ("liked", "disliked"))
    numbers, doubled = _numbers(text, found["think"])
    scores, totals, sums_agree = None, None, False
    if not doubled:
        scores = _scores(numbers)
        totals, sums_agree = _totals(numbers, scores)
    said = found["answer"]
    letter = _ANSWER.fullmatch(_plain(text[said[1] : said[2]] if said else ""))
    answer = letter[1] if letter else None

    fault = next((f"no one <{tag}> block" for tag in BLOCKS if not found[tag]), "")
    if not fault:
        fault = _order_fault(text, [block for block in found.values() if block])
    for part, wrong in (
        (liked, "profile is not five terms"),
        (disliked, "opposite is not five terms"),
        (scores, "scores are not 0-5 of A and B for five elements"),
        (totals, "no totals"),
        (answer, "answer is not A or B"),
    ):
        if not fault and part is None:
            fault = wrong
    if not fault and scores and totals:
        a, b = totals
        if not sums_agree or totals != tuple(map(sum, zip(*scores, strict=True))):
            fault = "totals do not add up"
        elif a == b or answer != LETTERS[b > a]:
            fault = "answer does not follow from the totals"
    return Chain(liked, disliked, scores, totals, answer, fault)


def preference_accuracy(completions, *, task, answer, **_) -> list[float | None]:
    """Whether the preferred picture is answered.

    Args:
        completions: B strings or conversations.
        task: B task names; rows of other tasks get None.
        answer: B truths, "A" or "B".

    Returns:
        B rewards, each 0.0, 1.0 or None.

    Raises:
        ValueError: a row of this task has another truth.

    Source:
        PreferThinker, arXiv 2511.00609.
    """
    rewards: list[float | None] = []
    for completion, row_task, truth in zip(completions, task, answer, strict=True):
        if row_task == TASK and truth not in LETTERS:
            raise ValueError(f"a row of task {TASK} has the answer {truth!r}; it must be A or B")
        given = read_chain(completion_text(completion)).answer if row_task == TASK else None
        rewards.append(float(given == truth) if row_task == TASK else None)
    return rewards


def preference_format(completions, *, task, **_) -> list[float | None]:
    """Whether the chain has four blocks, five elements in each, scores 0-5, totals that add up, and
    the answer that follows from them.

    Args:
        completions: B strings or conversations.
        task: B task names; rows of other tasks get None.

    Returns:
        B rewards, each 0.0, 1.0 or None.

    Source:
        PreferThinker, arXiv 2511.00609, which asks for the four blocks alone.
    """
    return [
        float(not read_chain(completion_text(completion)).fault) if row_task == TASK else None
        for completion, row_task in zip(completions, task, strict=True)
    ]


def profile_similarity(
    completions,
    *,
    task,
    liked_profile,
    disliked_profile,
    similarity: Callable[..., list[float]] | None = None,
    similarity_settings: Mapping | None = None,
    pictures: Callable[..., list[float]] | None = None,
    pictures_settings: Mapping | None = None,
    picture_weight: float = 0.5,
    **_,
) -> list[float | None]:
    """How much the predicted profile and its opposite are like the true ones.

    Args:
        completions: B strings or conversations.
        task: B task names; rows of other tasks get None.
        liked_profile, disliked_profile: B lists of the five true terms; None or empty where they
            are not known, as of real users.
        similarity: of terms; see the module's docstring. None: 1 for equal terms, else 0.
        similarity_settings: passed to it by name.
        pictures: of pictures drawn from profiles; None: terms alone count.
        pictures_settings: passed to it by name.
        picture_weight: w, 0-1.

    Returns:
        B rewards, each in 0-1, or None: another task, or no true profile.

    Raises:
        ValueError: a weight outside 0-1, or a function that returns too few numbers.

    Source:
        PreferThinker, arXiv 2511.00609, its equation for r_predict; the split between terms and
        pictures is not published.
    """
    if not 0 <= picture_weight <= 1:
        raise ValueError(f"picture_weight is {picture_weight!r}; it must be 0-1")
    judged: dict[int, list[float]] = {}  # completion -> sums over terms, and over pictures
    profiles: list[tuple[int, Sequence[str], Sequence[str], tuple[bool, ...]]] = []
    rows = zip(completions, task, liked_profile, disliked_profile, strict=True)
    for i, (completion, row_task, liked, disliked) in enumerate(rows):
        if row_task != TASK or not liked or not disliked:
            continue
        judged[i] = [0.0, 0.0]
        chain = read_chain(completion_text(completion))
        nothing = ("",) * len(ELEMENTS)
        said = chain.liked or nothing, chain.disliked or nothing
        # Nobody likes and dislikes the same: one profile copied for the other is no prediction.
        counts = tuple(_key(a) != _key(b) for a, b in zip(*said, strict=True))
        for predicted, true in zip(said, (liked, disliked), strict=True):
            if predicted is not nothing:
                profiles.append((i, predicted, true, counts))
    terms = [
        (i, pair)
        for i, predicted, true, counts in profiles
        for pair, count in zip(zip(predicted, true, strict=True), counts, strict=True)
        if count
    ]
    found = _values(similarity or _equal, [pair for _, pair in terms], similarity_settings)
    for (i, _pair), value in zip(terms, found, strict=True):
        judged[i][0] += value
    if pictures:
        drawn = [(i, (tuple(p), tuple(t))) for i, p, t, counts in profiles if any(counts)]
        found = _values(pictures, [pair for _, pair in drawn], pictures_settings)
        for (i, _pair), value in zip(drawn, found, strict=True):
            judged[i][1] += value
    w = picture_weight if pictures else 0.0
    return [
        (1 - w) * judged[i][0] / (2 * len(ELEMENTS)) + w * judged[i][1] / 2 if i in judged else None
        for i in range(len(completions))
    ]


def preference_parts(
    completions, *, task, liked_profile, disliked_profile, **_
) -> list[list[tuple[str, int, int, float]]]:
    """The terms, scores, totals and the answer of each chain, where they stand and whether they are
    right; see the module's docstring.

    A part that cannot be judged is left out: a term where no profile is known; a score where the
    chain has no profiles, or where the reason does not begin with a term of one of them.

    Args:
        completions: B strings or conversations.
        task: B task names; rows of other tasks have no parts.
        liked_profile, disliked_profile: B lists of the five true terms, or None.

    Returns:
        B lists of (which part, its first character, the one behind its last, 0.0 or 1.0).
    """
    rows = zip(completions, task, liked_profile, disliked_profile, strict=True)
    found = []
    for completion, row_task, liked, disliked in rows:
        parts = _parts(completion_text(completion), liked, disliked) if row_task == TASK else []
        firsts = {part[0]: part for part in reversed(parts)}  # of a line written twice, the first
        found.append([part for part in parts if part is firsts[part[0]]])
    return found


def _parts(text: str, liked, disliked) -> list[tuple[str, int, int, float]]:
    chain = read_chain(text)
    if chain.fault == "too long":
        return []
    parts: list[tuple[str, int, int, float]] = []
    for tag, true, against in (
        ("liked", liked, chain.disliked),
        ("disliked", disliked, chain.liked),
    ):
        written = _terms(text, _block(tag, text)) or ()
        others = against or ("",) * len(ELEMENTS)
        for element, (term, start, end), truth, other in zip(
            ELEMENTS, written, true or (), others, strict=False
        ):
            right = _key(term) == _key(truth) != _key(other)
            parts.append((f"{tag}/{element}", start, end, float(right)))
    numbers, _ = _numbers(text, _block("think", text))
    sums: dict[str, int] = {letter: 0 for letter in LETTERS}
    for one in numbers:
        if one.label == "total":
            right = one.value == sums[one.letter]
            parts.append((f"total/{one.letter}", one.start, one.end, float(right)))
            continue
        sums[one.letter] += one.value
        follows = _follows(one, chain)
        if follows is not None:
            name = f"score/{one.label}/{one.letter}"
            parts.append((name, one.start, one.end, float(follows)))
    if chain.answer and chain.totals:
        _, start, end, _ = _block("answer", text) or (0, 0, 0, 0)
        a, b = chain.totals
        at = max(text.rfind(letter, start, end) for letter in LETTERS)
        parts.append(("answer", at, at + 1, float(a != b and chain.answer == LETTERS[b > a])))
    return parts


def _follows(score: _Number, chain: Chain) -> bool | None:
    """Whether a score follows from the chain's profiles; ``None`` where nothing tells."""
    if not chain.liked or not chain.disliked:
        return None
    liked, disliked = (
        _key(profile[ELEMENTS.index(score.label)]) for profile in (chain.liked, chain.disliked)
    )
    term = _key(score.said)
    if score.value > BEST or term == liked == disliked:
        return False
    if term == liked:
        return score.value >= BEST - 1
    if term == disliked:
        return score.value <= 1
    return None if score.is_reason else 2 <= score.value <= 3


def _values(function: Callable, pairs: list, settings: Mapping | None) -> list[float]:
    """One number in 0-1 for each pair."""
    found = list(function(pairs, **(settings or {})))
    if len(found) != len(pairs):
        raise ValueError(f"asked for {len(pairs)} similarities, {function!r} gives {len(found)}")
    return [min(1.0, max(0.0, float(value))) for value in found]


def _equal(pairs: list[tuple[str, str]]) -> list[float]:
    return [float(_key(a) == _key(b)) for a, b in pairs]


def _key(term: str) -> str:
    return " ".join(term.casefold().split())


def _plain(text: str) -> str:
    return " ".join(text.split())


def _block(tag: str, text: str) -> tuple[int, int, int, int] | None:
    """Where the one block of that tag begins, its inside begins and ends, and where it ends."""
    tags = list(_TAG[tag].finditer(text))
    if len(tags) != 2 or tags[0][1] or not tags[1][1]:
        return None
    return tags[0].start(), tags[0].end(), tags[1].start(), tags[1].end()


def _order_fault(text: str, blocks: list[tuple[int, int, int, int]]) -> str:
    ends = [0, *(block[3] for block in blocks)]
    if any(start < end for (start, *_), end in zip(blocks, ends, strict=False)):
        return "blocks out of order"
    between = [text[end : block[0]] for block, end in zip(blocks, ends, strict=False)]
    return "words outside the blocks" if "".join([*between, text[ends[-1] :]]).strip() else ""


_Term = tuple[str, int, int]
"""A term of a profile, its first character and the one behind its last."""


def _terms(text: str, block: tuple[int, int, int, int] | None) -> tuple[_Term, ...] | None:
    """Five terms, labelled line by line or in one line in the order of the elements."""
    if block is None:
        return None
    lines = [line for line in _pieces(r"[^\n]+", text, block[1], block[2]) if line[0].strip()]
    given: dict[str, _Term] = {}
    if len(lines) == 1:
        line, start, end = lines[0]
        # A single labelled line is one element and no profile.
        if line.count(",") == len(ELEMENTS) - 1:
            given = dict(zip(ELEMENTS, _pieces("[^,]+", text, start, end), strict=False))
    elif len(lines) == len(ELEMENTS):
        for line in lines:
            if labelled := _labelled(line):
                given[labelled[0]] = labelled[1]
    else:
        return None
    terms = [_bare(given.get(element, ("", 0, 0)), ' ",\t\r') for element in ELEMENTS]
    good = all(
        term and len(term) <= MOST_OF_A_TERM and set(term).isdisjoint('<>:,;"')
        for term, *_ in terms
    )
    return tuple(terms) if good else None


def _words(terms: tuple[_Term, ...] | None) -> tuple[str, ...] | None:
    return None if terms is None else tuple(term for term, *_ in terms)


@dataclass(frozen=True)
class _Number:
    """A score or a total in the block of reasons.

    Attributes:
        label: the element, or ``total``.
        letter: of the picture.
        value: the number.
        start, end: its first character, and the one behind its last.
        said: with a score the term before it, or, ``is_reason``, what stands behind it, up to a
            comma; with a total the sum before it.
        is_reason: whether the number stands in brackets and a reason follows.
    """

    label: str
    letter: str
    value: int
    start: int
    end: int
    said: str
    is_reason: bool


def _numbers(text: str, block: tuple[int, int, int, int] | None) -> tuple[list[_Number], bool]:
    """The scores and totals in the block of reasons, in order, and whether a label stands twice."""
    found: list[_Number] = []
    labels: list[str] = []
    for line in _pieces(r"[^\n]+", text, *((0, 0) if block is None else block[1:3])):
        if labelled := _labelled(line):
            labels.append(labelled[0])
            line = labelled[1]
        if not labels:
            continue
        _, start, end = line
        for piece, at, _ in _pieces("[^,;]+", text, start, min(end, start + MOST_OF_A_LINE)):
            plain, total = _plain(piece), labels[-1] == "total"
            match = _TOTAL.fullmatch(plain) if total else _SCORE.match(plain)
            bracketed = match is not None and not total
            match = match or (None if total else _SHORT_SCORE.fullmatch(plain))
            if not match:
                continue
            digits = match[2] if bracketed else match[3]
            at += piece.index(digits, piece.index("(")) if bracketed else piece.rindex(digits)
            said = plain[match.end() :] if bracketed else match[2] or ""
            place = at, at + len(digits)
            said = said.strip(" -")
            found.append(_Number(labels[-1], match[1], int(digits), *place, said, bracketed))
    return found, len(set(labels)) < len(labels)


def _scores(numbers: Sequence[_Number]) -> tuple[tuple[int, int], ...] | None:
    """The scores of A and B for the five elements; ``None`` unless each has one."""
    pairs = []
    for element in ELEMENTS:
        of = [one for one in numbers if one.label == element]
        # Where numbers stand in brackets, others belong to the reasons.
        of = [one for one in of if one.is_reason] or of
        scores = {one.letter: one.value for one in of}
        if len(of) != 2 or set(scores) != set(LETTERS) or max(scores.values()) > BEST:
            return None
        pairs.append(tuple(scores[letter] for letter in LETTERS))
    return tuple(pairs)


def _totals(
    numbers: Sequence[_Number], scores: tuple[tuple[int, int], ...] | None
) -> tuple[tuple[int, int] | None, bool]:
    """The totals of A and B, and whether each is said once and any sum before it is of the
    scores."""
    totals: dict[str, int] = {}
    agree = True
    for one in numbers:
        if one.label != "total":
            continue
        agree = agree and one.letter not in totals
        totals[one.letter] = one.value
        if one.said and scores:
            summands = [int(n) for n in _DIGITS.findall(one.said)]
            agree = agree and summands == [pair[LETTERS.index(one.letter)] for pair in scores]
    if set(totals) != set(LETTERS):
        return None, agree
    return (totals["A"], totals["B"]), agree


_Piece = tuple[str, int, int]
"""A piece of a completion, its first character and the one behind its last."""


def _pieces(pattern: str, text: str, start: int, end: int) -> list[_Piece]:
    """Where a pattern is found in ``text[start:end]``."""
    found = re.compile(pattern).finditer(text, start, end)
    return [(match[0], match.start(), match.end()) for match in found]


def _bare(piece: _Piece, around: str | None = None) -> _Piece:
    """A piece without some characters around it; ``None``: blanks."""
    words, start, _ = piece
    start += len(words) - len(words.lstrip(around))
    words = words.strip(around)
    return words, start, start + len(words)


def _labelled(line: _Piece) -> tuple[str, _Piece] | None:
    """The element that a line's label names, or ``total``, and what follows it."""
    words, start, end = _bare(line)
    match = _LABELLED.match(words[:MOST_OF_A_LINE])
    label = _LABELS.get(match[1].casefold()) if match else None
    if not match or not label:
        return None
    return label, (words[match.end() :], start + match.end(), end)
