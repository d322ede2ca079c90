"""Retrieval: names in the question first, then what the picture and its regions show."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from concepts.concept import Concept
from concepts.database import Database
from concepts.importers import draw_toys, toybox_database
from concepts.index import LiveIndex, build_index
from concepts.methods.verification import verify
from concepts.regions import DetectorError, crop, load_proposer, windows
from concepts.retrieval import Found, Retriever, name_keys, names_in
from data_gen.images.encoders import load_encoder
from data_gen.toybox.scene import compose
from rewards.names import names_written
from rl.policy.loading import load_policy
from tests.concepts.tiny_encoders import save_dinov2, save_tokenizer
from tests.tiny import save_tiny_policy

PLATES = {"bo": "red", "black widow": "blue", "Bond": "green", "小明": "yellow"}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return load_encoder(str(save_dinov2(tmp_path_factory.mktemp("dinov2"))), "cpu")


@pytest.fixture
def database(tmp_path) -> Database:
    made = Database(tmp_path / "database.json")
    for i, (name, colour) in enumerate(PLATES.items()):
        Image.new("RGB", (40, 40), colour).save(tmp_path / f"{i}.png")
        made.add(Concept(name, (f"{i}.png",)))
    return made


def plate(colour: str, size: int = 40) -> Image.Image:
    return Image.new("RGB", (size, size), colour)


def on_white(colour: str) -> tuple[Image.Image, tuple]:
    """A plate in the lower right of a white picture."""
    image = Image.new("RGB", (100, 100), "white")
    image.paste(plate(colour), (55, 55))
    return image, (0.55, 0.55, 0.95, 0.95)


# ---- what is found ----


def test_names_of_the_question_come_first_and_the_picture_fills_up(database, encoder):
    retriever = Retriever(LiveIndex(database, encoder), encoder)
    assert retriever.retrieve(plate("blue"), k=1) == [
        Found("black widow", "picture", pytest.approx(1, abs=1e-4))]
    found = retriever.retrieve(plate("blue"), "Is this <bo>? Or 小明?", k=3)
    assert [(one.name, one.by) for one in found] == [
        ("bo", "question"), ("小明", "question"), ("black widow", "picture")]
    assert retriever.retrieve(None, "Where is Black_Widow's web?") == [
        Found("black widow", "question")]
    assert retriever.retrieve(None, "a bond of friendship") == []
    assert [one.name for one in retriever.retrieve(plate("red"), "<bo>", k=1)] == ["bo"]


def test_least_similarity_leaves_strangers_out(database, encoder):
    strict = Retriever(LiveIndex(database, encoder), encoder, least=0.9999)
    assert [one.name for one in strict.retrieve(plate("red"), k=4)] == ["bo"]
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    assert strict.retrieve(Image.fromarray(noise), k=4) == []


def test_edits_count_at_the_next_question(database, encoder):
    retriever = Retriever(LiveIndex(database, encoder), encoder)
    assert retriever.retrieve(plate("red"), "<rosa>", k=1)[0].name == "bo"
    database.rename("bo", "rosa")
    assert retriever.retrieve(plate("red"), "<rosa>", k=1) == [Found("rosa", "question")]
    assert retriever.retrieve(plate("red"), k=1)[0].name == "rosa"
    database.remove("rosa")
    assert "rosa" not in [one.name for one in retriever.retrieve(plate("red"), "<rosa>", k=4)]


def test_a_region_finds_what_the_whole_picture_hides(database, encoder):
    image, box = on_white("blue")
    index = LiveIndex(database, encoder)
    (found,) = Retriever(index, encoder, lambda image: [box]).retrieve(image, k=1)
    assert (found.name, found.by, found.box) == ("black widow", "region", box)
    assert found.similarity > 0.999


def test_a_fixed_index_needs_no_database(encoder):
    vectors = encoder.images([plate(colour) for colour in PLATES.values()])
    retriever = Retriever(build_index(vectors, list(PLATES)), encoder)
    assert retriever.retrieve(plate("green"), "<小明>", k=2)[1].name == "Bond"


@given(st.lists(st.sampled_from(["bo", "Bond", "black widow", "a", "小明", "widow", "é", "ﬁsh"]),
                min_size=1, max_size=5, unique=True),
       st.lists(st.sampled_from(["bo", "Bo's", "<BO>", "black", "_", " ", "widow", "Black Widow",
                                 "小明在", "</bo>", "bond", "Bond", "<a>", "É", "e\u0301", "fish",
                                 "ﬁSH", "\u00ad", ".", "-"]) | st.text(max_size=3), max_size=8))
@settings(max_examples=100, deadline=None)
def test_looking_up_names_in_a_large_database_changes_nothing(names, words):
    question = " ".join(words)
    assert set(names_in(question, name_keys(names))) == names_written(question, names)
    question = "".join(words)
    assert set(names_in(question, name_keys(names))) == names_written(question, names)


# ---- regions ----


@given(st.integers(1, 90), st.integers(1, 90))
@settings(max_examples=20, deadline=None)
def test_windows_lie_in_the_picture_whatever_its_shape(width, height):
    image = Image.new("RGB", (width, height), "red")
    boxes = windows(image)
    assert len(boxes) == 10
    for x1, y1, x2, y2 in boxes:
        assert 0 <= x1 < x2 <= 1 + 1e-9 and 0 <= y1 < y2 <= 1 + 1e-9
        assert min(crop(image, (x1, y1, x2, y2)).size) >= 1


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
    size = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1,
            "num_attention_heads": 2}
    text = {**size, "vocab_size": len(tokens), "max_position_embeddings": 16,
            "eos_token_id": tokens.eos_token_id, "bos_token_id": tokens.bos_token_id,
            "pad_token_id": tokens.pad_token_id}
    config = OwlViTConfig(text_config=text, projection_dim=32,
                          vision_config={**size, "image_size": 32, "patch_size": 8})
    model = OwlViTForObjectDetection(config)
    for weight in model.box_head.parameters():
        weight.data *= 0.01  # as it is, its boxes have no width
    model.save_pretrained(path)
    images = OwlViTImageProcessor(size={"height": 32, "width": 32}, do_center_crop=False)
    Processor(images, tokens).save_pretrained(path)
    return path


def test_an_open_vocabulary_detector_of_transformers(tmp_path):
    settings = {"kind": "transformers", "model": str(save_owl(tmp_path)),
                "labels": ["a red dog", "cat"], "threshold": 0.0}
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


@pytest.mark.parametrize(("config", "says"), [
    ({"kind": "sam"}, "there are windows, transformers and ultralytics"),
    ({"kind": "transformers", "model": "x"}, "labels"),
    ({"kind": "transformers", "model": "x", "labels": []}, "no labels to look for"),
    ({"kind": "transformers", "model": "./nowhere", "labels": ["a"]}, "cannot be loaded"),
    ({"kind": "ultralytics", "model": "yolo.pt"}, "export the detector to ONNX"),
])
def test_a_detector_that_cannot_be_had_is_refused(config, says):
    with pytest.raises(DetectorError, match=says):
        load_proposer(config)
    assert load_proposer(None) is None


# ---- the policy's own word ----


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    return load_policy(save_tiny_policy(tmp_path_factory.mktemp("policy") / "policy"))


def test_the_shipped_policy_keeps_what_is_there_more_often_than_what_is_not(tmp_path):
    """The tiny base tells toys of other kinds apart; retrieval brings both."""
    model, processor = load_policy("toybox_base")
    database = toybox_database(tmp_path / "toys", 8, 5)
    toys = draw_toys(8, 5)
    there, absent = [], []
    for i, (name, toy) in enumerate(toys.items()):
        image = compose(random.Random(i), [toy], 96).image
        other = next(n for n, t in toys.items() if t.kind != toy.kind and t.colour != toy.colour)
        kept, dropped = verify(model, processor, image,
                               [Found(name, "picture"), Found(other, "picture")], database)
        sure = {one.name: one.p_yes for one in kept + dropped}
        assert all((sure[one.name] >= 0.5) == (one in kept) for one in kept + dropped)
        there.append(sure[name])
        absent.append(sure[other])
    assert np.mean(there) > np.mean(absent) + 0.2


def test_what_has_left_the_database_is_dropped_unasked(policy, database):
    database.image_path("0.png").write_bytes(b"no picture any more")
    kept, dropped = verify(*policy, plate("red"), [Found("bo", "picture"), Found("who", "picture")],
                           database, threshold=0.0)
    assert kept == [] and [one.p_yes for one in dropped] == [None, None]
    assert verify(*policy, plate("red"), [], database) == ([], [])
