"""Decoding token by token from one copy of each prompt's keys and values.

A usual cache holds the prompt once per completion, and reads and copies all of it for every sampled
token. Here the completions of a group read the same copy, and each stores only its own tokens.
Attention to the prompt and attention to a completion's own tokens are computed separately and
combined by their sums of exponentials, which is exact (FlashAttention, arXiv 2205.14135, section
3.1). Memory and memory traffic of prompts fall by a factor of the group size.
"""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

from rl.sharing.attention import Call, bias_of, kernel_differs

FIRST_ROOM = 16
"""Tokens for which a branch first allocates memory; full memory is replaced by twice as much."""


@dataclass
class Rows:
    """Which of N prompts each of B rows continues; rows of one prompt are neighbours.

    Shapes:
        group: (B,) number of the prompt.
        slots: (N, G) the rows of each prompt; arbitrary rows where a prompt has fewer than G.
        place: (B,) index of each row in the flattened ``slots``; ``None`` where it is 0 ... B - 1.
    """

    group: torch.Tensor
    slots: torch.Tensor
    place: torch.Tensor | None

    @classmethod
    def of(cls, group: torch.Tensor) -> "Rows":
        """From (B,) prompt numbers 0 ... N - 1, in ascending order, each at least once."""
        counts = group.bincount()
        G, B = int(counts.max()), group.numel()
        rows = torch.arange(B, device=group.device)
        place = group * G + rows - (counts.cumsum(0) - counts)[group]
        slots = rows.new_zeros(counts.numel() * G).index_copy(0, place, rows)
        return cls(group, slots.view(-1, G), None if slots.numel() == B else place)


@dataclass
class PromptPart:
    """The prompts' keys and values of one layer, to which rows attend beside their own tokens.

    Shapes: ``keys``, ``values``: (N, K, P, D); ``bias``: (N, 1, 1, P), added to scores, or ``None``
    where there is no padding.
    """

    keys: torch.Tensor
    values: torch.Tensor
    bias: torch.Tensor | None
    rows: Rows


class BranchLayer(DynamicLayer):
    """A layer's cache: each prompt once, and the tokens that each row has sampled."""

    def __init__(self, prompt: PromptPart):
        super().__init__()
        self.prompt, self.sampled = prompt, 0

    def update(self, key_states, value_states, *args, **kwargs):
        """The rows' own keys and values, (B, K, W, D). The keys carry the prompts' part as an
        attribute, for :func:`rl.sharing.packed.use_shared_attention`."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = key_states[:, :, :0], value_states[:, :, :0]
        assert self.keys is not None and self.values is not None
        end = self.sampled + key_states.size(-2)
        if end > self.keys.size(-2):
            room = max(FIRST_ROOM, 2 * end)
            self.keys = self._roomier(self.keys, room)
            self.values = self._roomier(self.values, room)
        self.keys[:, :, self.sampled : end] = key_states
        self.values[:, :, self.sampled : end] = value_states
        self.sampled = end
        keys: Any = self.keys[:, :, :end]
        keys.prompt = self.prompt
        return keys, self.values[:, :, :end]

    def _roomier(self, old: torch.Tensor, room: int) -> torch.Tensor:
        B, K, _, D = old.shape
        new = old.new_empty(B, K, room, D)
        new[:, :, : self.sampled] = old[:, :, : self.sampled]
        return new

    def get_seq_length(self) -> int:
        """Tokens of each row, those of its prompt and padding included."""
        return self.prompt.keys.size(-2) + self.sampled

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep these rows; :class:`SharedPromptCache` updates the prompts' part."""
        if self.keys is not None and self.values is not None:
            self.keys, self.values = self.keys[indices], self.values[indices]


class SharedPromptCache(Cache):
    """A cache for :func:`attention`, made from that of a prefill.

    Args:
        prefilled: keys and values of N prompts' tokens, padded on the left.
        mask: (N, P), 0 in padding.
        group: (B,) number of the prompt that each row continues, in ascending order.
    """

    def __init__(self, prefilled: DynamicCache, mask: torch.Tensor, group: torch.Tensor):
        rows = Rows.of(group)
        prefilled_layers: list[Any] = [*prefilled.layers]
        dtype = prefilled_layers[0].keys.dtype
        bias = None if mask.all() else bias_of(mask.bool()[:, None, None], dtype)
        self.branches = [
            BranchLayer(PromptPart(layer.keys, layer.values, bias, rows))
            for layer in prefilled_layers
        ]
        super().__init__(layers=[*self.branches])

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep these rows, in this order, and the prompts that they continue."""
        super().batch_select_indices(indices)
        first = self.branches[0].prompt
        needed, group = first.rows.group[indices].unique_consecutive(return_inverse=True)
        rows, all_needed = Rows.of(group), needed.numel() == first.keys.size(0)
        bias = first.bias if first.bias is None or all_needed else first.bias[needed]
        for layer in self.branches:
            keys, values = layer.prompt.keys, layer.prompt.values
            if not all_needed:
                keys, values = keys[needed], values[needed]
            layer.prompt = PromptPart(keys, values, bias, rows)


def attention(query, key, value, scaling: float, prompt: PromptPart) -> torch.Tensor:
    """Attention of one new token per row to its prompt and to its own tokens.

    Args:
        query: (B, H, 1, D).
        key, value: (B, K, W, D) of each row's own tokens; K divides H.
        scaling: factor of the dot products.
        prompt: keys and values of the prompts.

    Returns:
        (B, 1, H, D).
    """
    (B, H, _, D), K = query.shape, key.size(1)
    N, G = prompt.rows.slots.shape
    query = query.view(B, K, H // K, D)
    place = prompt.rows.place
    # Rows of one prompt side by side: its keys are read once for all of them.
    grouped = query if place is None else query[prompt.rows.slots.view(-1)]
    grouped = grouped.view(N, G, K, -1, D).transpose(1, 2).reshape(N, K, -1, D)
    shared = _part(grouped, prompt.keys, prompt.values, scaling, prompt.bias)
    values, total = (
        x.unflatten(2, (G, -1)).transpose(1, 2).flatten(0, 1) for x in shared
    )  # (N G, K, H / K, ...)
    if place is not None:
        values, total = values[place], total[place]
    own, own_total = _part(query, key, value, scaling)
    share = torch.sigmoid(total - own_total)[..., None]
    return (own + share * (values - own)).to(value.dtype).reshape(B, 1, H, D)


def _part(query, key, value, scaling: float, bias=None) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention to some of the keys: (B, K, M, D) values, and the logarithms of their sums of
    exponentials, (B, K, M)."""
    if not kernel_differs(value.device, value.dtype, value.size(-1)):
        return Call(query.to(value.dtype), key.to(value.dtype), value, scaling, bias).forward()
    scores = (query @ key.transpose(-1, -2)).float() * scaling
    if bias is not None:
        scores = scores + bias
    total = scores.logsumexp(-1, keepdim=True)
    return (scores - total).exp().to(value.dtype) @ value, total[..., 0]
