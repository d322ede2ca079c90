"""The cache of drawn images."""

import pytest
from PIL import Image

from data_gen.toybox.models.images import PER_FILE, drawn_images


def test_drawing_resumes_after_the_last_complete_file(tmp_path):
    asked = []

    def draw(i: int):
        asked.append(i)
        if len(asked) == PER_FILE + 3:
            raise KeyboardInterrupt
        return Image.new("RGB", (4, 4), (i % 256, 0, 0)), {"i": i}

    with pytest.raises(KeyboardInterrupt):
        drawn_images(tmp_path, 2 * PER_FILE, draw, "x")
    asked.append(-1)
    data = drawn_images(tmp_path, 2 * PER_FILE, draw, "x")
    assert asked[PER_FILE + 4 :] == list(range(PER_FILE, 2 * PER_FILE))
    assert [fact["i"] for fact in data.facts] == list(range(2 * PER_FILE))
    assert data.batch([255, 0])[:, 0, 0, 0].tolist() == [1, -1]
