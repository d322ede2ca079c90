"""launch/evaluate.py on a detection set: either box convention, scored without a policy."""

import json
import re
import sys

import pytest
import yaml
from PIL import Image

from concepts.methods import systems

pytestmark = pytest.mark.usefixtures("one_thread")
ROWS = 4


@pytest.fixture
def files(tmp_path):
    """Six images with two coloured boxes each, described by their category; one image is gone."""
    images, annotations = [], []
    for i in range(6):
        image = Image.new("RGB", (96, 80), "white")
        for k, colour in enumerate(("red", "blue")):
            x, y = 4 + 48 * k, 8 + 5 * i
            image.paste(colour, (x, y, x + 40, y + 36))
            annotations.append(
                {"id": 2 * i + k + 1, "image_id": i, "category_id": k, "bbox": [x, y, 40, 36]}
            )
        images.append({"id": i, "file_name": f"{i}.png", "width": 96, "height": 80})
        if i:
            image.save(tmp_path / f"{i}.png")
    (tmp_path / "coco.json").write_text(
        json.dumps(
            {
                "images": images,
                "annotations": annotations,
                "categories": [{"id": 0, "name": "ball"}, {"id": 1, "name": "cup"}],
            }
        )
    )
    return tmp_path


@pytest.fixture
def run(evaluating, files, monkeypatch):
    def run(*arguments, **changes):
        config = files / "config.yaml"
        config.write_text(
            yaml.safe_dump(
                {
                    "benchmark": "localization",
                    "batch_size": 2,
                    "resamples": 50,
                    "max_new_tokens": {"localization": 3},
                    "path": str(files / "coco.json"),
                    "images": str(files),
                    "rows": ROWS,
                    "size": 48,
                    "boxes": {"box_format": "xywh"},
                    **changes,
                }
            )
        )
        monkeypatch.setattr(
            sys,
            "argv",
            [
                "evaluate.py",
                "--config",
                str(config),
                "--out",
                str(files / "eval"),
                *map(str, arguments),
            ],
        )
        evaluating.main()
        return json.loads((files / "eval" / "evaluation.json").read_text())

    return run


def kept(files, label):
    path = files / "eval" / "predictions" / label / "localization.jsonl"
    return path, [json.loads(line) for line in path.read_text().splitlines()]


def test_two_conventions_in_one_table_scored_again_without_a_policy(run, files, tiny, monkeypatch):
    result = run("--policy", f"pixels={tiny['policy']}")
    assert result["counts"] == {"localization": ROWS}
    assert any("missing" in reason or "disk" in reason for reason in result["skipped"])
    assert 0 < result["seconds"]["generate"]["pixels"] < result["seconds"]["all"]
    run("--policy", f"thousand={tiny['policy']}", box_convention="thousand")
    samples = json.loads((files / "eval" / "gallery.json").read_text())
    truth = {sample["id"]: sample["box"] for sample in samples}
    assert len(truth) == ROWS

    # Every answer is the truth, written in the frame of its policy.
    monkeypatch.setattr(systems, "load_policy", None)
    frames = {}
    for label in ("pixels", "thousand"):
        path, entries = kept(files, label)
        for entry in entries:
            w, h = frames[label] = entry["box_frame"]
            x1, y1, x2, y2 = truth[entry["id"]]
            box = [round(v, 2) for v in (x1 * w, y1 * h, x2 * w, y2 * h)]
            entry["text"] = json.dumps({"bbox_2d": box})
        if label == "thousand":
            entries[0]["text"] = "I cannot see it."
            del entries[1]["box_frame"]
        path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    assert frames["thousand"] == [1000, 1000] and max(frames["pixels"]) < 100
    again = run("--policy", "pixels=gone/a", "--policy", "thousand=gone/b", "--score_only", "true")
    metrics = again["metrics"]
    assert metrics["localization/iou50"]["values"]["pixels"]["value"] == 1
    assert metrics["localization/mean_iou"]["values"]["pixels"]["value"] > 0.98
    assert metrics["localization/iou50"]["values"]["thousand"]["value"] == pytest.approx(2 / 3)
    assert again["skipped"]["question without a prediction"]["count"] == 1
    assert "IoU ≥ 0.5" in (files / "eval" / "evaluation.md").read_text()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"images": None}, "images"),
        ({"rows": 0}, "rows must be 1 or more"),
        ({"boxes": {"sizzle": 1}}, "boxes: "),
        ({"path": "nowhere.json"}, "nowhere.json"),
        ({"boxes": {"min_side": 500}}, "loosen the filters"),
        ({"captions": {"scores": ["length"]}}, "localization asks for no captions"),
    ],
)
def test_refused_before_weights_load(run, tiny, monkeypatch, changes, sentence):
    monkeypatch.setattr(systems, "load_policy", None)
    with pytest.raises(SystemExit, match=re.escape(sentence)):
        run("--policy", tiny["policy"], **changes)
