"""Attention of a vision tower over many small images, one call per image size.

Towers of the Qwen family pack all images of a batch into one sequence. Without a flash-attention
package, transformers then calls SDPA once per image and layer; with hundreds of small images the
calls cost more than the arithmetic. Images of equal length are independent rows of one batch, so
one call per distinct length gives the same numbers (``tests/rl/policy/test_vision_attention.py``).
"""

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

# transformers passes `cu_seq_lens_q` only to implementations whose name says flash attention.
NAME = "flash_attention_by_length"


def attention_by_length(
    module, query, key, value, attention_mask=None, *, scaling, cu_seq_lens_q, **_
):
    """Bidirectional attention within each segment of a packed sequence.

    Args:
        query, key, value: (1, heads, S, head_dim).
        scaling: factor of the dot products.
        cu_seq_lens_q: (N + 1,) offsets of the N segments, the last one S.

    Returns:
        (1, S, heads, head_dim), and ``None`` for the attention weights.
    """
    offsets = cu_seq_lens_q.tolist()
    starts: dict[int, list[int]] = {}
    for begin, end in zip(offsets, offsets[1:], strict=False):
        starts.setdefault(end - begin, []).append(begin)
    out = torch.empty_like(query[0].transpose(0, 1))  # (S, heads, head_dim)
    for length, begins in starts.items():
        begin = torch.tensor(begins, device=query.device)
        index = begin[:, None] + torch.arange(length, device=query.device)  # (n, length)
        q, k, v = (x[0].transpose(0, 1)[index].transpose(1, 2) for x in (query, key, value))
        mixed = _attend(q, k, v, scaling)
        out = out.index_put((index,), mixed.transpose(1, 2).to(out.dtype))
    return out[None], None


def _attend(q, k, v, scaling):
    if q.device.type != "cpu":
        return scaled_dot_product_attention(q, k, v, scale=scaling)
    # On a CPU the fused kernel's backward pass is slower than these two products for small images.
    return (
        torch.softmax(q @ k.transpose(-1, -2) * scaling, dim=-1, dtype=torch.float32).to(v.dtype)
        @ v
    )


AttentionInterface.register(NAME, attention_by_length)


def use_attention_by_length(model) -> bool:
    """Make the vision tower of a Qwen2-VL-style model use :func:`attention_by_length`.

    Returns:
        ``False`` where there is no such tower, or where it runs on a real flash-attention kernel,
        which stays.
    """
    tower = getattr(model.model, "visual", None)
    if tower is None or "flash" in (tower.config._attn_implementation or ""):
        return False
    tower.config._attn_implementation = NAME
    return True
