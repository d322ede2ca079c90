"""Tables and galleries."""

import base64
import io
import json

import pytest
from PIL import Image

from benchmarks.harness.predictions import Prediction
from benchmarks.harness.samples import name_marks, sample
from benchmarks.harness.table import markdown, show, tabulate
from benchmarks.metrics.intervals import ratio
from tests.tiny import tiny_rows


@pytest.fixture
def result():
    base = {"oct/accuracy": ratio([0, 0, 1, 1]), "naming_1/f1": ratio([0], [0]),
            "naming_1/tokens": ratio([50, 70])}
    trained = {"oct/accuracy": ratio([1, 1, 1, 1]), "naming_1/f1": ratio([1], [1]),
               "naming_1/tokens": ratio([100, 120])}
    return tabulate({"base": base, "a|b": trained}, {"oct": "consistency", "naming_1": "naming"},
                    ["oct/accuracy", "vlt/iou50"])


def test_numbers_and_changes(result):
    assert result["headlines"] == ["oct/accuracy"]  # what was not measured is no headline
    metric = result["metrics"]["oct/accuracy"]
    assert metric["values"]["base"]["value"] == 0.5 and metric["rows"] == 4
    assert metric["change"]["a|b"]["value"] == 0.5 and "base" not in metric["change"]
    assert result["metrics"]["naming_1/f1"]["values"]["base"]["value"] is None
    assert result["metrics"]["naming_1/f1"]["change"]["a|b"]["value"] is None
    assert result["metrics"]["naming_1/tokens"]["unit"] == "tokens"
    json.dumps(result, allow_nan=False)


def test_markdown_has_a_column_per_policy(result):
    text = markdown(result)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    cells = [line.replace("\\|", "").count("|") for line in rows]
    assert set(cells) == {6}  # title, n, two policies, one difference
    assert "100.0 [100.0, 100.0]" in text and "| – |" in text and "+60" not in text
    assert "110.0 [100.0, 120.0]" in text
    short = markdown(result, result["headlines"])
    assert "consistency: balanced accuracy | 4 |" in short and "naming" not in short


def test_no_negative_zero():
    ends = {"value": -0.0001, "low": -0.0002, "high": 0.0}
    assert show(ends, "share", sign=True) == "+0.0 [+0.0, +0.0]"


def test_marks_follow_the_matcher():
    text = "<Bo>, bo's friend <tom>, <stranger> and Bobo. </bo>"
    marks = [(text[a:b], kind) for a, b, kind in name_marks(text, ["bo"], ["tom"])]
    assert marks == [("<Bo>", "right"), ("bo", "right"), ("<tom>", "wrong"),
                     ("<stranger>", "wrong")]
    assert name_marks("", ["bo"], []) == []


def test_a_sample_holds_all_a_page_needs():
    rows = tiny_rows(6)
    texts = {"object_consistency": "yes", "visual_localization": "[0, 0, 64, 64]",
             "identity_consistency": "<nobody> is here"}
    for row in rows:
        prediction = Prediction(row["id"], texts[row["task"]], 4, [64.0, 64.0])
        found = json.loads(json.dumps(sample(row, "title", {"base": prediction})))
        pictures = [part["image"] for part in found["prompt"] if "image" in part]
        assert len(pictures) == len(row["images"])
        data = base64.b64decode(pictures[-1].removeprefix("data:image/png;base64,"))
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


def test_large_pictures_are_shrunk():
    row = tiny_rows(3)[2] | {"images": [Image.new("RGB", (2000, 1000))] * 3}
    uri = sample(row, "t", {})["prompt"][0]["image"]
    data = base64.b64decode(uri.partition(",")[2])
    assert Image.open(io.BytesIO(data)).size == (256, 128)
