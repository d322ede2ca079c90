"""Identity consistency: does the caption call the user's subjects by their names?

    mention_ratio    = n / m                n of the m distinct expected names are written
    mention_f1       = 2h / (2h + e + k)    h expected names written, e extra ones, k missed
    mention_balanced = ½ h / m + ½ s / (s + e)    s absent names left unwritten
    mention_binding  = 2h / (2h + e + k)    as F1, and a name counts only on its own subject

All are 0 below a minimum length (`floor`), without which the cheapest caption is the bare name;
`floor: 0` leaves length to `rewards.length.caption_length`. `rewards.names` decides what counts as
written. Extra names are those of subjects that are not in the image, and unlisted tags. If no name
is expected, F1 is 1 for a caption that names nothing and 0 otherwise; the ratio is None. A half of
`mention_balanced` that has nothing to judge (m = 0, or s + e = 0) leaves all to the other.

`mention_f1` does not see on whom a name stands: all names of four subjects pay in full, each on
another. In `mention_binding` an expected name is a hit only where the caption puts it on its own
subject; each other thing that it puts the name on is one more extra, and its own subject is left
unnamed (one of k) unless the name stands there, too. So it never pays more than F1, as much for a
caption that puts each expected name on its subject, and as much where nobody is expected. What a
caption puts a name on is for a *reader*, given by its address, because nothing here knows any data:

    reward_settings: {mention_binding: {reader: "data_gen.toybox.facts:read_names"}}

    def reader(caption: str, facts: str) -> Mapping[str, Sequence[bool]] | None

It is given a caption and the row's `facts` (any text; JSON as a rule), and returns for the expected
names that are written a list: for each thing on which the name stands, whether that is the subject
that bears it. Names that are not in it, or with an empty list, stand on nothing: they are missed,
and no extra. None pays F1, for captions in words that the reader does not know. That leaves a way
out, to describe nobody in such words, so the toybox's reader never takes it: its policy is made to
speak what it reads. It must return for any text.

Source: `mention_ratio` is RePIC's reward (arXiv 2506.18369); its paper counts the floor in tokens,
its released code in characters (`unit="characters"`). F1 with distractors is what later work found
stronger, because it makes wrong names cost. Balanced accuracy is the usual score of yes/no answers
where either may be rare; here every name that was given is one such answer.

Cheats refused by all: one name fifty times (names are a set), bare names and lists of them, the
echo of the prompt, and length made of blanks, padding or repetition (the floor counts what is shown
and said anew, see `rewards.length`), a caption wrapped in `<bo>…</bo>` (markup is no mention, for
any number of names; RePIC's code refuses it for one), names inside other words, names and length
in reasoning (`<think>…</think>`; only what follows is the caption). Refused by all but
`mention_ratio`: invented tags. Refused by `mention_binding` only: the right names on the wrong
subjects, one name on several and, by the toybox's reader, names apart from all descriptions and
several names on one subject, which do not say who is who (a guess pays more). Not refused there: a
description so poor that it fits two subjects; `caption_facts` pays little for it.

A long caption that names everyone who was given, seen or not. `mention_ratio` pays for it in full.
F1 pays 2m / (m + R) with R names given, more than half whenever more than a third are right, since
it asks what share of the writing is right: a name left out for good reason is no part of that. With
R and the number of subjects in the image drawn from 1 to 4 and m up to the smaller, each evenly,
that is 0.47 on average, where silence earns 0.38 (`tests/rewards/test_guessing.py`); only where
half of the rows expect nobody it is 0.38, and silence 0.50. `mention_balanced` pays all, nobody and
any guess alike, one half, where a row has both expected and absent names. What remains is that rows
in which all are expected pay for naming all, and those in which nobody is for silence: 0.42 and
0.58 in the rows above, so that no answer that does not look earns more than silence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import repeat

from rewards.length import check_unit, counted_length
from rewards.names import Tally, find_names, tally
from rewards.parsing import answer_part, caption_text, completion_text

TASK = "identity_consistency"

Places = Mapping[str, Sequence[bool]]
"""Name -> for each thing on which it stands, whether that is its own subject."""


def mention_ratio(
    completions,
    *,
    completion_ids,
    task,
    names,
    prompts=None,
    floor=100,
    unit="tokens",
    uncounted_ids=(),
    **_,
) -> list[float | None]:
    """Share of the expected names that a caption mentions; RePIC's naming reward.

    Args:
        completions: B strings or conversations.
        completion_ids: B lists of C token ids, as TRL passes them: up to and including the end
            token where there is one.
        task: B task names; rows of other tasks get None.
        names: B lists of m expected names, bare.
        prompts: B strings or conversations; what is copied from them adds no length.
        floor: minimum length; shorter captions get 0. 0 switches it off.
        unit: "tokens", "words", or "characters" as in RePIC's released code.
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
    for completion, ids, row_task, expected, prompt in zip(
        completions, completion_ids, task, names, prompts or repeat("", len(task)), strict=True
    ):
        if row_task != TASK or not expected:
            rewards.append(None)
            continue
        text = completion_text(completion)
        found = find_names(answer_part(text), expected)
        ratio = len(found.written - found.closed) / len(set(expected))
        long_enough = counted_length(text, ids, unit, uncounted_ids, prompt) >= floor
        rewards.append(ratio if long_enough else 0.0)
    return rewards


def mention_f1(
    completions,
    *,
    completion_ids,
    task,
    names,
    absent_names,
    prompts=None,
    floor=100,
    unit="tokens",
    uncounted_ids=(),
    **_,
) -> list[float | None]:
    """Set-level F1 between the names written and the expected names.

    Args:
        completions, completion_ids, task, names, prompts, floor, unit, uncounted_ids: as in
            `mention_ratio`.
        absent_names: B lists of names given in the prompt whose subject is not in the image.

    Returns:
        B rewards, each in 0…1, or None.

    Raises:
        ValueError: unknown unit, a negative floor, or a name that is blank.

    Source:
        The strict naming metric of this project; see the module's docstring.
    """
    length = (floor, unit, uncounted_ids)
    return _score_sets(_f1, completions, completion_ids, task, names, absent_names, prompts, length)


def mention_balanced(
    completions,
    *,
    completion_ids,
    task,
    names,
    absent_names,
    prompts=None,
    floor=100,
    unit="tokens",
    uncounted_ids=(),
    **_,
) -> list[float | None]:
    """Balanced accuracy of naming: half for the expected names that are written, half for the
    absent ones that are not.

    Args:
        completions, completion_ids, task, names, absent_names, prompts, floor, unit, uncounted_ids:
            as in `mention_f1`.

    Returns:
        B rewards, each in 0…1, or None. 1 for exactly the expected names, and for silence where
        none is expected.

    Raises:
        ValueError: unknown unit, a negative floor, or a name that is blank.

    Source:
        The module's docstring.
    """
    length = (floor, unit, uncounted_ids)
    return _score_sets(
        _balanced, completions, completion_ids, task, names, absent_names, prompts, length
    )


def mention_binding(
    completions,
    *,
    completion_ids,
    task,
    names,
    absent_names,
    facts,
    reader: Callable[[str, str], Places | None] | None = None,
    prompts=None,
    floor=100,
    unit="tokens",
    uncounted_ids=(),
    **_,
) -> list[float | None]:
    """F1 of the names written, where an expected name counts only on its own subject.

    Args:
        completions, completion_ids, task, names, absent_names, prompts, floor, unit, uncounted_ids:
            as in `mention_f1`.
        facts: B texts with a row's truth, for the reader; rows where it is None pay F1.
        reader: returns on whom a caption puts its names; see the module's docstring.

    Returns:
        B rewards, each in 0…1, or None.

    Raises:
        ValueError: there is no reader, unknown unit, a negative floor, or a name that is blank.

    Source:
        This project; see the module's docstring.
    """
    if reader is None:
        raise ValueError("mention_binding needs a reader, such as data_gen.toybox.facts:read_names")
    length = (floor, unit, uncounted_ids)
    places = [
        None if truth is None or row_task != TASK else reader(caption_text(completion), truth)
        for completion, row_task, truth in zip(completions, task, facts, strict=True)
    ]
    return _score_sets(
        _f1, completions, completion_ids, task, names, absent_names, prompts, length, places
    )


def check_floor(floor, unit) -> None:
    """Refuse an invalid floor.

    Raises:
        ValueError: the unit is unknown, or the floor is negative.
    """
    check_unit(unit)
    if not floor >= 0:
        raise ValueError(f"floor is {floor!r}; it must be 0 or more {unit}")


def _score_sets(
    score: Callable[[Tally, int], float],
    completions,
    completion_ids,
    task,
    names,
    absent_names,
    prompts,
    length: tuple,
    places: Sequence[Places | None] | None = None,
) -> list[float | None]:
    """`score` of the names that each caption writes and of the number of absent ones that it does
    not, where the caption is long enough; `length` is floor, unit and uncounted ids, and `places`
    are what a reader says of each caption."""
    floor, unit, uncounted_ids = length
    check_floor(floor, unit)
    rewards = []
    for completion, ids, row_task, row_names, row_absent, prompt, where in zip(
        completions,
        completion_ids,
        task,
        names,
        absent_names,
        prompts or repeat("", len(task)),
        places or repeat(None, len(task)),
        strict=True,
    ):
        if row_task != TASK:
            rewards.append(None)
            continue
        text = completion_text(completion)
        expected = set(row_names or ())
        absent = set(row_absent or ()) - expected
        found = find_names(answer_part(text), expected | absent)
        # A closing tag cancels an expected name, but not an absent one, which still costs.
        written = found.written - (found.closed & expected)
        names_tally = tally(written, expected, found.unlisted, where)
        long_enough = counted_length(text, ids, unit, uncounted_ids, prompt) >= floor
        silent = len(absent - found.written)
        rewards.append(score(names_tally, silent) if long_enough else 0.0)
    return rewards


def _f1(names: Tally, silent: int) -> float:
    return names.f1


def _balanced(names: Tally, silent: int) -> float:
    halves = [names.recall] if names.hits + names.missed else []
    halves += [silent / (silent + names.extra)] if silent + names.extra else []
    return sum(halves) / len(halves) if halves else 1.0
