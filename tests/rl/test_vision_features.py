"""The shelf: each distinct picture through processor and tower once, however often it is asked."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from rl.policy.loading import load_policy
from rl.sharing.image_cache import PictureShelf, why_not
from tests.rl.families import save_tiny_gemma, save_tiny_llava, save_tiny_qwen3

COLOURS = ["red", "green", "blue", "white"]


@pytest.fixture(scope="module", params=["qwen2_5", "qwen3", "llava"])
def loaded(request, policy_path, tmp_path_factory):
    """A policy with patches of any size, one with deepstack, one with pictures of one size."""
    save = {"qwen3": save_tiny_qwen3, "llava": save_tiny_llava}.get(request.param)
    return load_policy(save(tmp_path_factory.mktemp("family") / "policy") if save else policy_path)


@pytest.fixture
def shelf(loaded):
    model, processor = loaded
    made = PictureShelf(model, processor)
    yield made
    del model.base_model.get_image_features  # which the shelf had put there


def picture(colour: str, width: int = 64, height: int = 64) -> Image.Image:
    return Image.new("RGB", (width, height), colour)


def asked(shelf, pictures) -> list[torch.Tensor]:
    """Features of pictures through the shelf, deepstack layers behind each other."""
    with shelf.tickets():
        made = shelf.processor.image_processor(images=pictures, return_tensors="pt")
    assert made["pixel_values"].dtype == torch.int64
    return layers(shelf._inner.get_image_features(**made))


def layers(out) -> list[torch.Tensor]:
    joined = [torch.cat(list(part)) if not isinstance(part, torch.Tensor) else part.flatten(0, -2)
              for part in (out.pooler_output, *(getattr(out, "deepstack_features", None) or []))]
    assert not any(part.requires_grad for part in joined)
    return joined


@given(st.lists(st.tuples(st.sampled_from(COLOURS), st.sampled_from([32, 64, 96])), min_size=1,
                max_size=6))
@settings(max_examples=15, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_pictures_in_any_order_have_the_features_that_they_have(shelf, wanted):
    shelf.begin("train")
    before = shelf.encoded
    pictures = [picture(colour, width) for colour, width in wanted]
    ours = asked(shelf, pictures)
    made = shelf.processor.image_processor(images=pictures, return_tensors="pt")
    with torch.no_grad():
        theirs = layers(shelf._encode(**made, return_dict=True))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert shelf.encoded - before == len(set(wanted))


def test_pixels_go_through_as_they_did(shelf):
    made = shelf.processor.image_processor(images=[picture("red")], return_tensors="pt")
    with torch.no_grad():
        shelf._inner.get_image_features(**made, return_dict=True)
    assert shelf.asked == shelf.encoded == 0


def test_an_evaluation_does_not_take_the_pictures_of_the_batch_in_training(shelf):
    asked(shelf, [picture("red"), picture("blue")])
    shelf.begin("eval")
    asked(shelf, [picture("red"), picture("green")])
    assert len(shelf.pictures) == 4 and shelf.encoded == 4
    shelf.begin("eval")
    assert len(shelf.pictures) == 2
    shelf.begin("train")
    assert not shelf.pictures


def test_pictures_that_differ_in_one_pixel_or_in_shape_are_two(shelf):
    spotted = picture("red")
    spotted.putpixel((5, 5), (0, 0, 0))
    asked(shelf, [picture("red"), spotted, picture("red", 64, 32), picture("red", 32, 64)])
    assert shelf.encoded == 4


def test_features_are_written_and_read_for_a_run_that_resumes(shelf, tmp_path):
    pictures = [picture("red"), picture("blue", 96)]
    wanted = asked(shelf, pictures)
    with shelf.tickets():
        tickets = shelf.processor.image_processor(images=pictures, return_tensors="pt")
    shelf.save(tmp_path / "pictures.safetensors")
    shelf.begin("train")
    shelf.load(tmp_path / "pictures.safetensors", torch.device("cpu"))
    found = layers(shelf._inner.get_image_features(**tickets))
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
    asked(shelf, [picture("green")])  # a new one takes no number that is taken
    assert len(shelf.pictures) == 3


def test_pixels_are_let_go_when_their_features_are_known(shelf):
    asked(shelf, [picture("red")])
    assert [one.pixels for one in shelf.pictures.values()] == [None]


def test_why_pictures_cannot_be_shared(policy_path, tmp_path):
    model, processor = load_policy(policy_path)
    assert why_not(model, processor) is None
    tower = model.base_model.visual
    tower.drop = torch.nn.Dropout(0.1)
    assert why_not(model, processor) == "the vision tower has dropout"
    del tower.drop
    next(tower.parameters()).requires_grad_(True)
    assert why_not(model, processor) == "the vision tower or the projector is trained"
    gemma = load_policy(save_tiny_gemma(tmp_path))
    assert why_not(*gemma) == "the processor gives num_crops beside pixels"
