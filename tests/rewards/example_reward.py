"""A reward of one's own: captions that mention a colour."""

from rewards.parsing import completion_text

COLOURS = {"red", "green", "blue", "yellow", "black", "white"}


def mentions_colour(completions, *, task, **_):
    """1 for a caption with a colour in it, else 0; None for rows of other tasks."""
    words = [set(completion_text(completion).lower().split()) for completion in completions]
    return [
        float(bool(said & COLOURS)) if kind == "identity_consistency" else None
        for said, kind in zip(words, task, strict=True)
    ]
