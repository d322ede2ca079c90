"""Regions of an image: windows, and what detectors propose."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from concepts.regions import DetectorError, around, crop, load_proposer, windows
from tests.concepts.tiny_encoders import save_tokenizer


def on_white(colour: str) -> tuple[Image.Image, tuple]:
    """A plate in the lower right of a white image."""
    image = Image.new("RGB", (100, 100), "white")
    image.paste(Image.new("RGB", (40, 40), colour), (55, 55))
    return image, (0.55, 0.55, 0.95, 0.95)


@given(st.integers(1, 90), st.integers(1, 90))
@settings(max_examples=20, deadline=None)
def test_windows_lie_in_the_image_whatever_its_shape(width, height):
    image = Image.new("RGB", (width, height), "red")
    boxes = windows(image)
    assert len(boxes) == 10
    for x1, y1, x2, y2 in boxes:
        assert 0 <= x1 < x2 <= 1 + 1e-9 and 0 <= y1 < y2 <= 1 + 1e-9
        assert min(crop(image, (x1, y1, x2, y2)).size) >= 1


@settings(max_examples=50, deadline=None)
@given(
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.lists(st.floats(0, 1), min_size=4, max_size=4),
    st.floats(1, 3),
)
def test_the_surroundings_of_a_box_are_as_large_as_the_image(size, corners, context):
    (x0, x1), (y0, y1) = sorted(corners[:2]), sorted(corners[2:])
    part = around(Image.new("RGB", size), (x0, y0, x1, y1), context)
    assert max(part.size) == max(size) and min(part.size) >= 1


def test_the_surroundings_of_a_box_are_centred_and_cut_at_the_edges():
    image = Image.new("RGB", (100, 100), "white")
    image.paste("red", (0, 40, 20, 60))
    part = around(image, (0, 0.4, 0.2, 0.6), 2)  # from -10 to 30, and from 30 to 70
    assert part.size == (75, 100)
    assert part.getpixel((10, 50)) == (255, 0, 0) and part.getpixel((70, 50)) == (255, 255, 255)
    assert part.getpixel((10, 10)) == (255, 255, 255)


def test_the_first_window_covers_what_stands_out():
    image, (x1, y1, x2, y2) = on_white("blue")
    box = windows(image)[0]
    across = max(0, min(box[2], x2) - max(box[0], x1))
    down = max(0, min(box[3], y2) - max(box[1], y1))
    assert across * down > 0.7 * (x2 - x1) * (y2 - y1)


def save_owl(path):
    """A random OWL-ViT with a tokenizer of whole words."""
    from transformers import OwlViTConfig, OwlViTForObjectDetection, OwlViTImageProcessor
    from transformers import OwlViTProcessor as Processor

    torch.manual_seed(0)
    tokens = save_tokenizer(path)
    size = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    text = {
        **size,
        "vocab_size": len(tokens),
        "max_position_embeddings": 16,
        "eos_token_id": tokens.eos_token_id,
        "bos_token_id": tokens.bos_token_id,
        "pad_token_id": tokens.pad_token_id,
    }
    config = OwlViTConfig(
        text_config=text,
        projection_dim=32,
        vision_config={**size, "image_size": 32, "patch_size": 8},
    )
    model = OwlViTForObjectDetection(config)
    for weight in model.box_head.parameters():
        weight.data *= 0.01  # as it is, its boxes have no width
    model.save_pretrained(path)
    images = OwlViTImageProcessor(size={"height": 32, "width": 32}, do_center_crop=False)
    Processor(images, tokens).save_pretrained(path)
    return path


def test_an_open_vocabulary_detector_of_transformers(tmp_path):
    settings = {
        "kind": "transformers",
        "model": str(save_owl(tmp_path)),
        "labels": ["a red dog", "cat"],
        "threshold": 0.0,
    }
    propose = load_proposer(settings, "cpu")
    for image in (on_white("red")[0], Image.new("L", (70, 31), 80)):
        boxes = propose(image)
        assert 1 <= len(boxes) <= 10 and boxes == propose(image)
        assert all(0 <= b[0] < b[2] <= 1 and 0 <= b[1] < b[3] <= 1 for b in boxes)
    assert load_proposer({**settings, "threshold": 1.0}, "cpu")(on_white("red")[0]) == []


def test_a_detector_of_ultralytics(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    ultralytics = pytest.importorskip("ultralytics")
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    exported = ultralytics.YOLO("yolov8n.yaml").export(format="onnx", imgsz=64)
    config = {"kind": "ultralytics", "model": str(exported), "threshold": 0.0}
    propose = load_proposer(config, "cpu")
    boxes = propose(on_white("red")[0])
    assert 1 <= len(boxes) <= 10 and boxes == propose(on_white("red")[0])
    assert all(0 <= b[0] < b[2] <= 1 and 0 <= b[1] < b[3] <= 1 for b in boxes)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"kind": "sam"}, "there are windows, transformers and ultralytics"),
        ({"kind": "transformers", "model": "x"}, "labels"),
        ({"kind": "transformers", "model": "x", "labels": []}, "no labels to look for"),
        ({"kind": "transformers", "model": "./nowhere", "labels": ["a"]}, "cannot be loaded"),
        ({"kind": "ultralytics", "model": "yolo.pt"}, "export the detector to ONNX"),
    ],
)
def test_a_detector_that_cannot_be_had_is_refused(config, says):
    with pytest.raises(DetectorError, match=says):
        load_proposer(config)
    assert load_proposer(None) is None
