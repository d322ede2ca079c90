"""Samples: everything a page shows of a question and its replies."""

import base64
import io
import json

import pytest
from PIL import Image

from benchmarks.harness.samples import name_marks, sample
from concepts.methods.protocol import Reply
from tests.tiny import tiny_rows


def test_marks_follow_the_matcher():
    text = "<Bo>, bo's friend <tom>, <stranger> and Bobo. </bo>"
    marks = [(text[a:b], kind) for a, b, kind in name_marks(text, ["bo"], ["tom"])]
    assert marks == [
        ("<Bo>", "right"),
        ("bo", "right"),
        ("<tom>", "wrong"),
        ("<stranger>", "wrong"),
    ]
    assert name_marks("", ["bo"], []) == []


def test_a_sample_holds_all_a_page_needs():
    rows = tiny_rows(6)
    texts = {
        "object_consistency": "yes",
        "visual_localization": "[0, 0, 64, 64]",
        "identity_consistency": "<nobody> is here",
    }
    for row in rows:
        reply = Reply(row["id"], texts[row["task"]], 4, [64.0, 64.0])
        found = json.loads(json.dumps(sample(row, "title", {"base": reply})))
        images = [part["image"] for part in found["prompt"] if "image" in part]
        assert len(images) == len(row["images"])
        data = base64.b64decode(images[-1].removeprefix("data:image/png;base64,"))
        assert Image.open(io.BytesIO(data)).size == row["images"][-1].size
        out = found["outputs"]["base"]
        if row["answer"]:
            assert out["right"] == (row["answer"] == "yes")
        elif row["box"]:
            assert out["box"] == [0, 0, 1, 1] and out["right"] is False
            assert out["iou"] == pytest.approx(0.16)
        else:
            assert out["missed"] == row["names"] and out["right"] is False
            assert out["marks"] == [[0, 8, "wrong"]]


def test_large_images_are_shrunk():
    row = tiny_rows(3)[2] | {"images": [Image.new("RGB", (2000, 1000))] * 3}
    uri = sample(row, "t", {})["prompt"][0]["image"]
    data = base64.b64decode(uri.partition(",")[2])
    assert Image.open(io.BytesIO(data)).size == (256, 128)


def test_a_choice_shows_question_options_and_what_was_chosen():
    row = tiny_rows(1)[0] | {
        "answer": None,
        "options": ["a red hat", "a blue hat"],
        "correct": 1,
    }
    said = {"letter": "B.", "words": "It wears a red hat.", "neither": "yes"}
    found = sample(
        row, "t", {k: Reply(row["id"], v, 3) for k, v in said.items()}, "What does it wear?"
    )
    assert found["question"] == "What does it wear?"
    assert found["options"] == ["a red hat", "a blue hat"] and found["correct"] == 1
    assert {label: (out["chosen"], out["right"]) for label, out in found["outputs"].items()} == {
        "letter": (1, True),
        "words": (0, False),
        "neither": (None, False),
    }
    unasked = sample(row, "t", {})["question"]
    assert unasked and unasked in row["prompt"][-1]["content"][-1]["text"]
