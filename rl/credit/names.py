"""Where a completion names somebody: the tokens that can begin a name, and those that wrote one."""

import re
from collections import defaultdict
from functools import cached_property

from data_gen.rows.contract import TRUTH
from rewards.names import find_names, name_key
from rewards.parsing import answer_in_place, answer_part

_TAG = re.compile(r"<[^<>]{1,80}>")


def asks_for_names(row: dict) -> bool:
    """Whether the truth of the row's task is which names are written."""
    truth = TRUTH.get(row["task"])
    return truth is not None and truth.column == "names"


def listed_names(row: dict) -> list[str]:
    """The names that the prompt gives: those expected and those whose concept is absent."""
    return [*(row["names"] or ()), *(row["absent_names"] or ())]


def is_silent(text: str, names: list[str]) -> bool:
    """Whether a caption writes neither a listed name nor an unlisted tag (:mod:`rewards.names`)."""
    found = find_names(answer_part(text), names)
    return not found.written and not found.unlisted


class NameTokens:
    """What a tokenizer's tokens have to do with names.

    Args:
        tokenizer: the policy's.
    """

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self._special = frozenset(tokenizer.all_special_ids)

    @cached_property
    def _texts(self) -> list[str]:
        """The text of each token alone; empty for special tokens, which no completion shows."""
        ids = [[i] for i in range(len(self.tokenizer))]
        texts = self.tokenizer.batch_decode(ids, skip_special_tokens=True)
        return ["" if i in self._special else text for i, text in enumerate(texts)]

    @cached_property
    def tags(self) -> frozenset[int]:
        """Tokens that open a tag: those whose text holds ``<``."""
        return frozenset(i for i, text in enumerate(self._texts) if "<" in text)

    @cached_property
    def _whole(self) -> dict[str, list[int]]:
        """Key of a text (:func:`rewards.names.name_key`) -> the tokens that are that text."""
        found = defaultdict(list)
        for i, text in enumerate(self._texts):
            found[name_key(text)].append(i)
        return found

    def openers(self, row: dict) -> frozenset[int]:
        """Tokens with which a completion of this row can begin a name: those that open a tag, and
        those that are a listed name by themselves. A bare name of several tokens is not among them:
        its first token begins many other words."""
        whole = (i for name in listed_names(row) for i in self._whole.get(name_key(name), ()))
        return self.tags.union(whole)

    def of_names(self, ids: list[int], names: list[str]) -> list[bool]:
        """Which tokens of a completion write names, brackets of tags included.

        Args:
            ids: T tokens.
            names: listed names; a bare one counts where :mod:`rewards.names` counts it.

        Returns:
            T flags; none is true if no name is written, or if none of those written can be found
            again (as it is spelt in other characters than those listed).
        """
        text, ends = self.text_and_ends(ids)
        text = answer_in_place(text)
        spans = [tag.span() for tag in _TAG.finditer(text)]
        for name in find_names(text, names).written:
            words = r"[\s_]+".join(re.escape(word) for word in re.split(r"[\s_]+", name.strip()))
            found = re.finditer(rf"(?<!\w){words}(?!\w)", text, re.IGNORECASE)
            spans += [match.span() for match in found]
        starts = [0, *ends[:-1]]
        return [
            any(start < to and begin < end for begin, to in spans)
            for start, end in zip(starts, ends, strict=True)
        ]

    def text_and_ends(self, ids: list[int]) -> tuple[str, list[int]]:
        """A completion's text, and where in it each of its tokens ends."""
        text, ends, end = self.tokenizer.decode(ids, skip_special_tokens=True), [], 0
        for i in ids:
            end += len(self._texts[i])
            ends.append(end)
        if "".join(self._texts[i] for i in ids) == text:
            return text, ends
        # A character of several tokens, or a tokenizer that joins tokens otherwise.
        parts = (ids[: n + 1] for n in range(len(ids)))
        return text, [len(self.tokenizer.decode(part, skip_special_tokens=True)) for part in parts]
