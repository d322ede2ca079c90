"""Which rows of a micro-batch form a group, which groups share a forward pass, and whether it pays.

Costs are counted in tokens: the work of one token in the linear layers of the decoder is 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

OVERHEAD = 150.0
"""Fixed cost of a forward pass, in tokens: measured by ``byname bench_step`` on one thread."""

ATTENTION = 1.0
"""How many times dearer a multiplication of attention is than one of the linear layers: measured in
the same way."""

MAX_COST_RATIO = 0.9
"""Prompts are shared where the predicted cost is at most this part of the unshared cost."""


def groups_of(prompt_ids, prompt_mask, images: list) -> list[list[int]]:
    """Neighbouring rows with the same prompt and the same images.

    Args:
        prompt_ids, prompt_mask: (B, P).
        images: per row, something comparable by ``==`` that identifies its images.
    """
    groups: list[list[int]] = []
    for row in range(prompt_ids.size(0)):
        last = groups[-1][-1] if groups else None
        same = (
            last is not None
            and images[row] == images[last]
            and torch.equal(prompt_ids[row], prompt_ids[last])
            and torch.equal(prompt_mask[row], prompt_mask[last])
        )
        groups[-1].append(row) if same else groups.append([row])
    return groups


def split_groups(groups: list[list[int]], prompt: int, width: int, most: int) -> list[list[int]]:
    """Split groups so that no packed row has more than ``most`` tokens (one branch at least)."""
    room = max((most - prompt) // width, 1)
    return [group[i : i + room] for group in groups for i in range(0, len(group), room)]


@dataclass(frozen=True)
class Prices:
    """Relative cost of attention and of the LM head, per token.

    The unit is the work of one token in the decoder's linear layers.

    Args:
        pair: cost of attention per pair of a query and a key that it attends to.
        scored: cost of the LM head per token at which it is applied.
    """

    pair: float
    scored: float


def prices_of(config, attention: float | None = None) -> Prices:
    """The :class:`Prices` of a model, from the shapes in its config.

    Args:
        attention: in place of :data:`ATTENTION`; 1 counts multiplications.
    """
    text, token = config.get_text_config(), token_work(config)
    dearer = ATTENTION if attention is None else attention
    return Prices(
        pair=dearer * 2 * text.num_hidden_layers * _width(text) / token,
        scored=text.hidden_size * text.vocab_size / token,
    )


def token_work(config) -> float:
    """Multiplications of one token in the decoder's linear layers, forward."""
    text = config.get_text_config()
    kept = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    attention = 2 * _width(text) * text.hidden_size * (1 + kept / text.num_attention_heads)
    return text.num_hidden_layers * (attention + 3 * text.hidden_size * text.intermediate_size)


def _width(text) -> int:
    heads = text.num_attention_heads
    return heads * (getattr(text, "head_dim", None) or text.hidden_size // heads)


def unshared_cost(rows: int, prompt: int, completion: int, prices: Prices) -> float:
    """Cost of ``rows`` sequences of P + C tokens, in tokens."""
    length = prompt + completion
    return rows * (length + prices.pair * length**2 / 2 + prices.scored * completion)


def packed_cost(n: int, branches: int, prompt: int, completion: int, prices: Prices) -> float:
    """Cost of ``n`` packed rows with ``branches`` completions each, in tokens."""
    prefix, width = prompt - 1, completion + 1
    pairs = prefix**2 / 2 + branches * width * (prefix + width / 2)
    return n * (
        prefix + branches * width + prices.pair * pairs + prices.scored * branches * completion
    )


@dataclass(frozen=True)
class ForwardPass:
    """Groups that go through the model together, cut to their longest prompt and completion."""

    groups: list[list[int]]
    prompt: int
    completion: int

    def cost(self, prices: Prices) -> float:
        """Cost of the pass in tokens, its fixed part included."""
        return OVERHEAD + packed_cost(
            len(self.groups), max(map(len, self.groups)), self.prompt, self.completion, prices
        )


def plan_passes(
    groups: list[list[int]],
    prompts: Sequence[int],
    completions: Sequence[int],
    rows: int,
    prices: Prices,
    *,
    even: bool = False,
) -> list[ForwardPass]:
    """The cheapest forward passes for these groups; groups of similar length share a pass.

    Args:
        groups: lists of rows that share a prompt.
        prompts, completions: tokens of each group's prompt and of its longest completion.
        rows: completions in one pass, at most (a larger group is a pass of its own).
        even: form passes by number of rows alone, so that processes which must make equal numbers
            of passes do.
    """
    order = list(range(len(groups)))
    if not even:
        order.sort(key=lambda n: (completions[n], prompts[n]))
    # best[k]: the least cost of the first k groups, and where their last pass begins.
    best = [(0.0, 0)]
    for end in range(1, len(order) + 1):
        options, held, prompt, completion, branches = [], 0, 0, 0, 0
        for begin in range(end - 1, -1, -1):
            n = order[begin]
            held += len(groups[n])
            if held > rows and begin < end - 1:
                break
            prompt, completion = max(prompt, prompts[n]), max(completion, completions[n])
            branches = max(branches, len(groups[n]))
            cost = packed_cost(end - begin, branches, prompt, completion, prices)
            options.append((best[begin][0] + OVERHEAD + cost, begin))
        best.append(options[-1] if even else min(options))
    passes, end = [], len(order)
    while end:
        begin = best[end][1]
        part = order[begin:end]
        passes.append(
            ForwardPass(
                [groups[n] for n in part],
                max(prompts[n] for n in part),
                max(completions[n] for n in part),
            )
        )
        end = begin
    return passes[::-1]


def predicted_ratio(
    passes: list[ForwardPass], prompt: int, completion: int, prices: Prices
) -> float:
    """Predicted cost of these passes over that of the same rows unshared, B x (P + C)."""
    rows = sum(len(group) for each in passes for group in each.groups)
    return sum(each.cost(prices) for each in passes) / (
        OVERHEAD + unshared_cost(rows, prompt, completion, prices)
    )
