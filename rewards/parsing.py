"""Parsers of completions: the text, the answer in it, a yes or no, a box.

Every parser takes any string, takes time linear in its length, and returns None where there is no
single clear answer. None of them raises.

Which part of a text is the answer, or the caption, is decided by `answer_part` alone: what a model
writes while it reasons earns and costs nothing, in rewards and benchmarks of every task. For
answers and boxes it is a setting, `answer_format`; captions are read as "auto" (`caption_text`).
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
_TAG = re.compile(r"<(/?)(think|answer)>", re.I)
# Models that write Chinese put these between the numbers of a box, and digits of full width.
_WIDE = str.maketrans("，、（）［］【】．－＋０１２３４５６７８９", ",,()[][].-+0123456789")
_INNERMOST_LIST = re.compile(r"[\[(]([^\[\]()]*)[\])]")
_POINT = re.compile(r"\([^()]{1,80}\)")
_BETWEEN_POINTS = re.compile(r"\s{0,8},?\s{0,8}")
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


ANSWER_FORMATS = ("auto", "plain", "tagged")


def check_answer_format(answer_format: str) -> None:
    """Refuse a setting that is none of `ANSWER_FORMATS`.

    Raises:
        ValueError: with those that there are.
    """
    if answer_format not in ANSWER_FORMATS:
        raise ValueError(
            f"answer_format is {answer_format!r}; it must be one of {', '.join(ANSWER_FORMATS)}"
        )


def answer_part(text: str, answer_format: str = "auto") -> str:
    """The part of a text that is the answer.

    Args:
        text: any string.
        answer_format: "plain": all of it. "auto": what comes after reasoning in
            `<think>...</think>`, without the tags of one `<answer>...</answer>`; text outside of
            these tags still counts, so that a second answer there makes two. "tagged": the same,
            but only where there are such answer tags.

    Returns:
        The answer; "" where the tags do not leave one: reasoning that never ends or comes after
        something else, two blocks of reasoning or of answers, tags that cross.
    """
    return " ".join(text[start:end] for start, end in _answer_spans(text, answer_format))


def caption_text(completion: str | list[dict]) -> str:
    """The caption that the model wrote: its text after reasoning, see `answer_part`.

    Args:
        completion: as in `completion_text`.
    """
    return answer_part(completion_text(completion))


def answer_in_place(text: str) -> str:
    """A text of the same length with spaces for all that is not its answer (`answer_part`), so that
    what is found in it has its place in the text."""
    spans = _answer_spans(text, "auto")
    if spans == [(0, len(text))]:
        return text
    kept, end = [], 0
    for start, to in spans:
        kept += [" " * (start - end), text[start:to]]
        end = to
    return "".join(kept) + " " * (len(text) - end)


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


def one_box(text: str) -> tuple[float, ...] | None:
    """The single box in a text, or None.

    A box is a list of exactly four numbers in square or round brackets, alone, as the value of a
    JSON key such as `bbox_2d`, or amid prose; or two points in round brackets, `(x, y), (x, y)`, as
    Qwen2-VL writes it between `<|box_start|>` and `<|box_end|>`. Commas, brackets and digits may be
    of full width. Two boxes, even equal ones, give None. Lists of other lengths, single points and
    three points in a row are ignored; four points in a row are two boxes.

    Args:
        text: any string.

    Returns:
        Four floats as written, in the model's own units; the caller checks whether they are finite,
        inside the frame and have an area. None if there is no box or more than one.
    """
    text = text.translate(_WIDE)
    boxes = []
    for match in _INNERMOST_LIST.finditer(text):
        numbers = _numbers(match[1], 4)
        if numbers:
            boxes.append(numbers)
            if len(boxes) > 1:
                return None
    boxes += _boxes_of_points(text)
    return boxes[0] if len(boxes) == 1 else None


def _numbers(text: str, n: int) -> tuple[float, ...] | None:
    """The `n` numbers that a text holds between commas, and nothing else; or None."""
    found = [_NUMBER.fullmatch(part) for part in text.split(",", n)]
    values = tuple(float(number[1]) for number in found if number)
    return values if len(found) == len(values) == n else None


def _boxes_of_points(text: str) -> list[tuple[float, ...]]:
    """The boxes that runs of two, four, ... points make."""
    boxes, run, end = [], [], -1
    for match in _POINT.finditer(text):
        point = _numbers(match[0][1:-1], 2)
        if run and (point is None or not _BETWEEN_POINTS.fullmatch(text, end, match.start())):
            boxes += _paired(run)
            run = []
        if point is not None:
            run.append(point)
            end = match.end()
    return boxes + _paired(run)


def _paired(run: list[tuple[float, ...]]) -> list[tuple[float, ...]]:
    if len(run) % 2:
        return []
    return [a + b for a, b in zip(run[::2], run[1::2], strict=True)]


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


def _answer_spans(text: str, answer_format: str) -> list[tuple[int, int]]:
    """Where the answer stands in a text; see `answer_part`."""
    if answer_format == "plain":
        return [(0, len(text))]
    tags = [(m[1] + m[2].lower(), m.start(), m.end()) for m in _TAG.finditer(text)]
    kinds = [kind for kind, _, _ in tags]
    start = 0
    if "think" in kinds or "/think" in kinds:
        # A chat template may have opened the reasoning, so that only its end is written.
        opened = kinds[:1] == ["think"] and not text[: tags[0][1]].strip()
        close = 1 if opened else 0
        if kinds[close : close + 1] != ["/think"]:
            return []
        start = tags[close][2]
        tags, kinds = tags[close + 1 :], kinds[close + 1 :]
    if not kinds:
        return [(start, len(text))] if answer_format == "auto" else []
    if kinds != ["answer", "/answer"]:
        return []
    (_, before, inner), (_, end, after) = tags
    return [(start, before), (inner, end), (after, len(text))]
