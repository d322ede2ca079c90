"""True captions of images, from a file."""

import json

import pytest

from benchmarks.formats.captions import read_true_captions
from data_gen.files.errors import InputError
from data_gen.files.skipped import SkippedItems


def test_true_captions_of_images(tmp_path):
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog" / "00.jpg").write_bytes(b"")
    file, skipped = tmp_path / "captions.json", SkippedItems()
    file.write_text(
        json.dumps(
            {
                "./data/dog/00.jpg": ["a dog", " ", 7],
                "./data/dog/01.jpg": "two",
                "./data/dog/02.jpg": [],
            }
        )
    )
    found = read_true_captions(file, {"./data": str(tmp_path)}, skipped)
    assert found == {(tmp_path / "dog" / "00.jpg").resolve(): ("a dog",)}
    assert list(skipped.counts.values()) == [1, 1]
    for data, sentence in (([], "found list"), ({}, "it is empty"), ({"x": "y"}, "on disk")):
        file.write_text(json.dumps(data))
        with pytest.raises(InputError, match=sentence):
            read_true_captions(file, {"./data": str(tmp_path)}, SkippedItems())
