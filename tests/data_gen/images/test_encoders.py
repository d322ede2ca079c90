"""Encoders: every library's models, made tiny on the spot, behind one small face."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from data_gen.images.encoders import EncoderError, load_encoder
from tests.concepts.tiny_encoders import SAVE, save_clip, save_open_clip

WITH_TEXT = ("clip", "siglip", "open_clip")


def images() -> list[Image.Image]:
    """Seven images of many sizes and modes."""
    rng = np.random.default_rng(0)
    found = [
        Image.fromarray(rng.integers(0, 255, (h, w, 3), np.uint8))
        for h, w in ((32, 32), (64, 48), (20, 90), (1, 1), (33, 31))
    ]
    return [*found, Image.new("L", (40, 40), 90), Image.new("RGBA", (40, 40), (200, 10, 10, 255))]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    root = tmp_path_factory.mktemp("encoders")
    paths = {}
    for family, save in SAVE.items():
        (root / family).mkdir()
        paths[family] = save(root / family)
    return paths


@pytest.mark.parametrize("family", SAVE)
def test_vectors_have_length_one_and_do_not_depend_on_the_batch(saved, family):
    encoder = load_encoder(str(saved[family]), "cpu", batch_size=3)
    found = encoder.images(images())
    assert found.shape == (7, encoder.dim) and found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    alone = np.concatenate([encoder.images([image]) for image in images()])
    np.testing.assert_allclose(found, alone, atol=1e-5)
    assert abs(found[0] - found[1]).max() > 1e-3
    assert encoder.images([]).shape == (0, encoder.dim)
    assert encoder.name == str(saved[family])


@pytest.mark.parametrize("family", WITH_TEXT)
def test_texts_lie_in_the_space_of_the_images_and_long_ones_are_cut(saved, family):
    encoder = load_encoder(str(saved[family]), "cpu", batch_size=2)
    lines = ["a red dog", "a photo of the blue mug", "cat", "a red dog " * 50]
    found = encoder.texts(lines)
    assert found.shape == (4, encoder.dim) and found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(found[2], encoder.texts(["cat"])[0], atol=1e-5)
    assert abs(found[0] - found[1]).max() > 1e-4


def test_dinov2_and_imagenet_have_no_text_side(saved):
    assert load_encoder(str(saved["dinov2"]), "cpu").texts is None


def test_transformers_features_are_the_librarys_own(saved):
    from transformers import AutoImageProcessor, CLIPModel

    model = CLIPModel.from_pretrained(saved["clip"]).eval()
    pixels = AutoImageProcessor.from_pretrained(saved["clip"])(images()[:1], return_tensors="pt")
    with torch.inference_mode():
        own = model.visual_projection(model.vision_model(**pixels).pooler_output)[0].numpy()
    found = load_encoder(str(saved["clip"]), "cpu").images(images()[:1])[0]
    np.testing.assert_allclose(found, own / np.linalg.norm(own), atol=1e-5)


def test_an_open_clip_architecture_with_a_weights_file(tmp_path):
    """A built-in architecture takes weights from a file; the checkpoint must fit it."""
    save_open_clip(tmp_path)
    with pytest.raises(EncoderError, match="ViT-B-32"):
        load_encoder(f"open_clip:ViT-B-32:{tmp_path / 'nothing.safetensors'}", "cpu")


def test_the_fingerprint_follows_the_weights_and_not_the_place(tmp_path):
    found = []
    for place, seed in (("a", 0), ("b", 0), ("c", 1)):
        (tmp_path / place).mkdir()
        found.append(load_encoder(str(save_clip(tmp_path / place, seed)), "cpu").fingerprint)
    assert found[0] == found[1] != found[2]


def test_what_cannot_be_had_is_refused_with_what_to_write_instead(tmp_path, saved):
    for spec, says in [
        ("imagenett", "give 'imagenet'"),
        ("../nowhere/at/all", "is unknown"),
        (str(tmp_path), "neither open_clip_config.json nor config.json"),
        ("open_clip:ViT-B-32", "names no weights"),
        ("open_clip:NoSuch-Net:laion", "NoSuch-Net"),
    ]:
        with pytest.raises(EncoderError, match=says):
            load_encoder(spec, "cpu")


def test_another_family_and_pickled_weights_are_refused(tmp_path, saved):
    other = tmp_path / "bert"
    other.mkdir()
    (other / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(EncoderError, match="'bert' model; .*clip, siglip"):
        load_encoder(str(other), "cpu")
    pickled = save_open_clip(tmp_path)
    (pickled / "open_clip_model.safetensors").rename(pickled / "open_clip_pytorch_model.bin")
    with pytest.raises(EncoderError, match="no .safetensors"):
        load_encoder(str(pickled), "cpu")


def test_weights_that_are_not_numbers_are_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    path = save_open_clip(tmp_path) / "open_clip_model.safetensors"
    weights = load_file(path)
    weights["visual.proj"].fill_(float("nan"))
    save_file(weights, path)
    with pytest.raises(EncoderError, match="no finite vector"):
        load_encoder(str(tmp_path), "cpu")


def test_the_imagenet_encoder_knows_a_subject_again_under_other_light():
    encoder = load_encoder("imagenet", "cpu")
    assert encoder.dim == 1280 and encoder.texts is None
    rng = np.random.default_rng(1)
    one, two = (
        Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8)).resize((200, 150))
        for _ in range(2)
    )
    darker = one.point(lambda v: v * 0.7)
    found = encoder.images([one, darker, two])
    assert found[0] @ found[1] > found[0] @ found[2]
