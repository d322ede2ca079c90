"""Localization: questions are made from a detection set."""

import pytest
from PIL import Image

from benchmarks.published.localization import Localization, LocalizationSettings
from data_gen.rows import VLT
from tests.benchmarks.published_files import save


def test_boxes_come_from_detection_sets(tmp_path):
    image = Image.new("RGB", (200, 200), "white")
    image.paste("red", (20, 20, 100, 120))
    image.save(tmp_path / "a.png")
    save(
        tmp_path / "coco.json",
        {
            "images": [{"id": 1, "file_name": "a.png", "width": 200, "height": 200}],
            "annotations": [
                {"id": 5, "image_id": 1, "category_id": 2, "bbox": [20, 20, 80, 100]},
                {"id": 6, "image_id": 1, "category_id": 3, "bbox": [20, 20, 2, 2]},
            ],
            "categories": [{"id": 2, "name": "ball"}, {"id": 3, "name": "cup"}],
        },
    )
    found = Localization(
        LocalizationSettings(
            path=str(tmp_path / "coco.json"),
            images=str(tmp_path),
            rows=1,
            boxes={"mirrored_share": 0.0},
        )
    )
    (question,) = found.sets["localization"]
    assert question.task == VLT and question.image is None, "images are cut when they are needed"
    assert question.box == pytest.approx((0.1, 0.1, 0.5, 0.6), abs=0.01)
    opened = found.open(question)
    assert opened.image.size == (200, 200) and opened.prompt and opened.box == question.box
    assert list(found.skipped.counts.values()) == [1]
    assert found.describe() == {"file": "coco.json"}
