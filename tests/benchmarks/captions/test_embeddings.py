"""Captions and images compared by encoders; tiny real encoders, made on the spot."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import BertConfig, BertModel, BertTokenizerFast

from benchmarks.captions.embeddings import (
    clip_scores,
    load_sentence_encoder,
    sentence_similarities,
    term_similarities,
)
from data_gen.files.errors import InputError
from data_gen.images.encoders import load_encoder
from tests.concepts.tiny_encoders import save_open_clip

SAID = ["a dog sits on the red sofa", "two birds fly over the old house", "a cup with a blue rim"]


def test_clip_score_is_a_clipped_cosine(tmp_path):
    clip = load_encoder(str(save_open_clip(tmp_path)), "cpu")
    noise = np.random.default_rng(0)
    images = [
        Image.fromarray(noise.integers(0, 255, (20, 20, 3), dtype=np.uint8)) for _ in range(5)
    ]
    captions = ["a dog", "a cat", "a red mug", "", "toy " * 200]
    found = clip_scores(clip, clip.images(images), captions)
    for image, caption, score in zip(images, captions, found, strict=True):
        cosine = clip.images([image])[0] @ clip.texts([f"A photo depicts {caption}"])[0]
        assert score == pytest.approx(2.5 * max(float(cosine), 0), abs=1e-5)
    assert any(score > 0 for score in found)


def save_encoder(path, pooling):
    torch.manual_seed(0)
    path.mkdir()
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *sorted({w for t in SAID for w in t.split()}),
    ]
    (path / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(str(path / "vocab.txt")).save_pretrained(path)
    BertModel(
        BertConfig(
            vocab_size=len(words),
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=32,
        )
    ).save_pretrained(path)
    (path / "1_Pooling").mkdir()
    (path / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": 16, f"pooling_mode_{pooling}": True})
    )
    return path


@pytest.mark.parametrize("pooling", ["mean_tokens", "cls_token"])
def test_sentences_do_not_depend_on_their_neighbours(tmp_path, pooling):
    encoder = load_sentence_encoder(save_encoder(tmp_path / "encoder", pooling))
    assert encoder[2] == pooling.partition("_")[0]
    others = [[SAID[1], SAID[2]], [SAID[2]], [SAID[0]]]
    together = sentence_similarities(encoder, SAID, others)
    alone = [
        max(sentence_similarities(encoder, [text], [[other]])[0] for other in of)
        for text, of in zip(SAID, others, strict=True)
    ]
    assert together == pytest.approx(alone, abs=1e-5)
    assert sentence_similarities(encoder, SAID, [SAID] * 3, batch_size=2) == (
        pytest.approx([1] * 3)
    )


def test_unknown_pooling_is_refused(tmp_path):
    with pytest.raises(InputError, match="max_tokens"):
        load_sentence_encoder(save_encoder(tmp_path / "encoder", "max_tokens"))


def test_a_trained_encoder_knows_what_is_meant():
    encoder = load_sentence_encoder()
    near, far = sentence_similarities(
        encoder,
        ["A puppy runs over the lawn."] * 2,
        [["A young dog is running on the grass."], ["The stock market fell on Monday."]],
    )
    assert near > 0.6 > 0.3 > far


def test_terms_are_compared_pair_by_pair_by_an_encoder_that_loads_once(tmp_path):
    path = str(save_encoder(tmp_path / "encoder", "mean_tokens"))
    pairs = [(SAID[0], SAID[0]), (SAID[0], SAID[1])]
    same, other = term_similarities(pairs, encoder=path)
    assert same == pytest.approx(1.0, abs=1e-4) and other < same
    (tmp_path / "encoder" / "model.safetensors").unlink()
    assert term_similarities(pairs, encoder=path) == [same, other]
    assert term_similarities([], encoder=path) == []
    with pytest.raises((InputError, OSError)):
        term_similarities([], encoder=str(tmp_path / "nowhere"))
