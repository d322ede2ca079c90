"""Object consistency: is the named subject of the first image also in the second?

    reward = 1 if the one answer in the text equals the row's answer, else 0

Source: RePIC (arXiv 2506.18369), the task it calls OCT. What counts as an answer is stricter than
in its released code, which matches without word boundaries.

Cheats refused: "yes and no" and the echo of "answer only yes or no" (both words), "know" and "not"
(no whole word), "probably yes" (hedged), an empty answer. Not refused: the right answer followed by
any text that contains neither word; this reward does not judge length.
"""

from __future__ import annotations

from rewards.parsing import completion_text, yes_or_no

TASK = "object_consistency"


def object_consistency(completions, *, task, answer, **_) -> list[float | None]:
    """Score yes/no answers.

    Args:
        completions: B strings or conversations.
        task: B task names; rows of other tasks get None.
        answer: B truths, "yes" or "no" (None in rows of other tasks).

    Returns:
        B rewards, each 0.0, 1.0 or None.

    Raises:
        ValueError: a row of this task has a truth other than "yes" or "no".

    Source:
        RePIC, arXiv 2506.18369.
    """
    return [
        _score(completion_text(completion), truth) if row_task == TASK else None
        for completion, row_task, truth in zip(completions, task, answer, strict=True)
    ]


def _score(text: str, truth: str) -> float:
    if truth not in ("yes", "no"):
        raise ValueError(f"a row of task {TASK} has the answer {truth!r}; it must be 'yes' or 'no'")
    return float(yes_or_no(text) == truth)
