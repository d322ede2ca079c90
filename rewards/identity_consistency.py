"""Identity consistency: does the caption call the user's subjects by their names?

    mention_ratio = n / m              n of the m distinct expected names are written
    mention_f1    = 2h / (2h + e + k)  h expected names written, e extra ones, k expected, missed

Both are 0 below a minimum length, without which the cheapest caption is the bare name.
`rewards.names` decides what counts as written. Extra names are those of subjects that are not in
the image, and unlisted tags. If no name is expected, F1 is 1 for a caption that names nothing and 0
otherwise; the ratio is None.

Source: `mention_ratio` is RePIC's reward (arXiv 2506.18369); its paper counts the floor in tokens,
its released code in characters (`unit="characters"`). F1 with distractors is what later work found
stronger, because it makes wrong names cost.

Cheats refused by both: one name fifty times (names are a set), bare names (the floor), a caption
wrapped in `<bo>…</bo>` (markup is no mention, for any number of names; RePIC's code refuses it for
one), names inside other words, length made of whitespace, of end tokens or of padding. Refused by
`mention_f1` only, where the prompt has absent names: listing all of its names, and echoing it; and
invented tags. `mention_ratio` pays for those, by its formula.
"""

from __future__ import annotations

import re

from rewards.names import find_names, tally
from rewards.parsing import completion_text

TASK = "identity_consistency"
UNITS = ("tokens", "characters")

# Runs of five or more: whitespace, control characters, and what renders as nothing. Four in a row
# may indent a paragraph; more add length without content.
_BLANKS = re.compile(
    r"[\s\x00-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]{5,}"
)


def mention_ratio(
    completions, *, completion_ids, task, names, floor=100, unit="tokens", uncounted_ids=(), **_
) -> list[float | None]:
    """Share of the expected names that a caption mentions; RePIC's naming reward.

    Args:
        completions: B strings or conversations.
        completion_ids: B lists of C token ids, as TRL passes them: up to and including the end
            token where there is one.
        task: B task names; rows of other tasks get None.
        names: B lists of m expected names, bare.
        floor: minimum length; shorter captions get 0. 0 switches it off.
        unit: "tokens", or "characters" as in RePIC's released code.
        uncounted_ids: token ids that add no length: end, padding and other special tokens.
            `rewards.loading` sets them from the policy's tokenizer. If empty, as in a stock
            trainer, the end token of a finished completion counts as one token.

    Returns:
        B rewards, each in 0…1, or None; None also for rows of this task without expected names.

    Raises:
        ValueError: unknown unit, a negative floor, or a name that is blank.

    Source:
        RePIC, arXiv 2506.18369.
    """
    check_floor(floor, unit)
    rewards = []
    for completion, ids, row_task, expected in zip(
        completions, completion_ids, task, names, strict=True
    ):
        if row_task != TASK or not expected:
            rewards.append(None)
            continue
        text = completion_text(completion)
        found = find_names(text, expected)
        ratio = len(found.written - found.closed) / len(set(expected))
        long_enough = caption_length(text, ids, unit, uncounted_ids) >= floor
        rewards.append(ratio if long_enough else 0.0)
    return rewards


def mention_f1(
    completions,
    *,
    completion_ids,
    task,
    names,
    absent_names,
    floor=100,
    unit="tokens",
    uncounted_ids=(),
    **_,
) -> list[float | None]:
    """Set-level F1 between the names written and the expected names.

    Args:
        completions, completion_ids, task, names, floor, unit, uncounted_ids: as in `mention_ratio`.
        absent_names: B lists of names given in the prompt whose subject is not in the image.

    Returns:
        B rewards, each in 0…1, or None.

    Raises:
        ValueError: unknown unit, a negative floor, or a name that is blank.

    Source:
        The strict naming metric of this project; see the module's docstring.
    """
    check_floor(floor, unit)
    rewards = []
    for completion, ids, row_task, row_names, absent in zip(
        completions, completion_ids, task, names, absent_names, strict=True
    ):
        if row_task != TASK:
            rewards.append(None)
            continue
        text = completion_text(completion)
        expected = set(row_names or ())
        found = find_names(text, expected | set(absent or ()))
        # A closing tag cancels an expected name, but not an absent one, which still costs.
        score = tally(found.written - (found.closed & expected), expected, found.unlisted)
        long_enough = caption_length(text, ids, unit, uncounted_ids) >= floor
        rewards.append(score.f1 if long_enough else 0.0)
    return rewards


def caption_length(text: str, ids, unit: str = "tokens", uncounted_ids=()) -> int:
    """Length of a caption for the floor.

    Args:
        text: the caption, used for "characters" and to find runs of whitespace.
        ids: its C token ids.
        unit: "tokens": ids that are not in `uncounted_ids`, less one for every blank character
            beyond four in a row, so that newlines do not reach the floor. "characters":
            `len(text)`.
        uncounted_ids: token ids that add no length.

    Returns:
        The length, at least 0.
    """
    if unit == "characters":
        return len(text)
    uncounted = frozenset(uncounted_ids)
    padding = sum(len(run) - 4 for run in _BLANKS.findall(text))
    return max(sum(token not in uncounted for token in ids) - padding, 0)


def check_floor(floor, unit) -> None:
    """Refuse an invalid floor.

    Raises:
        ValueError: the unit is not one of `UNITS`, or the floor is negative.
    """
    if unit not in UNITS:
        raise ValueError(f"unit is {unit!r}; it must be 'tokens' or 'characters'")
    if not floor >= 0:
        raise ValueError(f"floor is {floor!r}; it must be 0 or more {unit}")
