"""Packed attention by fused kernels: the numbers of plain attention in a third of its memory."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.checkpoint import checkpoint
from transformers import AttentionInterface, AttentionMaskInterface, Qwen2_5_VLConfig
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLTextModel

from rl.planning.peak import PeakMemory
from rl.sharing import attention
from rl.sharing.attention import (
    Layout,
    heads_inside,
    kernel_differs,
    packed_attention,
    plain_attention,
)
from rl.sharing.packed import use_shared_attention

MIB = 2**20


@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=3),
    st.integers(1, 4),
    st.integers(1, 5),
    st.sampled_from([(2, 2), (4, 2), (6, 1)]),
    st.integers(0, 2**32 - 1),
)
@settings(deadline=None, max_examples=40)
def test_values_and_gradients_are_those_of_plain_attention(padding, G, W, heads, seed):
    """Any padding, groups, lengths and grouped heads, in fp32."""
    torch.manual_seed(seed)
    (H, K), N, P, D = heads, len(padding), 7, 8
    layout = Layout(torch.arange(P) >= torch.tensor(padding)[:, None], W, G, any(padding))
    drawn = [torch.randn(N, P + G * W, n, D).transpose(1, 2) for n in (H, K, K)]
    # What comes out in padding is used by nobody, so no gradient comes back to it.
    real = torch.cat([layout.prefix_mask, torch.ones(N, G * W, dtype=torch.bool)], 1)
    weight = torch.randn(N, P + G * W, H, D) * real[..., None, None]
    found = []
    for function in (packed_attention, plain_attention):
        given = [x.clone().requires_grad_() for x in drawn]
        out = function(*given, 0.3, layout) * real[..., None, None]
        found.append([out, *torch.autograd.grad((out * weight).sum(), given)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 5), st.integers(1, 4))
def test_values_lie_as_the_kernel_of_a_gpu_reads_them(B, H, M, D):
    """It takes the distance between queries from sizes: with other strides it read other values
    (seen on an H200), so that plain attention was used."""
    values = torch.arange(B * H * M * D).view(B, H, M, D)
    whole = torch.arange(B * H * 2 * M * D).view(B, 2 * M, H, D).transpose(1, 2)
    for out in (values, whole[:, :, M:], values.transpose(1, 2).contiguous().transpose(1, 2)):
        laid = heads_inside(out)
        assert torch.equal(laid, out)
        read = laid.as_strided(laid.shape, (laid.stride(0), laid.stride(1), H * D, 1))
        assert torch.equal(read, out)
    assert heads_inside(whole[:, :, M:]).data_ptr() == whole[:, :, M:].data_ptr()  # not copied


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_kernels_of_a_gpu_are_used(dtype):
    assert not kernel_differs(torch.device("cuda"), dtype, 128)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_kernels_check_themselves_on_first_use(dtype, monkeypatch):
    kernel_differs.cache_clear()
    before = torch.get_rng_state()
    assert not kernel_differs(torch.device("cpu"), dtype, 16)
    assert torch.equal(torch.get_rng_state(), before)
    kernel_differs.cache_clear()
    usual = attention.Call.backward
    monkeypatch.setattr(
        attention.Call, "backward", lambda self, *given: [1.1 * x for x in usual(self, *given)]
    )
    with pytest.warns(UserWarning, match="plain attention, which needs more memory"):
        assert kernel_differs(torch.device("cpu"), dtype, 16)
    monkeypatch.undo()
    kernel_differs.cache_clear()
    assert kernel_differs(torch.device("mps"), dtype, 16)  # no kernel whose sums are known


@pytest.mark.parametrize("reentrant", [True, False])
def test_the_check_may_come_within_a_checkpointed_or_an_inference_pass(reentrant):
    torch.manual_seed(0)
    layout = Layout(torch.ones(1, 5, dtype=torch.bool), width=3, branches=2, padded=False)
    drawn = [torch.randn(1, n, 11, 8) for n in (4, 2, 2)]
    found, runs = [], []

    def layer(*states):
        runs.append(torch.is_grad_enabled())
        return packed_attention(*[x.sin() for x in states], 0.3, layout)

    for run in (layer, partial(checkpoint, layer, use_reentrant=reentrant)):
        kernel_differs.cache_clear()
        given = [x.clone().requires_grad_() for x in drawn]
        run(*given).square().sum().backward()
        found.append([x.grad for x in given])
    assert len(runs) == 3  # once, and twice where it is checkpointed
    for apart, whole in zip(*found, strict=True):
        assert torch.equal(apart, whole)
    kernel_differs.cache_clear()
    with torch.inference_mode():
        layer(*drawn)
        assert not kernel_differs(torch.device("cpu"), torch.float32, 8)


def decoder_of_7b(layers: int = 4) -> Qwen2_5_VLTextModel:
    """Some of the 28 layers of Qwen2.5-VL-7B's decoder, frozen, in bf16, on the meta device."""
    config = Qwen2_5_VLConfig().text_config
    config.hidden_size, config.intermediate_size, config.num_hidden_layers = 3584, 18_944, layers
    config.num_attention_heads, config.num_key_value_heads, config.vocab_size = 28, 4, 152_064
    config.layer_types = ["full_attention"] * layers
    config._attn_implementation = "kernel"
    with torch.device("meta"):
        return Qwen2_5_VLTextModel(config).bfloat16().requires_grad_(False).train()


def kernel(query, key, value, attn_mask=None, is_causal=False, scale=None):
    """What ``scaled_dot_product_attention`` calls on a GPU for these arguments; on the meta device
    it would count another implementation, which makes all scores."""
    bias = None
    if attn_mask is not None:
        bias = torch.empty(attn_mask.shape, dtype=query.dtype, device=query.device)
        bias = bias.expand(*query.shape[:3], key.size(2))
    call = torch.ops.aten._scaled_dot_product_efficient_attention
    return call(query, key, value, bias, True, 0.0, is_causal, scale=scale)[0]


def unshared_attention(module, query, key, value, mask, scaling, **_):
    """As transformers' own ``sdpa``, by :func:`kernel`."""
    key, value = (x.repeat_interleave(query.size(1) // x.size(1), 1) for x in (key, value))
    return kernel(query, key, value, is_causal=True, scale=scaling).transpose(1, 2), None


AttentionInterface.register("kernel", unshared_attention)
AttentionMaskInterface.register("kernel", ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])


def bytes_of_attention(function, layout: Layout) -> PeakMemory:
    """Forward and backward in one layer of the 7B's shape, 28 heads of 128, 4 of keys."""
    S = layout.prefix + layout.branches * layout.width
    given = [
        torch.empty(1, S, n, 128, dtype=torch.bfloat16, device="meta").transpose(1, 2)
        for n in (28, 4, 4)
    ]
    with PeakMemory() as counted:
        out = function(*[x.requires_grad_() for x in given], 0.1, layout)
        out.backward(torch.empty_like(out))
    return counted


@pytest.fixture(scope="module")
def layout():
    """The paper's lengths at their largest: P = 2,000, G = 8, C = 256."""
    mask = torch.ones(1, 1999, dtype=torch.bool, device="meta")
    return Layout(mask, width=257, branches=8, padded=False)


def test_memory_of_attention_in_the_7b_s_shape(layout, monkeypatch):
    """A third of what copies of the prompt for each branch need, on the meta device."""

    monkeypatch.setattr(attention, "scaled_dot_product_attention", kernel)
    plain, joined = (bytes_of_attention(f, layout) for f in (plain_attention, packed_attention))
    print(f"attention: {plain.peak / MIB:.0f} MiB by copies, {joined.peak / MIB:.0f} joined")
    assert 600 * MIB < plain.peak < 800 * MIB
    assert 60 * MIB < joined.peak < plain.peak / 2.9


def test_memory_of_the_loss_in_the_7b_s_shape(layout):
    """Eight completions need the activations of 4,055 tokens; unshared ones those of 18,048."""
    counted = {}
    for shared in (True, False):
        model = decoder_of_7b()
        use_shared_attention(model)
        model.gradient_checkpointing_enable({"use_reentrant": False})
        rows, length = (1, 1999 + 8 * 257) if shared else (8, 2256)
        states = torch.empty(rows, length, 3584, dtype=torch.bfloat16, device="meta")
        extra = {"shared_prompt": layout} if shared else {}
        with PeakMemory(model.parameters()) as bytes_:
            out = model(
                inputs_embeds=states.requires_grad_(),
                attention_mask=torch.empty(rows, 1, 1, 1, dtype=torch.bool, device="meta"),
                position_ids=torch.empty(3, rows, length, dtype=torch.long, device="meta"),
                use_cache=False,
                **extra,
            ).last_hidden_state
            out.backward(torch.empty_like(out))
        counted[shared] = bytes_
    shared, apart = counted[True].peak, counted[False].peak
    print(f"four layers of the loss: {apart / MIB:.0f} MiB unshared, {shared / MIB:.0f} shared")
    assert 3.5 < apart / shared < 5.5
