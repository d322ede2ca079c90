"""The frames in which policies write boxes."""

import pytest
from datasets import Dataset
from PIL import Image

from data_gen.rows import FEATURES, encode_image
from rl.policy.boxes import add_box_frame, box_frames
from rl.policy.loading import load_policy, load_processor
from tests.tiny import tiny_rows


def test_box_frame_is_the_real_resize_of_the_query(policy_path, tmp_path):
    processor = load_processor(policy_path)
    rows = tiny_rows(3, text_only=1)
    sideways = Image.new("RGB", (150, 70))
    exif = sideways.getexif()
    exif[0x0112] = 6  # shown turned by 90 degrees: 70 wide, 150 high
    file = tmp_path / "sideways.jpg"
    sideways.save(file, exif=exif)
    stored = {"bytes": file.read_bytes(), "path": None}
    items = [{**rows[0], "images": [encode_image(rows[0]["images"][0]), stored]}, rows[3]]
    data = Dataset.from_list(items, features=FEATURES)

    pixels = add_box_frame(data, processor, "qwen2_5_vl")
    inputs = processor.image_processor(images=[data[0]["images"][-1]], return_tensors="pt")
    _, h, w = inputs["image_grid_thw"][0].tolist()
    assert data[0]["images"][-1].size == (70, 150)
    assert pixels["box_frame"] == [[w * 8.0, h * 8.0], None]
    assert add_box_frame(data, processor, "qwen3_vl")["box_frame"][0] == [1000.0, 1000.0]
    assert add_box_frame(data, processor, "other", "unit")["box_frame"][0] == [1.0, 1.0]
    with pytest.raises(ValueError, match="'other' writes boxes is not known.*pixels, thousand"):
        add_box_frame(data, processor, "other")


def test_frames_of_decoded_rows_are_those_of_the_row_set(policy_path):
    model, processor = load_policy(policy_path)
    rows = tiny_rows(4, text_only=1)
    stored = add_box_frame(Dataset.from_list(rows, features=FEATURES), processor, "qwen2_5_vl")
    assert box_frames(model, processor, rows) == stored["box_frame"][:]
    assert box_frames(model, processor, rows, "thousand")[:1] == [[1000.0, 1000.0]]
