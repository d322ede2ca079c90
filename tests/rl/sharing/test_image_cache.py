"""The cache: each distinct image through processor and tower once, however often it is asked."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from rl.policy.loading import load_policy
from rl.sharing.image_cache import VisionFeatureCache, unsupported_reason
from tests.rl.families import save_tiny_gemma, save_tiny_llava, save_tiny_qwen3

COLOURS = ["red", "green", "blue", "white"]


@pytest.fixture(scope="module", params=["qwen2_5", "qwen3", "llava"])
def loaded(request, policy_path, tmp_path_factory):
    """A policy with patches of any size, one with deepstack, one with images of one size."""
    save = {"qwen3": save_tiny_qwen3, "llava": save_tiny_llava}.get(request.param)
    return load_policy(save(tmp_path_factory.mktemp("family") / "policy") if save else policy_path)


@pytest.fixture
def cache(loaded):
    model, processor = loaded
    made = VisionFeatureCache(model, processor)
    yield made
    del model.base_model.get_image_features  # which the cache had put there


def plain_image(colour: str, width: int = 64, height: int = 64) -> Image.Image:
    return Image.new("RGB", (width, height), colour)


def asked(cache, images) -> list[torch.Tensor]:
    """Features of images through the cache, deepstack layers behind each other."""
    with cache.image_ids():
        made = cache.processor.image_processor(images=images, return_tensors="pt")
    assert made["pixel_values"].dtype == torch.int64
    return layers(cache._inner.get_image_features(**made))


def layers(out) -> list[torch.Tensor]:
    joined = [
        torch.cat(list(part)) if not isinstance(part, torch.Tensor) else part.flatten(0, -2)
        for part in (out.pooler_output, *(getattr(out, "deepstack_features", None) or []))
    ]
    assert not any(part.requires_grad for part in joined)
    return joined


@given(
    st.lists(
        st.tuples(st.sampled_from(COLOURS), st.sampled_from([32, 64, 96])), min_size=1, max_size=6
    )
)
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_images_in_any_order_have_the_features_that_they_have(cache, wanted):
    cache.begin("train")
    before = cache.encoded
    images = [plain_image(colour, width) for colour, width in wanted]
    ours = asked(cache, images)
    made = cache.processor.image_processor(images=images, return_tensors="pt")
    with torch.no_grad():
        theirs = layers(cache._encode(**made, return_dict=True))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert cache.encoded - before == len(set(wanted))


def test_pixels_go_through_as_they_did(cache):
    made = cache.processor.image_processor(images=[plain_image("red")], return_tensors="pt")
    with torch.no_grad():
        cache._inner.get_image_features(**made, return_dict=True)
    assert cache.asked == cache.encoded == 0


def test_an_evaluation_does_not_take_the_images_of_the_batch_in_training(cache):
    asked(cache, [plain_image("red"), plain_image("blue")])
    cache.begin("eval")
    asked(cache, [plain_image("red"), plain_image("green")])
    assert len(cache.images) == 4 and cache.encoded == 4
    cache.begin("eval")
    assert len(cache.images) == 2
    cache.begin("train")
    assert not cache.images


def test_images_that_differ_in_one_pixel_or_in_shape_are_two(cache):
    spotted = plain_image("red")
    spotted.putpixel((5, 5), (0, 0, 0))
    shapes = [(64, 64), (64, 32), (32, 64)]
    asked(cache, [spotted, *(plain_image("red", *shape) for shape in shapes)])
    assert cache.encoded == 4


def test_features_are_written_and_read_for_a_run_that_resumes(cache, tmp_path):
    images = [plain_image("red"), plain_image("blue", 96)]
    wanted = asked(cache, images)
    with cache.image_ids():
        ids = cache.processor.image_processor(images=images, return_tensors="pt")
    cache.save(tmp_path / "images.safetensors")
    cache.begin("train")
    cache.load(tmp_path / "images.safetensors", torch.device("cpu"))
    found = layers(cache._inner.get_image_features(**ids))
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
    asked(cache, [plain_image("green")])  # a new one takes no number that is taken
    assert len(cache.images) == 3


def test_pixels_are_let_go_when_their_features_are_known(cache):
    asked(cache, [plain_image("red")])
    assert [one.pixels for one in cache.images.values()] == [None]


def test_why_images_cannot_be_shared(policy_path, tmp_path):
    model, processor = load_policy(policy_path)
    assert unsupported_reason(model, processor) is None
    tower = model.base_model.visual
    tower.drop = torch.nn.Dropout(0.1)
    assert unsupported_reason(model, processor) == "the vision tower has dropout"
    del tower.drop
    next(tower.parameters()).requires_grad_(True)
    assert unsupported_reason(model, processor) == "the vision tower or the projector is trained"
    gemma = load_policy(save_tiny_gemma(tmp_path))
    assert unsupported_reason(*gemma) == "the processor returns num_crops beside pixels"
