"""The tiny policy: its tokenizer, its corpus, and the architecture's limits."""

import pytest
import torch
from PIL import Image
from transformers import AutoTokenizer

from data_gen.tasks.names import all_names
from data_gen.toybox.models.policy import (
    Decisions,
    TinyPolicy,
    build_model,
    build_processor,
    toybox_corpus,
    train_tokenizer,
)
from data_gen.toybox.weights import local_weights


@pytest.fixture(scope="module")
def corpus():
    return list(toybox_corpus(0, 60))


@pytest.fixture(scope="module")
def tokenizer(corpus):
    return train_tokenizer(corpus, 800)


def test_the_corpus_has_every_name_in_tags_and_stays_the_shipped_tokenizer_s(corpus):
    text = "\n".join(corpus)
    assert all(f"<{name}>" in text for name in all_names())
    assert '"told": [' in text and '"manners": {' in text  # the keys of the templates at that time
    assert corpus == list(toybox_corpus(0, 60))


def test_digits_and_tag_marks_are_single_tokens(tokenizer):
    pieces = tokenizer.convert_ids_to_tokens(tokenizer("[12, 8] <bo>").input_ids)
    assert "12" not in pieces and {"1", "2"} <= set(pieces)
    assert pieces[-1] == ">" and any(piece.endswith("<") for piece in pieces)
    assert tokenizer.decode(tokenizer("a red Bär, 7!").input_ids) == "a red Bär, 7!"


def test_the_model_takes_what_the_processor_gives(tokenizer):
    shape = TinyPolicy(
        vocab_size=800,
        hidden_size=64,
        layers=1,
        intermediate_size=64,
        vision_hidden_size=32,
        vision_layers=1,
        vision_intermediate_size=32,
    )
    processor, model = build_processor(tokenizer, shape), build_model(tokenizer, shape)
    messages = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Who?"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "<bo>"}]},
    ]
    text = processor.apply_chat_template(messages)
    inputs = processor(text=[text], images=[Image.new("RGB", (200, 100))], return_tensors="pt")
    t, h, w = inputs["image_grid_thw"][0].tolist()
    assert t * h * w * shape.patch_size**2 <= shape.max_image_px**2  # larger images are shrunk
    logits = model(**inputs).logits
    assert logits.shape == (*inputs["input_ids"].shape, len(tokenizer))
    encoded = processor.apply_chat_template(
        [messages[1]], tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    masked = [
        i for i, m in zip(encoded["input_ids"][0], encoded["assistant_masks"][0], strict=True) if m
    ]
    assert tokenizer.decode(masked) == "<bo><|im_end|>"


def test_what_says_whether_somebody_is_there_weighs_more():
    tokenizer = AutoTokenizer.from_pretrained(local_weights("toybox_base"))
    text = "A cat in red boots, <Mia>, stands on the left. It wears a red scarf. No. yes"
    ids = torch.tensor(tokenizer(text).input_ids)
    weights = Decisions(tokenizer, 6)(ids).tolist()
    heavy = [tokenizer.decode([i]) for i, weight in zip(ids, weights, strict=True) if weight == 6]
    assert set(weights) == {1, 6} and heavy[:2] == [",", " <"] and heavy[-1] == " yes"
    assert " cat" not in heavy and " left" not in heavy
