"""Penalties for repetition and copying, off by default: list them in a config to switch them on.

    repetition = −(1 − distinct n-grams / n-grams)             0: nothing is repeated
    copying    = −(n-grams that are in the prompt / n-grams)  −1: the caption repeats the prompt

Words are compared as `rewards.unicode_text.words` gives them. A caption shorter than one n-gram
gets 0.

Source: n-gram penalties are common in text generation; copying of the given information is a defect
that later work on personalised captioning reports for naming rewards.

Cheats refused: one name fifty times, one letter a hundred thousand times (repetition); the echo of
the prompt, and of its information text (copying). Not refused: copied text diluted by other text,
which lowers the share by as much as it adds.
"""

from __future__ import annotations

from rewards.parsing import caption_text, prompt_text
from rewards.unicode_text import words

TASK = "identity_consistency"


def repetition(completions, *, task, ngram: int = 4, **_) -> list[float | None]:
    """Penalty for repeated n-grams.

    Args:
        completions: B strings or conversations.
        task: B task names; rows other than captions get None.
        ngram: n, in words, at least 1.

    Returns:
        B penalties, each in −1…0, or None.

    Raises:
        ValueError: `ngram` is below 1.

    Source:
        The module's docstring.
    """
    _check(ngram)
    return [
        repeated(ngrams(caption_text(completion), ngram)) if row_task == TASK else None
        for completion, row_task in zip(completions, task, strict=True)
    ]


def copying(prompts, completions, *, task, ngram: int = 5, **_) -> list[float | None]:
    """Penalty for n-grams copied from the prompt.

    Args:
        prompts: B strings or conversations; all their text is compared, the information about the
            subjects included. A name alone is no copy, because n-grams are longer than names.
        completions: B strings or conversations.
        task: B task names; rows other than captions get None.
        ngram: n, in words, at least 1.

    Returns:
        B penalties, each in −1…0, or None.

    Raises:
        ValueError: `ngram` is below 1.

    Source:
        The module's docstring.
    """
    _check(ngram)
    return [
        _copied(ngrams(caption_text(completion), ngram), ngrams(prompt_text(prompt), ngram))
        if row_task == TASK
        else None
        for prompt, completion, row_task in zip(prompts, completions, task, strict=True)
    ]


def ngrams(text: str, n: int) -> list[tuple[str, ...]]:
    """All runs of n words of a text, in order."""
    said = words(text)
    return list(zip(*(said[start:] for start in range(n)), strict=False))


def repeated(grams: list) -> float:
    """The share that occurred before, as a penalty in −1…0; 0 of nothing."""
    return len(set(grams)) / len(grams) - 1.0 if grams else 0.0


def _copied(ngrams: list, given: list) -> float:
    known = set(given)
    return -sum(ngram in known for ngram in ngrams) / len(ngrams) if ngrams else 0.0


def _check(ngram: int) -> None:
    if ngram < 1:
        raise ValueError(f"ngram is {ngram!r}; it counts words and must be 1 or more")
