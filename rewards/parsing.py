"""Parsers of completions: the text, a yes or no, a box.

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
    """The text that the model wrote, from either form in which TRL passes completions.

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
    """All text of a prompt, of all roles, without image placeholders.

    Args:
        prompt: a string or a conversation, as in `completion_text`.

    Returns:
        The texts of all parts, in reading order, joined by newlines.
    """
    return prompt if isinstance(prompt, str) else _messages_text(prompt)


def yes_or_no(text: str) -> str | None:
    """The single yes or no in a text, or None.

    Only whole words count, in any case: not the `no` in "know" or in "no-one". An answer may be
    repeated. Both words, neither, a negated or questioned answer ("not yes", "yes?") and a hedged
    one ("probably yes", "no idea", "cannot tell") are None.

    Args:
        text: any string.

    Returns:
        "yes", "no" or None.
    """
    said = " ".join(normalise(text).casefold().split())
    answers = set(_YES_NO.findall(said))
    return answers.pop() if len(answers) == 1 and not _HEDGE.search(said) else None


def one_box(text: str) -> tuple[float, float, float, float] | None:
    """The single box in a text, or None.

    A box is a list of exactly four numbers in square or round brackets, alone, as the value of a
    JSON key such as `bbox_2d`, or amid prose. Two such lists, even equal ones, give None. Lists of
    other lengths are ignored.

    Args:
        text: any string.

    Returns:
        Four floats as written, in the model's own units; the caller checks whether they are finite,
        inside the frame and have an area. None if there is no box or more than one.
    """
    boxes = []
    for match in _INNERMOST_LIST.finditer(text):
        numbers = [_NUMBER.fullmatch(part) for part in match[1].split(",", 4)]
        corners = tuple(float(number[1]) for number in numbers if number)
        if len(numbers) == len(corners) == 4:
            boxes.append(corners)
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
