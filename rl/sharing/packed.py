"""The prompt once per group: log-probabilities of G completions from one packed row.

Stock trainers send [prompt | completion] through the model once per completion. Here a group is one
row, [prompt without its last token | last token, c1 | last token, c2 | ...]: linear layers process
the prompt once, and every branch attends to the prompt and to itself. Each branch begins with a
copy of the prompt's last token, so that its first prediction is made inside the branch and labels
are shifted by one throughout, as usual.

Attention is computed in parts (:mod:`rl.sharing.attention`), so no mask of size (P + G C)^2 exists
and no branch attends to another; the result is exact.

Not supported: decoders whose attention is not plain causal (sliding windows, linear attention,
bidirectional attention within images); :func:`unsupported_reason` names them.
"""

import sys
from dataclasses import dataclass
from inspect import signature

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from rl.sharing import decode
from rl.sharing.attention import Layout, packed_attention
from rl.sharing.dropout import active_dropouts

NAME = "shared_prompt"


@dataclass
class Packed:
    """A micro-batch of B completions as N packed rows.

    Shapes: ``input_ids``, ``labels``: (N, P + G W); ``position_ids``: (N, ...) or (3, N, ...);
    ``place``: (B, 2) packed row and branch of each completion, in the order of the groups.
    """

    input_ids: torch.Tensor
    labels: torch.Tensor
    position_ids: torch.Tensor
    layout: Layout
    place: torch.Tensor

    def unpack(self, per_token: torch.Tensor) -> torch.Tensor:
        """From (N, P + G W - 1) values of the shifted labels to (B, C), ordered as ``place``."""
        layout = self.layout
        branches = per_token[:, layout.prefix :].new_zeros(
            per_token.size(0), layout.branches * layout.width
        )
        # The value of label i is at i - 1; the last of a branch's W positions has no label.
        branches[:, :-1] = per_token[:, layout.prefix :]
        branches = branches.view(-1, layout.branches, layout.width)[..., :-1]
        return branches[self.place[:, 0], self.place[:, 1]]


def pack(
    input_ids,
    attention_mask,
    completion: int,
    groups: list[list[int]],
    prompt_positions: torch.Tensor,
) -> Packed:
    """Build the packed rows.

    Args:
        input_ids, attention_mask: (any, P + C), prompts padded left, completions right.
        completion: C.
        groups: lists of rows that share a prompt, B in all.
        prompt_positions: (N, P) or (3, N, P) positions of each group's prompt.
    """
    prompt = input_ids.size(1) - completion
    first = [group[0] for group in groups]
    G = max(map(len, groups))
    N, W = len(groups), completion + 1
    device = input_ids.device
    # A group with fewer completions repeats its first one; `place` leads to no repetition.
    rows = torch.tensor([group + [group[0]] * (G - len(group)) for group in groups], device=device)
    branch_ids = input_ids[rows][..., prompt - 1 :]  # (N, G, W)
    labels = branch_ids.masked_fill(attention_mask[rows][..., prompt - 1 :] == 0, -100)
    labels[..., 0] = -100
    spare = (
        torch.arange(G, device=device)
        >= torch.tensor(list(map(len, groups)), device=device)[:, None]
    )
    labels = labels.masked_fill(spare[..., None], -100)
    prefix = input_ids[first, : prompt - 1]
    steps = torch.arange(W, device=device).repeat(G)
    positions = torch.cat([prompt_positions[..., :-1], prompt_positions[..., -1:] + steps], dim=-1)
    place = torch.tensor(
        [(n, g) for n, group in enumerate(groups) for g in range(len(group))], device=device
    )
    prefix_mask = attention_mask[first, : prompt - 1].bool()
    return Packed(
        torch.cat([prefix, branch_ids.reshape(N, -1)], dim=1),
        torch.cat([torch.full_like(prefix, -100), labels.reshape(N, -1)], dim=1),
        positions,
        Layout(prefix_mask, W, G, padded=not prefix_mask.all().item()),
        place,
    )


def prompt_positions(model, input_ids, attention_mask, **vision) -> torch.Tensor:
    """Positions of prompt tokens as the model itself computes them: (N, P), or (3, N, P) in mRoPE.

    Args:
        model: the policy's body.
        input_ids, attention_mask: (N, P).
        vision: ``image_grid_thw`` and ``mm_token_type_ids`` of these rows, where there are any.
    """
    plain = (attention_mask.cumsum(-1) - 1).masked_fill(attention_mask == 0, 0)
    rope_index = getattr(type(model), "get_rope_index", None)
    if rope_index is None:
        return plain
    if vision.get("image_grid_thw") is None:
        return plain.expand(3, -1, -1)
    positions, _ = rope_index(model, input_ids=input_ids, attention_mask=attention_mask, **vision)
    return positions


def use_shared_attention(model) -> None:
    """Make the decoder's attention process packed rows and shared caches; any other call goes to
    the attention implementation that was set before."""
    config = model.get_decoder().config
    before = config._attn_implementation
    if before.startswith(NAME):
        return
    name = f"{NAME}_{before}"  # another model of this process may have another `before`

    def attention(module, query, key, value, mask, shared_prompt: Layout | None = None, **kwargs):
        if (prompt := getattr(key, "prompt", None)) is not None:  # decoding
            return decode.attention(query, key, value, kwargs["scaling"], prompt), None
        if shared_prompt is None:
            usual = (
                ALL_ATTENTION_FUNCTIONS.get(before)
                or sys.modules[type(module).__module__].eager_attention_forward
            )
            return usual(module, query, key, value, mask, **kwargs)
        return packed_attention(query, key, value, kwargs["scaling"], shared_prompt), None

    AttentionInterface.register(name, attention)
    AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS[before])
    config._attn_implementation = name


def unsupported_reason(model, *, dropout: bool = True) -> str | None:
    """Why this decoder's prompts cannot be shared; ``None`` where they can.

    Args:
        model: the policy, without adapters' wrappers.
        dropout: whether LoRA's dropout may be drawn once per prompt (:mod:`rl.sharing.dropout`).
    """
    decoder = model.get_decoder()
    config = decoder.config
    types = set(getattr(config, "layer_types", None) or ["full_attention"])
    if types != {"full_attention"}:
        return f"it has {', '.join(sorted(types - {'full_attention'}))} layers"
    # Gemma and PaliGemma recognise image tokens by their token types.
    if "token_type_ids" in signature(type(model).forward).parameters or getattr(
        config, "use_bidirectional_attention", None
    ):
        return "attention within images is bidirectional"
    if "flash" in (config._attn_implementation or ""):
        return (
            f"{config._attn_implementation} takes no packed rows; load the policy with sdpa, which "
            f"runs flash attention's kernels"
        )
    of_lora, others = active_dropouts(decoder)
    if others:
        return "the decoder has dropout beside LoRA's"
    if of_lora and not dropout:
        return "LoRA's dropout would be drawn once per prompt, and share_dropout is off"
    if getattr(config, "attention_dropout", 0):
        return "attention has dropout"
    return None
