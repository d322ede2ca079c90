"""Attention of packed rows: prompts to themselves, branches to their prompt and to themselves.

:func:`packed_attention` makes three calls of a fused kernel and joins the two that branches need by
their sums of exponentials, which is exact (FlashAttention, arXiv 2205.14135, section 3.1). So
branches read the prompt's keys and values where they are, neither copied for each branch nor
repeated for the query heads of a group. The backward pass gives each call the joined output and
log-sum-exp, from which the kernel computes the probabilities of the whole and so the gradients of
its part.

:func:`plain_attention` computes the same by ``scaled_dot_product_attention``, with the copies. It
is used on devices without such a kernel, and where a check on first use finds that the kernel's
results differ (:func:`kernel_differs`).
"""

import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import torch
from torch.nn.functional import pad, scaled_dot_product_attention

aten = torch.ops.aten

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 3e-2, torch.float16: 4e-3}
"""Largest difference from plain attention in fp32, relative to the largest value, that the check
on first use counts as rounding."""


@dataclass
class Layout:
    """The layout of N packed rows with G branches each.

    Attributes:
        prefix_mask: (N, P), false in padding (prompts are padded on the left).
        width: W, tokens of a branch: the copy of the prompt's last token and C completion tokens.
        branches: G.
        padded: whether any prompt has padding.
    """

    prefix_mask: torch.Tensor
    width: int
    branches: int
    padded: bool

    @property
    def prefix(self) -> int:
        """P, tokens of the prompts without their last one."""
        return self.prefix_mask.size(1)


def packed_attention(query, key, value, scaling: float, layout: Layout) -> torch.Tensor:
    """Attention in packed rows.

    Args:
        query: (N, H, P + G W, D).
        key, value: (N, K, P + G W, D); K divides H.
        scaling: factor of the dot products.
        layout: of the packed rows.

    Returns:
        (N, P + G W, H, D).
    """
    query, key = query.to(value.dtype), key.to(value.dtype)  # autocast does not cast them
    if layout.prefix and not kernel_differs(value.device, value.dtype, value.size(-1)):
        out: Any = _Joined.apply(query, key, value, scaling, layout)
        return out
    return plain_attention(query, key, value, scaling, layout)


def plain_attention(query, key, value, scaling: float, layout: Layout) -> torch.Tensor:
    """As :func:`packed_attention`, by torch's own attention over copies of the prompt's keys."""
    P, G, W = layout.prefix, layout.branches, layout.width
    heads = query.size(1) // key.size(1)
    key, value = (x.repeat_interleave(heads, dim=1) for x in (key, value))
    N, H, _, D = query.shape
    prompt = scaled_dot_product_attention(
        query[:, :, :P],
        key[:, :, :P],
        value[:, :, :P],
        attn_mask=_causal(layout) if layout.padded else None,
        is_causal=not layout.padded,
        scale=scaling,
    )
    q, k, v = (x[:, :, P:].reshape(N, H, G, W, D) for x in (query, key, value))
    seen = layout.prefix_mask[:, None, None, :]
    own = torch.ones(W, W, dtype=torch.bool, device=query.device).tril()
    mask = torch.cat([seen.expand(N, 1, W, P), own.expand(N, 1, W, W)], -1)
    shared = [x[:, :, None, :P].expand(N, H, G, P, D) for x in (key, value)]
    branches = scaled_dot_product_attention(
        q.transpose(1, 2).reshape(N * G, H, W, D),
        torch.cat([shared[0], k], 3).transpose(1, 2).reshape(N * G, H, P + W, D),
        torch.cat([shared[1], v], 3).transpose(1, 2).reshape(N * G, H, P + W, D),
        attn_mask=mask.repeat_interleave(G, 0),
        scale=scaling,
    )
    branches = branches.view(N, G, H, W, D).transpose(1, 2).reshape(N, H, G * W, D)
    return torch.cat([prompt, branches], dim=2).transpose(1, 2).contiguous()


@cache
def kernel_differs(device: torch.device, dtype: torch.dtype, size: int) -> bool:
    """Whether the fused kernels cannot be used here: there are none, or (a warning says so) values
    or gradients of a small example, with and without padding, differ from plain attention in fp32.

    Args:
        device, dtype: of the values.
        size: D, of a head.
    """
    if device.type == "meta":
        return False
    if device.type not in ("cpu", "cuda"):
        return True
    try:
        # The pass that asks may be in inference, under autocast, or a checkpointed one, whose hooks
        # on saved tensors would run it anew.
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast(device.type, enabled=False),
            torch.autograd.graph.saved_tensors_hooks(lambda x: x, lambda x: x),
        ):
            gap = max(_gap(device, dtype, size, padded) for padded in (False, True))
        why = f"their results differ by {gap:.2g}"
    except RuntimeError as error:
        gap, why = float("inf"), (str(error).strip().splitlines() or ["?"])[0]
    if gap <= TOLERANCE.get(dtype, 1e-4):
        return False
    warnings.warn(
        f"packed rows are attended to by plain attention, which needs more memory: the fused "
        f"kernels cannot be used for heads of {size} in {dtype} on {device} ({why})",
        stacklevel=2,
    )
    return True


def _gap(device, dtype, size: int, padded: bool) -> float:
    """Largest relative difference of values and gradients in an example of 2 rows, 4 heads."""
    P, G, W = 37, 3, 5
    hidden = torch.tensor([0, 11 if padded else 0], device=device)[:, None]
    layout = Layout(torch.arange(P, device=device) >= hidden, W, G, padded)
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(2, n, P + G * W, size, generator=generator) for n in (4, 2, 2)]
    weight = torch.randn(2, P + G * W, 4, size, generator=generator).to(device)
    found = []
    functions: list[tuple[Any, torch.dtype]] = [
        (_Joined.apply, dtype),
        (plain_attention, torch.float32),
    ]
    for function, kind in functions:
        given = [x.to(device, dtype).to(kind).requires_grad_() for x in drawn]
        out = function(*given, size**-0.5, layout)
        real = torch.cat([layout.prefix_mask, layout.prefix_mask.new_ones(2, G * W)], 1)
        out = out.float() * real[..., None, None]
        found.append([out, *torch.autograd.grad((out * weight).sum(), given)])
    pairs = zip(*found, strict=True)
    return max(((x.float() - y).abs().max() / y.abs().max()).item() for x, y in pairs)


class _Joined(torch.autograd.Function):
    """:func:`packed_attention` by fused kernels. Shapes as there."""

    @staticmethod
    def forward(ctx, query, key, value, scaling: float, layout: Layout):
        (N, H, S, D), P = query.shape, layout.prefix
        out = query.new_empty(N, S, H, D)
        rows = out.transpose(1, 2)
        call = _calls(query, key, value, scaling, layout)
        prompt, prompt_sum = call.prompt.forward()
        rows[:, :, :P] = prompt
        to_prompt, prompt_part = call.to_prompt.forward()
        to_prompt, prompt_part = (_unfold(x, H) for x in (to_prompt, prompt_part))
        own, own_part = (_unsplit(x, N) for x in call.own.forward())
        total = torch.logaddexp(prompt_part, own_part)
        rows[:, :, P:] = (
            to_prompt * (prompt_part - total).exp()[..., None]
            + own * (own_part - total).exp()[..., None]
        )
        ctx.save_for_backward(query, key, value, out, prompt_sum, total)
        ctx.scaling, ctx.layout = scaling, layout
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *grads):
        query, key, value, out, prompt_sum, total = ctx.saved_tensors
        layout: Layout = ctx.layout
        (N, H, _, _), K, P = query.shape, key.size(1), layout.prefix
        grad, out = grads[0].transpose(1, 2), out.transpose(1, 2)
        call = _calls(query, key, value, ctx.scaling, layout)
        of_query, of_key, of_value = map(torch.empty_like, (query, key, value))
        of_query[:, :, :P], of_key[:, :, :P], of_value[:, :, :P] = call.prompt.backward(
            grad[:, :, :P], out[:, :, :P], prompt_sum
        )
        grad, out = grad[:, :, P:], out[:, :, P:]
        folded = (_fold(x, K) for x in (grad, out, total))
        to_query, to_key, to_value = call.to_prompt.backward(*folded)
        of_query[:, :, P:] = _unfold(to_query, H)
        of_key[:, :, :P] += to_key
        of_value[:, :, :P] += to_value
        split = (_split(x, layout) for x in (grad, out, total))
        to_query, to_key, to_value = (_unsplit(x, N) for x in call.own.backward(*split))
        of_query[:, :, P:] += to_query
        of_key[:, :, P:] = to_key
        of_value[:, :, P:] = to_value
        return of_query, of_key, of_value, None, None


@dataclass
class Call:
    """One call of a fused kernel.

    Shapes: ``query``: (B, H, M, D); ``key``, ``value``: (B, K, L, D); ``bias``: broadcastable to
    (B, H, M, L), or ``None``. Sums of exponentials are logarithms, (B, H, M) in fp32.
    """

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    scaling: float
    bias: torch.Tensor | None = None
    causal: bool = False

    def forward(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, H, M, D) values and (B, H, M) sums."""
        if self.query.device.type == "cpu":  # takes grouped heads and a mask that broadcasts
            return aten._scaled_dot_product_flash_attention_for_cpu(
                self.query,
                self.key,
                self.value,
                0.0,
                self.causal,
                attn_mask=self.bias,
                scale=self.scaling,
            )
        out, total, _, _ = aten._scaled_dot_product_efficient_attention(
            self.query,
            *self._repeated(),
            self._expanded(),
            True,
            0.0,
            self.causal,
            scale=self.scaling,
        )
        return out, total[..., : self.query.size(2)]  # padded to whole blocks of the kernel

    def backward(self, grad, out, total) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Gradients of query, key and value.

        Args:
            grad, out: (B, H, M, D), the joined output and its gradient.
            total: (B, H, M), the joined sum.
        """
        if self.query.device.type == "cpu":
            return aten._scaled_dot_product_flash_attention_for_cpu_backward(
                grad,
                self.query,
                self.key,
                self.value,
                out,
                total,
                0.0,
                self.causal,
                attn_mask=self.bias,
                scale=self.scaling,
            )
        nothing = torch.zeros((), dtype=torch.int64, device="cpu")  # seed and offset of no dropout
        of_query, of_key, of_value, _ = aten._scaled_dot_product_efficient_attention_backward(
            grad,
            self.query,
            *self._repeated(),
            self._expanded(),
            heads_inside(out),
            pad(total, (0, -total.size(-1) % 32), value=float("inf")).contiguous(),
            nothing,
            nothing,
            0.0,
            [True, True, True, False],
            self.causal,
            scale=self.scaling,
        )
        K = self.key.size(1)
        return of_query, *(x.unflatten(1, (K, -1)).sum(2) for x in (of_key, of_value))

    def _repeated(self) -> list[torch.Tensor]:
        """Keys and values, repeated for a kernel that knows no grouped heads."""
        heads = self.query.size(1) // self.key.size(1)
        return [
            x[:, :, None].expand(-1, -1, heads, -1, -1).flatten(1, 2) if heads > 1 else x
            for x in (self.key, self.value)
        ]

    def _expanded(self) -> torch.Tensor | None:
        """The bias in full shape, its rows aligned as that kernel needs."""
        if self.bias is None:
            return None
        L = self.bias.size(-1)
        aligned = pad(self.bias, (0, -L % 16))[..., :L]
        return aligned.expand(*self.query.shape[:3], L)


class _Calls(NamedTuple):
    """The three calls: of prompts, of branches to their prompts, of branches to themselves."""

    prompt: Call
    to_prompt: Call
    own: Call


def _calls(query, key, value, scaling: float, layout: Layout) -> _Calls:
    P, K = layout.prefix, key.size(1)
    q, k, v = (x[:, :, :P] for x in (query, key, value))
    causal = hidden = None
    if layout.padded:
        causal = bias_of(_causal(layout), value.dtype)
        hidden = bias_of(layout.prefix_mask[:, None, None, :], value.dtype)
    own_q, own_k, own_v = (_split(x[:, :, P:], layout) for x in (query, key, value))
    return _Calls(
        Call(q, k, v, scaling, causal, causal=causal is None),
        Call(_fold(query[:, :, P:], K), k, v, scaling, hidden),
        Call(own_q, own_k, own_v, scaling, causal=True),
    )


def _causal(layout: Layout) -> torch.Tensor:
    """(N, 1, P, P), true where a prompt's token sees another. Padding sees itself: softmax over
    nothing would be NaN."""
    P, mask = layout.prefix, layout.prefix_mask
    before = torch.ones(P, P, dtype=torch.bool, device=mask.device).tril()
    own = torch.eye(P, dtype=torch.bool, device=mask.device)
    return before & mask[:, None, None, :] | own


def bias_of(seen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """What is added to scores: 0, or so little that a sum of it alone still has a logarithm."""
    bias = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
    return bias.masked_fill_(~seen, torch.finfo(dtype).min / 2)


def heads_inside(out: torch.Tensor) -> torch.Tensor:
    """(B, H, M, D) values laid out as (B, M, H, D), copied where they are not.

    The backward pass of that kernel takes D H as the distance from one query's values to the next
    one's, whatever the tensor's strides say (``o_strideM`` in PyTorch's ``kernel_backward.h``).
    """
    B, H, M, D = out.shape
    if out.stride()[1:] == (D, H * D, 1):
        return out
    return out.transpose(1, 2).contiguous().transpose(1, 2)


def _fold(x: torch.Tensor, K: int) -> torch.Tensor:
    """(N, H, M, ...) to (N, K, H/K M, ...): query heads of a group as further queries."""
    return x.unflatten(1, (K, -1)).flatten(2, 3)


def _unfold(x: torch.Tensor, H: int) -> torch.Tensor:
    """What :func:`_fold` makes, back to (N, H, M, ...)."""
    return x.unflatten(2, (H // x.size(1), -1)).flatten(1, 2)


def _split(x: torch.Tensor, layout: Layout) -> torch.Tensor:
    """(N, H, G W, ...) to (N G, H, W, ...)."""
    return x.unflatten(2, (layout.branches, -1)).transpose(1, 2).flatten(0, 1)


def _unsplit(x: torch.Tensor, N: int) -> torch.Tensor:
    """What :func:`_split` makes, back to (N, H, G W, ...)."""
    return x.unflatten(0, (N, -1)).transpose(1, 2).flatten(2, 3)
