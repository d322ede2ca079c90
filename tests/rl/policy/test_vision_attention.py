"""One attention call per image size equals one per image, values and gradients."""

import pytest
import torch
from transformers import AutoModelForImageTextToText

from rl.policy.vision_attention import NAME, use_attention_by_length


@pytest.fixture
def tower(policy_path):
    model = AutoModelForImageTextToText.from_pretrained(policy_path, dtype=torch.float32)
    return model


def features(model, grids):
    torch.manual_seed(0)
    patches = sum(t * h * w for t, h, w in grids)
    config = model.config.vision_config
    width = config.in_channels * config.temporal_patch_size * config.patch_size**2
    pixels = torch.randn(patches, width, requires_grad=True)
    out = model.model.visual(pixels, grid_thw=torch.tensor(grids)).pooler_output
    out = torch.cat(list(out)) if isinstance(out, (tuple, list)) else out
    out.square().sum().backward()
    return out.detach(), pixels.grad


@pytest.mark.parametrize(
    "grids",
    [[(1, 4, 4)], [(1, 4, 4)] * 5, [(1, 4, 4), (1, 8, 4), (1, 4, 4), (1, 6, 8), (1, 8, 4)]],
    ids=["one image", "equal images", "mixed sizes"],
)
def test_values_and_gradients_equal_the_loop_over_images(tower, grids):
    slow, slow_grad = features(tower, grids)
    assert use_attention_by_length(tower)
    assert tower.model.visual.config._attn_implementation == NAME
    fast, fast_grad = features(tower, grids)
    torch.testing.assert_close(fast, slow, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(fast_grad, slow_grad, atol=1e-4, rtol=1e-4)


def test_a_tower_on_a_flash_kernel_is_left_alone(tower):
    tower.model.visual.config._attn_implementation = "flash_attention_2"
    assert not use_attention_by_length(tower)
