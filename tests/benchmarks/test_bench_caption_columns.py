"""Scores of captions that a config asks for: which rows count, what is refused."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmarks.captions import scores as caption_columns_module
from benchmarks.captions.scores import (
    SCORES,
    CaptionSettings,
    caption_columns,
    caption_settings,
    corpus_bleu,
)
from benchmarks.formats.captions import read_true_captions
from benchmarks.harness.predictions import Prediction
from benchmarks.metrics.intervals import value
from data_gen.files.settings import BenchmarkError
from tests.concepts.tiny_encoders import save_open_clip

SAID = ["a dog sits on the red sofa", "two birds fly over the old house", "a cup with a blue rim"]


def predictions(texts=SAID):
    return [Prediction(str(i), text, 90 + 10 * i) for i, text in enumerate(texts)]


def columns(scores, said=None, **given):
    asked = {"infos": [""] * 3, "pictures": lambda: ()} | given
    encoder = asked.pop("encoder", None)
    found = caption_columns(said or {"base": predictions()},
                            CaptionSettings(tuple(scores), "captions.json", encoder), **asked)
    return {label: {key: value(metric) for key, metric in of.items()}
            for label, of in found.items()}


def test_words_are_compared_where_there_is_something_to_compare_with():
    found = columns(["length", "self_bleu", "overlap", "bleu"], infos=[SAID[0], "", "a green cup"],
                    truths=[[SAID[0]], [], ["nothing alike at all here"]])["base"]
    assert found["tokens"] == 100 and found["at_floor"] == pytest.approx(2 / 3)
    assert found["overlap"] == 0.5, "the row that was told nothing does not count"
    assert found["self_bleu"] < 0.15
    assert 0.5 <= found["bleu"] < 0.6, "the row without a true caption does not count"
    assert corpus_bleu({"a": predictions()}, [[SAID[0]], [], [SAID[2]]]) == {
        "a": pytest.approx(1)}


def test_true_captions_are_the_measure():
    truths = [[text, "noise"] for text in SAID]
    found = columns(["cider", "sentence_similarity"], truths=truths,
                    said={"right": predictions(), "wrong": predictions(SAID[1:] + SAID[:1])})
    assert found["right"]["sentence_similarity"] == pytest.approx(1)
    assert found["wrong"]["sentence_similarity"] < 0.5
    assert found["right"]["cider"] > 4 > 1 > found["wrong"]["cider"]
    assert columns(["meteor"], truths=truths)["base"]["meteor"] == pytest.approx(1)


def test_pictures_are_compared_where_they_open(tmp_path):
    encoder = str(save_open_clip(tmp_path))
    noise = np.random.default_rng(0)
    images = [Image.fromarray(noise.integers(0, 255, (32, 32, 3), dtype=np.uint8))
              for _ in range(3)]

    def pictures():  # row 1 does not open; row 2 has no reference
        yield 0, [images[0], images[1], images[0]]
        yield 2, [images[2]]

    two = {"a": predictions(["dog", "x", "cat"]), "b": predictions(["toy", "x", "mug"])}
    found = caption_columns(two, CaptionSettings(("clip_score", "image_similarity"), None, encoder),
                            infos=[""] * 3, pictures=pictures)
    (scores, there), = found["a"]["clip_score"]
    assert there.tolist() == [1, 0, 1] and scores[1] == 0
    assert scores.tolist() != found["b"]["clip_score"][0][0].tolist()
    (alike, there), = found["a"]["image_similarity"]
    assert there.tolist() == [1, 0, 0] and 0.5 < alike[0] < 1, "itself, and another one"
    with pytest.raises(BenchmarkError, match="none of 3 pictures opens"):
        columns(["image_similarity"], encoder=encoder)
    with pytest.raises(BenchmarkError, match="imagenet reads no texts"):
        columns(["clip_score"], encoder="imagenet", pictures=pictures)


@pytest.mark.parametrize(("given", "sentence"), [
    ({"score": ["length"]}, "no setting 'score'"),
    ({"scores": ["length", "spice"]}, "no score 'spice'; there are length"),
    ({"scores": ["cider"]}, "cider needs captions.references"),
    ({"scores": ["clip_score"]}, "clip_score needs captions.encoder"),
])
def test_refusals(given, sentence):
    with pytest.raises(BenchmarkError, match=sentence):
        caption_settings(given)


def test_a_package_that_is_missing_is_told_before_anything_loads(monkeypatch):
    monkeypatch.setattr(caption_columns_module, "find_spec", lambda name: None)
    for name, package in caption_columns_module.PACKAGES.items():
        with pytest.raises(BenchmarkError, match=rf"{name} needs {package}: pip install"):
            caption_settings({"scores": [name], "references": "captions.json"})
    own = {"scores": ["sentence_similarity", "overlap", "length"], "references": "captions.json",
           "sentences": "somewhere/else"}
    assert caption_settings(own).scores == tuple(own["scores"])


def test_nothing_to_compare_with_is_an_error():
    assert caption_settings({}).scores == ()
    with pytest.raises(BenchmarkError, match="no true caption of any picture"):
        columns(["bleu"], truths=[[], [], []])
    with pytest.raises(BenchmarkError, match="two captions or more"):
        columns(["self_bleu"], said={"base": predictions(SAID[:1])}, infos=[""])


def test_true_captions_of_pictures(tmp_path):
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog" / "00.jpg").write_bytes(b"")
    file, left_out = tmp_path / "captions.json", {}
    file.write_text(json.dumps({"./data/dog/00.jpg": ["a dog", " ", 7], "./data/dog/01.jpg": "two",
                                "./data/dog/02.jpg": []}))
    found = read_true_captions(file, {"./data": str(tmp_path)}, left_out)
    assert found == {(tmp_path / "dog" / "00.jpg").resolve(): ("a dog",)}
    assert sorted(map(len, left_out.values())) == [1, 1]
    for data, sentence in (([], "found list"), ({}, "it is empty"), ({"x": "y"}, "on disk")):
        file.write_text(json.dumps(data))
        with pytest.raises(BenchmarkError, match=sentence):
            read_true_captions(file, {"./data": str(tmp_path)}, {})


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(max_size=40), min_size=2, max_size=4), st.text(max_size=40))
def test_any_text_has_scores(texts, info):
    scores = [name for name, needs in SCORES.items() if not needs] + ["bleu"]
    found = caption_columns({"a": predictions(texts)}, CaptionSettings(tuple(scores)),
                            infos=[info] * len(texts), truths=[[info]] * len(texts),
                            pictures=lambda: ())
    for key in ("self_bleu", "overlap", "bleu"):
        number = value(found["a"][key])
        assert number != number or 0 <= number <= 1 + 1e-9
