"""Scores of captions that a config asks for: which rows count, what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmarks.captions import scores as scores_module
from benchmarks.captions.scores import (
    METRICS,
    SCORES,
    CaptionSettings,
    caption_scores,
    corpus_bleu,
)
from benchmarks.harness.table import TITLES
from benchmarks.metrics.intervals import value
from concepts.methods.protocol import Reply
from data_gen.files.errors import InputError
from data_gen.files.settings import settings_from
from tests.concepts.tiny_encoders import save_open_clip

SAID = ["a dog sits on the red sofa", "two birds fly over the old house", "a cup with a blue rim"]


def replies(texts=SAID):
    return [Reply(str(i), text, 90 + 10 * i) for i, text in enumerate(texts)]


def columns(scores, said=None, **given):
    asked = {"infos": [""] * 3, "images": lambda: ()} | given
    encoder = asked.pop("encoder", None)
    found = caption_scores(
        said or {"base": replies()},
        CaptionSettings(list(scores), "captions.json", encoder),
        **asked,
    )
    return {
        label: {key: value(metric) for key, metric in of.items()} for label, of in found.items()
    }


def test_words_are_compared_where_there_is_something_to_compare_with():
    found = columns(
        ["length", "self_bleu", "overlap", "bleu"],
        infos=[SAID[0], "", "a green cup"],
        truths=[[SAID[0]], [], ["nothing alike at all here"]],
    )["base"]
    assert found["tokens"] == 100 and found["at_floor"] == pytest.approx(2 / 3)
    assert found["overlap"] == 0.5, "a row whose question has no info does not count"
    assert found["self_bleu"] < 0.15
    assert 0.5 <= found["bleu"] < 0.6, "the row without a true caption does not count"
    assert corpus_bleu({"a": replies()}, [[SAID[0]], [], [SAID[2]]]) == {"a": pytest.approx(1)}


def test_every_score_has_a_line_in_tables():
    assert {name for score in SCORES for name in METRICS.get(score, (score,))} <= set(TITLES)


def test_true_captions_are_the_measure():
    """METEOR as a score: tests/benchmarks/captions/test_coco.py."""
    truths = [[text, "noise"] for text in SAID]
    found = columns(
        ["cider", "sentence_similarity"],
        truths=truths,
        said={"right": replies(), "wrong": replies(SAID[1:] + SAID[:1])},
    )
    assert found["right"]["sentence_similarity"] == pytest.approx(1)
    assert found["wrong"]["sentence_similarity"] < 0.5
    assert found["right"]["cider"] > 4 > 1 > found["wrong"]["cider"]


def test_images_are_compared_where_they_open(tmp_path):
    encoder = str(save_open_clip(tmp_path))
    noise = np.random.default_rng(0)
    images = [
        Image.fromarray(noise.integers(0, 255, (32, 32, 3), dtype=np.uint8)) for _ in range(3)
    ]

    def images_of():  # row 1 does not open; row 2 has no reference
        yield 0, [images[0], images[1], images[0]]
        yield 2, [images[2]]

    two = {"a": replies(["dog", "x", "cat"]), "b": replies(["toy", "x", "mug"])}
    found = caption_scores(
        two,
        CaptionSettings(["clip_score", "image_similarity"], None, encoder),
        infos=[""] * 3,
        images=images_of,
    )
    ((scores, there),) = found["a"]["clip_score"]
    assert there.tolist() == [1, 0, 1] and scores[1] == 0
    assert scores.tolist() != found["b"]["clip_score"][0][0].tolist()
    ((alike, there),) = found["a"]["image_similarity"]
    assert there.tolist() == [1, 0, 0] and 0.5 < alike[0] < 1, "itself, and another one"
    with pytest.raises(InputError, match="none of 3 images opens"):
        columns(["image_similarity"], encoder=encoder)
    with pytest.raises(InputError, match="imagenet reads no texts"):
        columns(["clip_score"], encoder="imagenet", images=images_of)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"score": ["length"]}, "unknown key 'score'; did you mean 'scores'"),
        ({"scores": ["length", "spice"]}, "no score 'spice'; there are length"),
        ({"scores": ["cider"]}, "cider needs captions.references"),
        ({"scores": ["clip_score"]}, "clip_score needs captions.encoder"),
    ],
)
def test_refusals(given, sentence):
    with pytest.raises(InputError, match=sentence):
        settings_from(given, CaptionSettings, "captions")


def test_a_missing_package_is_named_before_anything_loads(monkeypatch):
    monkeypatch.setattr(scores_module, "find_spec", lambda name: None)
    for name, package in scores_module.PACKAGES.items():
        with pytest.raises(InputError, match=rf"{name} needs {package}: pip install"):
            CaptionSettings([name], "captions.json")
    own = {
        "scores": ["sentence_similarity", "overlap", "length"],
        "references": "captions.json",
        "sentences": "somewhere/else",
    }
    assert CaptionSettings(**own).scores == own["scores"]


def test_nothing_to_compare_with_is_an_error():
    assert CaptionSettings().scores == []
    with pytest.raises(InputError, match="no true caption of any image"):
        columns(["bleu"], truths=[[], [], []])
    with pytest.raises(InputError, match="two captions or more"):
        columns(["self_bleu"], said={"base": replies(SAID[:1])}, infos=[""])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(max_size=40), min_size=2, max_size=4), st.text(max_size=40))
def test_any_text_has_scores(texts, info):
    scores = [name for name, needs in SCORES.items() if not needs] + ["bleu"]
    found = caption_scores(
        {"a": replies(texts)},
        CaptionSettings(scores, "captions.json"),
        infos=[info] * len(texts),
        truths=[[info]] * len(texts),
        images=lambda: (),
    )
    for key in ("self_bleu", "overlap", "bleu"):
        number = value(found["a"][key])
        assert number != number or 0 <= number <= 1 + 1e-9
