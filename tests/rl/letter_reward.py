"""Rewards that a random policy does earn, so that there is something to learn from."""

import os
import signal


def vowels(completions, **_):
    """Share of vowels among the characters."""
    texts = [completion[0]["content"] for completion in completions]
    return [sum(c in "aeiou" for c in text) / max(len(text), 1) for text in texts]


def spaces(completions, task, **_):
    """Share of blanks; for object consistency only."""
    return [
        completion[0]["content"].count(" ") / 16 if t == "object_consistency" else None
        for completion, t in zip(completions, task, strict=True)
    ]


def never(completions, **_):
    """The same for everybody: no group's rewards vary."""
    return [0.7] * len(completions)


def even_rows(completions, id, **_):
    """Varies within a group only in rows whose id ends in an even digit."""
    vary = [int(i[-1]) % 2 == 0 for i in id]
    lengths = vowels(completions)
    return [
        length + n % 2 if v else 0.7
        for n, (length, v) in enumerate(zip(lengths, vary, strict=True))
    ]


def deadly(completions, id, trainer_state, **_):
    """`even_rows`, but kills its process at the step that KILL_AT names."""
    if os.environ.get("KILL_AT") == str(trainer_state.global_step):
        os.kill(os.getpid(), signal.SIGKILL)
    return even_rows(completions, id)
