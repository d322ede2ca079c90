"""From what a model wrote to what it answered: its text, a yes or no, a box.

Every parser takes any string, takes time linear in its length, and returns None where there is no
single clear answer. None of them raises.
"""

from __future__ import annotations

import re

from rewards.unicode_text import normalise

_YES_NO = re.compile(r"(?<!\w)(?<!\w-)(yes|no)(?!\w|[-']\w)")
_HEDGE = re.compile(
    r"\b(?:maybe|perhaps|possibly|probably|presumably|(?:un)?likely|might|may be|could be|unsure"
    r"|uncertain|unclear|depends|no idea|no way to|(?:i|we) (?:guess|think)"
    r"|not (?:(?:entirely|quite|fully|completely|absolutely) )?(?:sure|certain|clear)"
    r"|(?:can ?not|can't|do not|don't|hard to|difficult to|impossible to) (?:really )?"
    r"(?:be )?(?:tell|say|know|determined?|judged?))\b"
    r"|(?:\bnot|\bnever|n't) (?:an? )?[\"']?(?:yes|no)\b|\b(?:yes|no)[\"']? ?\?"
)
_INNERMOST_LIST = re.compile(r"[\[(]([^\[\]()]*)[\])]")
_NUMBER = re.compile(
    r"\s*([+-]?(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[+-]?[0-9]+)?|nan|inf(?:inity)?))\s*", re.I
)


def completion_text(completion: str | list[dict]) -> str:
    """What the model wrote, from either form in which TRL hands completions over.

    Args:
        completion: a string, or a conversation: messages `{"role", "content"}` whose content is a
            string or a list of parts. Messages of other roles (tool results) are not the model's.

    Returns:
        The text; "" where there is none, such as a message that holds only a tool call.
    """
    if isinstance(completion, str):
        return completion
    return _messages_text(m for m in completion if m.get("role", "assistant") == "assistant")


def prompt_text(prompt: str | list[dict]) -> str:
    """All text of a prompt, whoever speaks it; image placeholders are left out.

    Args:
        prompt: a string or a conversation, as in `completion_text`.

    Returns:
        The texts of all parts, in reading order, joined by newlines.
    """
    return prompt if isinstance(prompt, str) else _messages_text(prompt)


def yes_or_no(text: str) -> str | None:
    """The one answer in a text, or None.

    Whole words only, in any case: the `no` in "know" and in "no-one" is none. Said twice is said;
    both, neither, a negated or questioned answer ("not yes", "yes?") and a hedged one ("probably
    yes", "no idea", "cannot tell") are None.

    Args:
        text: any string.

    Returns:
        "yes", "no" or None.
    """
    said = " ".join(normalise(text).casefold().split())
    answers = set(_YES_NO.findall(said))
    return answers.pop() if len(answers) == 1 and not _HEDGE.search(said) else None


def one_box(text: str) -> tuple[float, float, float, float] | None:
    """The one box in a text, or None.

    A box is a list of exactly four numbers in square or round brackets, alone, as the value of a
    JSON key such as `bbox_2d`, or amid prose. Two such lists, even equal ones, are no answer. Lists
    of other lengths are not boxes and are passed over.

    Args:
        text: any string.

    Returns:
        Four floats as written, in the writer's own units; they may be non-finite, degenerate or out
        of frame, which is for the caller to judge. None if there is no box or more than one.
    """
    boxes = []
    for match in _INNERMOST_LIST.finditer(text):
        numbers = [_NUMBER.fullmatch(part) for part in match[1].split(",", 4)]
        if len(numbers) == 4 and all(numbers):
            boxes.append(tuple(float(number[1]) for number in numbers))
            if len(boxes) > 1:
                return None
    return boxes[0] if boxes else None


def _messages_text(messages) -> str:
    texts = []
    for message in messages:
        content = message.get("content")
        if isinstance(content, str):
            texts.append(content)
        elif isinstance(content, list):
            # Arrow fills every part with every key, so an image part has a text that is None.
            texts += [part["text"] for part in content if isinstance(part.get("text"), str)]
    return "\n".join(texts)
