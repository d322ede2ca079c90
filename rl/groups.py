"""Which rows of a micro-batch are a group, how large a packed row may be, and whether it pays."""

from dataclasses import dataclass

import torch

OVERHEAD = 370.0
"""What a pass costs before its first token, in tokens; fitted by ``launch/bench.py``."""

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


def packed_cost(groups: list[list[int]], prompt: int, completion: int, prices: Prices) -> float:
    """Of one packed row per group, in tokens."""
    prefix, branches, width = prompt - 1, max(map(len, groups)), completion + 1
    pairs = prefix**2 / 2 + branches * width * (prefix + width)
    return len(groups) * (prefix + branches * width + prices.pair * pairs
                          + prices.scored * branches * completion)


def predicted_share(groups: list[list[int]], prompt: int, completion: int,
                    prices: Prices) -> float:
    """Predicted time of the packed rows over that of the unshared ones."""
    rows = sum(map(len, groups))
    return ((OVERHEAD + packed_cost(groups, prompt, completion, prices))
            / (OVERHEAD + unshared_cost(rows, prompt, completion, prices)))
