"""Chains of reasons from the truth, in two wordings, and the filter of chains that others wrote.

A picture's element is worth 5 where it is as the user likes, 1 where it is as they dislike, 3 where
it is neither; the rewards read both wordings (:mod:`rewards.preference`).
"""

from collections.abc import Sequence

from data_gen.preferences.users import Profile, Taste
from rewards.preference import ELEMENTS, LETTERS, Chain, read_chain

WORDINGS = ("short", "long")

LIKED, DISLIKED, NEITHER = 5, 1, 3

_LABELS = {
    "art_style": ("style", "Art Styles", "Artistic style"),
    "colour": ("colour", "Color", "Color"),
    "medium": ("medium", "Artistic Medium", "Artistic medium"),
    "saturation": ("saturation", "Saturation", "Saturation"),
    "detail": ("detail", "Detail", "Detail"),
}
"""Element -> its label in short chains, in long profiles, and in long reasons."""


def score(term: str, liked: str, disliked: str) -> int:
    """What a term is worth to a user, 0-5."""
    return LIKED if term == liked else DISLIKED if term == disliked else NEITHER


def preferred(taste: Taste, looks: Sequence[Profile]) -> str:
    """Which of two pictures is preferred: ``A`` or ``B``.

    Raises:
        ValueError: both are worth the same.
    """
    a, b = (sum(map(score, look, taste.liked, taste.disliked)) for look in looks)
    if a == b:
        raise ValueError(f"{looks} are worth the same to {taste}")
    return LETTERS[b > a]


def chain(taste: Taste, looks: Sequence[Profile], wording: str = "short") -> str:
    """The true chain of reasons.

    Args:
        taste: of the user, the one that the pictures are about.
        looks: of A and of B.
        wording: a key of :data:`WORDINGS`: ``short`` for small policies, ``long`` with a reason for
            every score.
    """
    write = {"short": _short, "long": _long}[wording]
    scores = [
        tuple(score(look[i], taste.liked[i], taste.disliked[i]) for look in looks)
        for i in range(len(ELEMENTS))
    ]
    return write(taste, looks, scores, preferred(taste, looks))


def fault_of(text: str, taste: Taste, answer: str) -> str:
    """Why a chain that a model wrote is not to be imitated; empty where it is.

    Args:
        text: the chain, in either wording.
        taste: the true one.
        answer: the true one.
    """
    read: Chain = read_chain(text)
    if read.fault:
        return read.fault
    if _differs(read.liked, taste.liked) or _differs(read.disliked, taste.disliked):
        return "profile is not the user's"
    if read.answer != answer:
        return "answer is wrong"
    return ""


def _differs(said: Sequence[str] | None, true: Profile) -> bool:
    return [t.casefold() for t in said or ()] != [t.casefold() for t in true]


def _short(taste: Taste, looks: Sequence[Profile], scores: list, answer: str) -> str:
    lines = [
        f"{_LABELS[element][0]}: A {looks[0][i]} {scores[i][0]}, B {looks[1][i]} {scores[i][1]}"
        for i, element in enumerate(ELEMENTS)
    ]
    a, b = map(sum, zip(*scores, strict=True))
    return "\n".join(
        [
            f"<liked>{', '.join(taste.liked)}</liked>",
            f"<disliked>{', '.join(taste.disliked)}</disliked>",
            "<think>",
            *lines,
            f"total: A {a}, B {b}",
            "</think>",
            f"<answer>{answer}</answer>",
        ]
    )


def _long(taste: Taste, looks: Sequence[Profile], scores: list, answer: str) -> str:
    blocks = []
    for tag, profile in (("preference", taste.liked), ("non-preference", taste.disliked)):
        lines = ",\n".join(
            f'"{_LABELS[element][1]}": "{term}"'
            for element, term in zip(ELEMENTS, profile, strict=True)
        )
        blocks.append(f"<visual {tag} profile>\n{lines}\n</visual {tag} profile>\n")
    blocks.append("<think>")
    for i, element in enumerate(ELEMENTS):
        blocks.append(f"{i + 1}. {_LABELS[element][2]}:")
        for letter, look, worth in zip(LETTERS, looks, scores[i], strict=True):
            blocks.append(f"Image {letter}({worth}) - {look[i]}, {_REASONS[worth]};")
    blocks.append("Total:")
    for letter, column in zip(LETTERS, zip(*scores, strict=True), strict=True):
        summands = "+".join(map(str, column))
        blocks.append(f"Image {letter}: total_score={summands}={sum(column)}")
    blocks += ["</think>\n", f"<answer>Image {answer}</answer>"]
    return "\n".join(blocks)


_REASONS = {
    LIKED: "as in the pictures that the user likes",
    DISLIKED: "as in the pictures that the user dislikes",
    NEITHER: "which the user's pictures say nothing about",
}
