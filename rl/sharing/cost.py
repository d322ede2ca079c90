"""Which rows of a micro-batch are a group, how large a packed row may be, and whether it pays."""

from dataclasses import dataclass

import torch

OVERHEAD = 50.0
"""What a pass costs before its first token, in tokens: from ``launch/bench_step.py``, one thread."""

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


@dataclass(frozen=True)
class Prices:
    """What else a pass does, in multiplications of one token through the decoder's layers.

    Args:
        pair: of a query with a key it sees.
        scored: of a token whose successor is looked for in the whole vocabulary.
    """

    pair: float
    scored: float


def prices_of(config) -> Prices:
    """Prices of a model, from its config: how much of its work is attention, how much scoring."""
    text, token = config.get_text_config(), token_work(config)
    return Prices(pair=2 * text.num_hidden_layers * _width(text) / token,
                  scored=text.hidden_size * text.vocab_size / token)


def token_work(config) -> float:
    """Multiplications of one token forward through the decoder's layers, attention left out."""
    text = config.get_text_config()
    kept = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    attention = 2 * _width(text) * text.hidden_size * (1 + kept / text.num_attention_heads)
    return text.num_hidden_layers * (attention + 3 * text.hidden_size * text.intermediate_size)


def _width(text) -> int:
    heads = text.num_attention_heads
    return heads * (getattr(text, "head_dim", None) or text.hidden_size // heads)


def unshared_cost(rows: int, prompt: int, completion: int, prices: Prices) -> float:
    """Of ``rows`` sequences of P + C tokens, in tokens."""
    length = prompt + completion
    return rows * (length + prices.pair * length**2 / 2 + prices.scored * completion)


def packed_cost(n: int, branches: int, prompt: int, completion: int, prices: Prices) -> float:
    """Of ``n`` packed rows with ``branches`` completions each, in tokens."""
    prefix, width = prompt - 1, completion + 1
    pairs = prefix**2 / 2 + branches * width * (prefix + width)
    return n * (prefix + branches * width + prices.pair * pairs
                + prices.scored * branches * completion)


@dataclass(frozen=True)
class Chunk:
    """Groups that go through the model in one pass, cut to their longest prompt and completion."""

    groups: list[list[int]]
    prompt: int
    completion: int

    def cost(self, prices: Prices) -> float:
        """Of the pass, in tokens."""
        return OVERHEAD + packed_cost(
            len(self.groups), max(map(len, self.groups)), self.prompt, self.completion, prices)


def chunks_of(groups: list[list[int]], prompts: list[int], completions: list[int], rows: int,
              prices: Prices, *, even: bool = False) -> list[Chunk]:
    """The cheapest passes for these groups: those of like lengths together.

    Args:
        groups: rows that share a prompt.
        prompts, completions: tokens of each group's prompt and of its longest completion.
        rows: completions in one pass, at most (a larger group is a pass of its own).
        even: by number of rows alone, so that processes which must make equally many passes do.
    """
    order = list(range(len(groups)))
    if not even:
        order.sort(key=lambda n: (completions[n], prompts[n]))
    # best[k]: the least cost of the first k groups, and where their last chunk begins.
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
    chunks, end = [], len(order)
    while end:
        begin = best[end][1]
        part = order[begin:end]
        chunks.append(Chunk([groups[n] for n in part], max(prompts[n] for n in part),
                            max(completions[n] for n in part)))
        end = begin
    return chunks[::-1]


def predicted_share(chunks: list[Chunk], prompt: int, completion: int, prices: Prices) -> float:
    """Predicted time of the packed rows over that of the unshared ones, B x (P + C)."""
    rows = sum(len(group) for chunk in chunks for group in chunk.groups)
    return (sum(chunk.cost(prices) for chunk in chunks)
            / (OVERHEAD + unshared_cost(rows, prompt, completion, prices)))
