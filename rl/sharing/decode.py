"""Drawing token by token from one copy of each prompt's keys and values.

A usual cache holds the prompt once per completion, and every token drawn reads and copies it all
again. Here a group's completions read the same copy, and each keeps only what it has drawn itself;
attention to the prompt and attention to one's own tokens are computed apart and put together by
their sums of exponentials, which is exact (2205.14135, section 3.1). Memory and traffic of prompts
fall by the size of the group.
"""

from dataclasses import dataclass

import torch
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

FIRST_ROOM = 16
"""Tokens for which a branch first makes room; then for twice as many, and so on."""


@dataclass
class Rows:
    """Which of N prompts each of B rows goes on from; rows of a prompt are neighbours.

    Shapes:
        group: (B,) number of the prompt.
        slots: (N, G) the rows of each prompt, any row where a prompt has fewer than G.
        place: (B,) where in ``slots`` each row stands; ``None`` where that is in order.
    """

    group: torch.Tensor
    slots: torch.Tensor
    place: torch.Tensor | None

    @classmethod
    def of(cls, group: torch.Tensor) -> "Rows":
        """From (B,) numbers 0 ... N - 1, none left out, each in one run."""
        counts = group.bincount()
        G, B = int(counts.max()), group.numel()
        rows = torch.arange(B, device=group.device)
        place = group * G + rows - (counts.cumsum(0) - counts)[group]
        slots = rows.new_zeros(counts.numel() * G).index_copy(0, place, rows)
        return cls(group, slots.view(-1, G), None if slots.numel() == B else place)


@dataclass
class PromptPart:
    """What the rows of a layer attend to beside their own tokens.

    Shapes: ``keys``, ``values``: (N, K, P, D); ``hidden``: (N, 1, 1, P) where a prompt is padded,
    or ``None``.
    """

    keys: torch.Tensor
    values: torch.Tensor
    hidden: torch.Tensor | None
    rows: Rows


class BranchLayer(DynamicLayer):
    """A layer's cache: prompts once, and what each row has drawn."""

    def __init__(self, prompt: PromptPart):
        super().__init__()
        self.prompt, self.drawn = prompt, 0

    def update(self, key_states, value_states, *args, **kwargs):
        """The rows' own keys and values, (B, K, W, D); the keys carry the prompts' part along."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = key_states[:, :, :0], value_states[:, :, :0]
        end = self.drawn + key_states.size(-2)
        if end > self.keys.size(-2):
            room = max(FIRST_ROOM, 2 * end)
            self.keys, self.values = (self._roomier(x, room) for x in (self.keys, self.values))
        self.keys[:, :, self.drawn : end] = key_states
        self.values[:, :, self.drawn : end] = value_states
        self.drawn = end
        keys = self.keys[:, :, :end]
        keys.prompt = self.prompt
        return keys, self.values[:, :, :end]

    def _roomier(self, old: torch.Tensor, room: int) -> torch.Tensor:
        B, K, _, D = old.shape
        new = old.new_empty(B, K, room, D)
        new[:, :, : self.drawn] = old[:, :, : self.drawn]
        return new

    def get_seq_length(self) -> int:
        """Tokens behind each row, those of its prompt and padding included."""
        return self.prompt.keys.size(-2) + self.drawn

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep these rows; the prompts' part is changed by the whole cache."""
        if self.is_initialized:
            self.keys, self.values = self.keys[indices], self.values[indices]


class SharedPromptCache(Cache):
    """A cache for :func:`attention`, made from that of a prefill.

    Args:
        prefilled: keys and values of N prompts' tokens, padded left.
        mask: (N, P) which of them are none.
        group: (B,) whose prompt each row goes on from, neighbours together.
    """

    def __init__(self, prefilled: DynamicCache, mask: torch.Tensor, group: torch.Tensor):
        hidden = None if mask.all() else ~mask.bool()[:, None, None]
        rows = Rows.of(group)
        super().__init__(layers=[
            BranchLayer(PromptPart(layer.keys, layer.values, hidden, rows))
            for layer in prefilled.layers])

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep these rows, in this order, and the prompts that they need."""
        super().batch_select_indices(indices)
        first = self.layers[0].prompt
        needed, group = first.rows.group[indices].unique_consecutive(return_inverse=True)
        rows, all_needed = Rows.of(group), needed.numel() == first.keys.size(0)
        hidden = first.hidden if first.hidden is None or all_needed else first.hidden[needed]
        for layer in self.layers:
            keys, values = layer.prompt.keys, layer.prompt.values
            if not all_needed:
                keys, values = keys[needed], values[needed]
            layer.prompt = PromptPart(keys, values, hidden, rows)


def attention(query, key, value, scaling: float, prompt: PromptPart) -> torch.Tensor:
    """Attention of one new token per row to its prompt and to its own tokens.

    Args:
        query: (B, H, 1, D). key, value: (B, K, W, D), K dividing H.

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
    shared = _part(grouped, prompt.keys, prompt.values, scaling, prompt.hidden)
    shared = (x.view(N, K, G, H // K, -1).transpose(1, 2).reshape(N * G, K, H // K, -1)
              for x in shared)
    top, total, mean = shared if place is None else (x[place] for x in shared)
    own_top, own_total, own_mean = _part(query, key, value, scaling)
    most = torch.maximum(top, own_top)
    weight, own_weight = (top - most).exp(), (own_top - most).exp()
    sums = mean * weight + own_mean * own_weight
    return (sums / (total * weight + own_total * own_weight)).to(value.dtype).reshape(B, 1, H, D)


def _part(query, key, value, scaling: float, hidden=None):
    """Attention before it is divided: largest score, sum of exponentials, weighted values."""
    scores = (query @ key.transpose(-1, -2)).float() * scaling
    if hidden is not None:
        scores = scores.masked_fill(hidden, torch.finfo(scores.dtype).min)
    top = scores.amax(-1, keepdim=True)
    weights = (scores - top).exp()
    return top, weights.sum(-1, keepdim=True), (weights.to(value.dtype) @ value).float()
