"""Object consistency: is the named subject of the first image also in the second?

    reward = 1 if the one answer in the text equals the row's answer, else 0

Source: RePIC (arXiv 2506.18369), the task it calls OCT. What counts as an answer is stricter than
in its released code, which matches without word boundaries.

Cheats refused: "yes and no" and the echo of "answer only yes or no" (both words), "know" and "not"
(no whole word), "probably yes" (hedged), an empty answer. Not refused: the right answer followed by
any text that contains neither word; this reward does not judge length.
"""

from __future__ import annotations

from rewards.parsing import answer_part, check_answer_format, completion_text, yes_or_no

TASK = "object_consistency"


def object_consistency(
    completions, *, task, answer, answer_format: str = "auto", **_
) -> list[float | None]:
    """Score yes/no answers.

    Args:
        completions: B strings or conversations.
        task: B task names; rows of other tasks get None.
        answer: B truths, "yes" or "no" (None in rows of other tasks).
        answer_format: which part of a text is the answer: see `rewards.parsing.answer_part`.

    Returns:
        B rewards, each 0.0, 1.0 or None.

    Raises:
        ValueError: a row of this task has a truth other than "yes" or "no", or the setting is none.

    Source:
        RePIC, arXiv 2506.18369.
    """
    check_answer_format(answer_format)
    return [
        _score(answer_part(completion_text(completion), answer_format), truth)
        if row_task == TASK
        else None
        for completion, row_task, truth in zip(completions, task, answer, strict=True)
    ]


def _score(text: str, truth: str) -> float:
    if truth not in ("yes", "no"):
        raise ValueError(f"a row of task {TASK} has the answer {truth!r}; it must be 'yes' or 'no'")
    return float(yes_or_no(text) == truth)
