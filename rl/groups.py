"""Which rows of a micro-batch are a group, how large a packed row may be, and whether it pays."""

import torch

OVERHEAD = 0.0
"""What a pass costs before its first token, in tokens; fitted by ``launch/bench.py``."""

PER_PAIR = 0.0
"""What a query costs for each key it sees, in tokens; fitted likewise."""

WORTH_IT = 0.9
"""Share where the predicted cost is at most this part of the unshared one."""


def groups_of(prompt_ids, prompt_mask, pictures: list) -> list[list[int]]:
    """Neighbouring rows with the same prompt and the same pictures.

    Args:
        prompt_ids, prompt_mask: (B, P).
        pictures: per row something comparable by ``==`` that identifies its pictures.
    """
    groups: list[list[int]] = []
    for row in range(prompt_ids.size(0)):
        last = groups[-1][-1] if groups else None
        same = (last is not None and pictures[row] == pictures[last]
                and torch.equal(prompt_ids[row], prompt_ids[last])
                and torch.equal(prompt_mask[row], prompt_mask[last]))
        groups[-1].append(row) if same else groups.append([row])
    return groups


def split(groups: list[list[int]], prompt: int, width: int, most: int) -> list[list[int]]:
    """Cut groups so that no packed row has more than ``most`` tokens (one branch at least)."""
    room = max((most - prompt) // width, 1)
    return [group[i : i + room] for group in groups for i in range(0, len(group), room)]


def unshared_cost(rows: int, prompt: int, completion: int) -> tuple[float, float]:
    """(tokens, query-key pairs) of ``rows`` sequences of P + C tokens."""
    length = prompt + completion
    return rows * length, rows * length**2 / 2


def packed_cost(groups: list[list[int]], prompt: int, completion: int) -> tuple[float, float]:
    """(tokens, query-key pairs) of one packed row per group."""
    prefix, branches, width = prompt - 1, max(map(len, groups)), completion + 1
    pairs = prefix**2 / 2 + branches * width * (prefix + width / 2)
    return len(groups) * (prefix + branches * width), len(groups) * pairs


def predicted_share(groups: list[list[int]], prompt: int, completion: int) -> float:
    """Predicted time of the packed rows over that of the unshared ones."""
    def time(tokens: float, pairs: float) -> float:
        return OVERHEAD + tokens + PER_PAIR * pairs

    return (time(*packed_cost(groups, prompt, completion))
            / time(*unshared_cost(sum(map(len, groups)), prompt, completion)))
