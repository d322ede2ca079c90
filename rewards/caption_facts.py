"""Truth of captions where the truth of an image is known.

    caption_facts = precision · coverage = (t / c) · (t / f)

c claims that the caption makes, t of them true, f facts that there are to state. Either factor
alone is gamed by length: precision by a caption that hardly says anything, coverage by one that
says everything that there might be.

What a caption claims, and which facts are known, is for a *reader*, a function that is given in
`reward_settings` by its address, because nothing here knows any data:

    reward_settings: {caption_facts: {reader: "data_gen.toybox.facts:read_facts"}}

    def reader(caption: str, facts: str) -> tuple[int, int, int]

It is given a caption and the row's `facts` (any text; JSON as a rule) and returns c, t and f, with
t ≤ c and t ≤ f: a fact that is stated twice counts once. It must return for any text.

Source: precision and recall of a caption's assertions as one reward, as in BalCapRL (arXiv
2605.07394) and CCCaption (arXiv 2602.21655), where completeness alone lets correctness collapse.

Cheats refused: silence (t = 0), few and safe claims (coverage), all possible claims and guesses
(precision), a claim repeated (counted once as true). Not refused: whatever the reader does not
read, such as claims in other words than it knows.
"""

from __future__ import annotations

from collections.abc import Callable

from rewards.parsing import caption_text


def caption_facts(
    completions, *, facts, reader: Callable[[str, str], tuple[int, int, int]] | None = None, **_
) -> list[float | None]:
    """Precision times coverage of what captions claim.

    Args:
        completions: B strings or conversations.
        facts: B texts with a row's truth, for the reader; None in rows that have none.
        reader: returns claims, true ones and facts; see the module's docstring.

    Returns:
        B rewards, each in 0…1, or None: no facts, or none in them.

    Raises:
        ValueError: there is no reader, or it returns numbers that cannot be.

    Source:
        The module's docstring.
    """
    if reader is None:
        raise ValueError("caption_facts needs a reader, such as data_gen.toybox.facts:read_facts")
    return [
        None if truth is None else _score(*reader(caption_text(completion), truth))
        for completion, truth in zip(completions, facts, strict=True)
    ]


def _score(claims: int, true: int, facts: int) -> float | None:
    if not 0 <= true <= min(claims, facts):
        raise ValueError(f"the reader counts {true} true of {claims} claims and {facts} facts")
    if not facts:
        return None
    return true / claims * true / facts if claims else 0.0
