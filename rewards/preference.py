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
_LABELLED = re.compile(r'(?:\d\.)?[ "]{0,4}([A-Za-z_]+(?: [A-Za-z]+)?)"?[ ]{0,4}:(.*)', re.DOTALL)
_NAME = r"(?:(?i:image|picture) )?([AB])\b"
_SCORE = re.compile(rf"{_NAME} ?\( ?([0-9]{{1,3}}) ?\)")
_SHORT_SCORE = re.compile(rf"{_NAME}:?([^()]{{0,80}}?)(?<!\w)([0-9]{{1,3}})\.?")
_TOTAL = re.compile(
    rf"{_NAME} ?:? ?(?:total[_ ]score ?[=:]? ?)?((?:[0-9]{{1,3}} ?\+ ?)*[0-9]{{1,3}} ?= ?)?"
    r"([0-9]{1,3})\.?"
)
_ANSWER = re.compile(rf"{_NAME}\.?")
_NUMBER = re.compile(r"[0-9]+")


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
    inside = {tag: text[block[1] : block[2]] if block else None for tag, block in found.items()}
    liked, disliked = _profile(inside["liked"]), _profile(inside["disliked"])
    scores, totals, sums_agree = _scores(inside["think"])
    letter = _ANSWER.fullmatch(_plain(inside["answer"] or ""))
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
    found = _numbers(similarity or _equal, [pair for _, pair in terms], similarity_settings)
    for (i, _pair), value in zip(terms, found, strict=True):
        judged[i][0] += value
    if pictures:
        drawn = [(i, (tuple(p), tuple(t))) for i, p, t, counts in profiles if any(counts)]
        found = _numbers(pictures, [pair for _, pair in drawn], pictures_settings)
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
    both = {"liked": (chain.liked, liked), "disliked": (chain.disliked, disliked)}
    for tag, (said, true) in both.items():
        if not said or not true:
            continue
        other = both["disliked" if tag == "liked" else "liked"][0] or ("",) * len(ELEMENTS)
        _, cursor, end, _ = _block(tag, text) or (0, 0, 0, 0)
        # In the short wording terms stand in the order of the elements, in the long one anywhere.
        for element, term, truth, against in zip(ELEMENTS, said, true, other, strict=True):
            at = text.find(term, cursor, end)
            if at < 0:
                at = text.find(term, 0, end)
            elif ":" not in text[cursor:at]:
                cursor = at + len(term)
            right = _key(term) == _key(truth) != _key(against)
            parts.append((f"{tag}/{element}", at, at + len(term), float(right)))
    block = _block("think", text)
    if block is None:
        return parts
    label, sums = "", {letter: 0 for letter in LETTERS}
    for line in re.finditer(r"[^\n]+", text[block[1] : block[2]]):
        start, words = block[1] + line.start(), line[0]
        match = _LABELLED.fullmatch(words.strip()[:500])
        if match and match[1].casefold() in _LABELS:
            label = _LABELS[match[1].casefold()]
            skipped = words.index(":") + 1
            start, words = start + skipped, words[skipped:]
        for letter, at, end, number, said in _numbered(words, total=label == "total"):
            span = start + at, start + end
            if label == "total":
                parts.append((f"total/{letter}", *span, float(number == sums[letter])))
            elif label:
                sums[letter] += number
                right = _follows(number, said, "(" in words, chain, label)
                if right is not None:
                    parts.append((f"score/{label}/{letter}", *span, float(right)))
    if chain.answer and chain.totals:
        _, start, end, _ = _block("answer", text) or (0, 0, 0, 0)
        a, b = chain.totals
        at = max(text.rfind(letter, start, end) for letter in LETTERS)
        parts.append(("answer", at, at + 1, float(a != b and chain.answer == LETTERS[b > a])))
    return parts


def _numbered(words: str, *, total: bool) -> list[tuple[str, int, int, int, str]]:
    """The numbers of a line: letter, where it begins and ends, number, and what is said with it."""
    found = []
    for piece in re.finditer(r"[^;\n]+" if "(" in words else r"[^,;\n]+", words):
        plain = _plain(piece[0])
        match = (
            _TOTAL.fullmatch(plain)
            if total
            else _SCORE.match(plain) or _SHORT_SCORE.fullmatch(plain)
        )
        if not match:
            continue
        in_brackets = match.re is _SCORE
        digits = match[2] if in_brackets else match[3]
        at = piece[0].find(digits, piece[0].find("(")) if in_brackets else piece[0].rfind(digits)
        reason = plain[match.end() :] if in_brackets else match[2] or ""
        start = piece.start() + at
        found.append((match[1], start, start + len(digits), int(digits), reason.strip(" -")))
    return found


def _follows(score: int, said: str, reason: bool, chain: Chain, element: str) -> bool | None:
    """Whether a score follows from the chain's profiles; ``None`` where nothing tells.

    Args:
        said: with the score: a term, or a reason that may begin with one.
        reason: which of the two.
    """
    if not chain.liked or not chain.disliked:
        return None
    liked, disliked = (
        _key(profile[ELEMENTS.index(element)]) for profile in (chain.liked, chain.disliked)
    )
    term = _key(said.partition(",")[0])
    if term == liked == disliked:
        return False
    if term == liked:
        return score >= BEST - 1
    if term == disliked:
        return score <= 1
    return None if reason else 2 <= score <= 3


def _numbers(function: Callable, pairs: list, settings: Mapping | None) -> list[float]:
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


def _profile(inside: str | None) -> tuple[str, ...] | None:
    """Five terms, labelled line by line or in one line in the order of the elements."""
    if inside is None:
        return None
    lines = [line.strip() for line in inside.split("\n") if line.strip()]
    if len(lines) == 1:
        terms = [term.strip(' "') for term in lines[0].split(",")]
        # A single labelled line is one element and no profile.
        given = dict(zip(ELEMENTS, terms, strict=False)) if len(terms) == len(ELEMENTS) else {}
    elif len(lines) == len(ELEMENTS):
        read = [_LABELLED.fullmatch(line[:200]) for line in lines]
        given = {
            _LABELS.get(match[1].casefold(), ""): match[2].strip(' ",') for match in read if match
        }
    else:
        return None
    terms = tuple(given.get(element, "") for element in ELEMENTS)
    good = all(
        term and len(term) <= MOST_OF_A_TERM and set(term).isdisjoint('<>:,;"') for term in terms
    )
    return terms if good else None


def _scores(inside: str | None) -> tuple:
    """Scores, totals, and whether the summands that are written are the scores."""
    sections: dict[str, list[str]] = {}
    current: list[str] = []
    for line in (inside or "").split("\n"):
        match = _LABELLED.fullmatch(line.strip()[:500])
        label = _LABELS.get(match[1].casefold()) if match else None
        if match and label:
            if label in sections:
                return None, None, False
            current = sections[label] = []
            line = match[2]
        current += [_plain(piece) for piece in re.split("[,;]", line[:500])]
    pairs = [_two_scores(sections.get(element, [])) for element in ELEMENTS]
    scores = tuple(pair for pair in pairs if pair)
    if len(scores) < len(ELEMENTS):
        scores = None
    totals: dict[str, int] = {}
    agree = True
    for piece in sections.get("total", []):
        if match := _TOTAL.fullmatch(piece):
            letter = match[1]
            agree = agree and letter not in totals
            totals[letter] = int(match[3])
            if match[2] and scores:
                parts = [int(n) for n in _NUMBER.findall(match[2])]
                agree = agree and parts == [pair[LETTERS.index(letter)] for pair in scores]
    both = tuple(totals.get(letter) for letter in LETTERS)
    return scores, None if None in both else both, agree


def _two_scores(pieces: list[str]) -> tuple[int, int] | None:
    """The scores of A and B in one element's part of the reasons; ``None`` unless each has one."""
    found = [(m[1], int(m[2])) for piece in pieces if (m := _SCORE.match(piece))]
    if not found:
        found = [(m[1], int(m[3])) for piece in pieces if (m := _SHORT_SCORE.fullmatch(piece))]
    scores = dict(found)
    if len(found) != 2 or set(scores) != set(LETTERS) or max(scores.values()) > BEST:
        return None
    return scores["A"], scores["B"]
