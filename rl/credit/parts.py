"""Rewards for parts of a completion, credited to the tokens of those parts and to no others.

A reward for a whole completion moves all its tokens alike. In a chain of 230 tokens of which thirty
decide, the other two hundred bring noise only, and each of the thirty is judged by what the others
made of the answer. Where parts can be judged by themselves (is this score the one that follows from
what the chain has said?), each is judged against the same part of the group's other completions:

    advantage of a token = advantage of its completion
                           + weight * (r - mean(r)) / (std(r) + 1e-4)    of the part that it writes

with mean and standard deviation over the completions of the group in which the part was judged.

Source: process supervision of DeepSeekMath (arXiv 2402.03300, section 4.1.3), which standardizes
over all steps of the group's completions and credits a token with every step that ends behind it.
Here parts are told apart by name and a token has the credit of its own part alone: a score is not
to be made right by what was written before it.

A function that judges parts is given by its address, as rewards are, such as
`rewards.preference:preference_parts`:

    def parts(completions: list[str], *, task, ..., **_) -> list[list[tuple[str, int, int, float]]]

B completions and columns of the rows; for each completion its parts: name, first character, the one
behind its last, reward.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Sequence

import torch

from rl.credit.advantages import EPSILON

Part = tuple[str, int, int, float]
"""Name, first character, the one behind its last, reward."""


def part_advantages(rewards: Sequence[dict[str, float]], group: int) -> list[dict[str, float]]:
    """The advantage of each part among the same parts of its group's completions.

    Args:
        rewards: N = groups x G, in global order: name of a part -> its reward.
        group: G.

    Returns:
        N mappings of the same names; 0 where no other completion of the group has the part.
    """
    found: list[dict[str, float]] = [{} for _ in rewards]
    for start in range(0, len(rewards), group):
        values: dict[str, list[float]] = defaultdict(list)
        rows = range(start, start + group)
        for i in rows:
            for name, reward in rewards[i].items():
                values[name].append(reward)
        for name, given in values.items():
            x = torch.tensor(given)
            std = x.std() if len(given) > 1 else 0.0
            centered = iter(((x - x.mean()) / (std + EPSILON)).tolist())
            for i in rows:
                if name in rewards[i]:
                    found[i][name] = next(centered)
    return found


def by_part(
    parts: Sequence[Sequence[Part]],
    advantages: Sequence[dict[str, float]],
    ends: Sequence[Sequence[int]],
    width: int,
) -> torch.Tensor:
    """(B, width) what each token is credited with for the part that it writes.

    A token that writes something of a part belongs to it; one that writes something of two, as of a
    score and the comma behind it, to either.

    Args:
        parts: of B completions.
        advantages: B mappings of the parts' names.
        ends: B lists: where in the text each token ends.
    """
    credit = torch.zeros(len(parts), width)
    for i, (each, given, stops) in enumerate(zip(parts, advantages, ends, strict=True)):
        for name, begin, end, _ in each:
            # From the first token that ends behind the part's beginning to the one that ends it.
            credit[i, bisect_right(stops, begin) : bisect_left(stops, end) + 1] += given[name]
    return credit


def judged(
    function: Callable, rows: Sequence[dict], columns: Sequence[str], texts: Sequence[str]
) -> list[list[Part]]:
    """What a function says of the parts of a batch.

    Args:
        columns: those of the rows that it asks for.
        texts: B completions.

    Raises:
        ValueError: it returns another number of lists, two parts of one name, or a part that is
            not inside its text.
    """
    found = function(list(texts), **{name: [row[name] for row in rows] for name in columns})
    if len(found) != len(texts):
        raise ValueError(f"asked for the parts of {len(texts)} completions, got {len(found)} lists")
    for text, parts in zip(texts, found, strict=True):
        names = [name for name, *_ in parts]
        if len(set(names)) < len(names):
            raise ValueError(f"two parts of a completion have one name: {sorted(names)}")
        for name, start, end, _ in parts:
            if not 0 <= start < end <= len(text):
                raise ValueError(
                    f"part {name!r} is at {start}-{end} of a completion of {len(text)} characters"
                )
    return [list(parts) for parts in found]
