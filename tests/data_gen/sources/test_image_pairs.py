"""Where the halves of a pair are, and what its item's text says it is."""

import io

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data_gen.sources.image_pairs import Pairs, category_of, half_boxes
from data_gen.sources.subjects200k import read_pairs, thresholds
from tests.data_gen.pair_rows import SAMPLE, needs_sample


@pytest.mark.parametrize(
    ("size", "boxes"),
    [
        ((1048, 528), [(8, 8, 520, 520), (528, 8, 1040, 520)]),
        ((2072, 1040), [(8, 8, 1032, 1032), (1040, 8, 2064, 1032)]),
        ((2096, 1056), [(16, 16, 1040, 1040), (1056, 16, 2080, 1040)]),
        ((2048, 1024), [(0, 0, 1024, 1024), (1024, 0, 2048, 1024)]),
    ],
)
def test_the_published_geometries(size, boxes):
    assert half_boxes(*size) == boxes


@given(st.integers(8, 1500), st.integers(0, 40), st.integers(0, 3))
def test_halves_of_any_size_are_found_and_other_proportions_refused(side, margin, inset):
    width, height = 2 * side + 3 * margin, side + 2 * margin
    boxes = half_boxes(width, height, inset)
    if margin <= height / 8:
        assert boxes == [
            (x + inset, margin + inset, x + side - inset, margin + side - inset)
            for x in (margin, 2 * margin + side)
        ]
    assert half_boxes(2 * height + 1, height) is None and half_boxes(height, height) is None


@pytest.mark.shared
@needs_sample
def test_real_halves_hold_no_border_pixels():
    """The outermost line of a crop is like the next one; with the margin in it, it would not be."""
    pairs = Pairs(SAMPLE, 1, 512, "long")
    assert not read_pairs(pairs, thresholds(None)) and len(pairs) == 3
    for subject in (pairs[i] for i in range(3)):
        for view in subject.views:
            image = view.open()
            assert image.size == (510, 510)
            for turned in range(4):
                lines = np.rot90(np.asarray(image, dtype=float), turned)
                steps = np.abs(np.diff(lines[:5], axis=0)).mean((1, 2))
                assert steps[0] < 2 * steps[1:].mean() + 1


@pytest.mark.shared
@needs_sample
def test_real_rows_without_the_inset_are_the_published_crops():
    pairs = Pairs(SAMPLE, 0, 512, "long")
    read_pairs(pairs, thresholds(None))
    data = pq.read_table(SAMPLE / "sample-00000.parquet").column("image")[1]["bytes"].as_py()
    whole = Image.open(io.BytesIO(data)).convert("RGB")
    assert [view.open().tobytes() for view in pairs[1].views] == [
        whole.crop(box).tobytes() for box in ((8, 8, 520, 520), (528, 8, 1040, 520))
    ]


@pytest.mark.parametrize(
    ("item", "category"),
    [
        ("Hedgehog", "hedgehog"),
        ("Painting of Honfleur harbor by Monet", "painting"),
        ("Crisp, golden beverage in glass or bottle", "beverage"),
        ("vintage typewriter, black", "typewriter"),
        ("A pair of red sneakers", "sneaker"),
        ("iPhone 12", "iphone"),
        ("Ceramic mug (blue)", "mug"),
        ("sunglasses", "sunglasses"),
        ("Puppies", "puppy"),
        ("Wooden boxes", "box"),
        ("水壺", "水壺"),
        ("12", None),
        (" , ", None),
    ],
)
def test_category_from_the_text(item, category):
    assert category_of(item) == category


@given(st.text(max_size=60))
def test_any_text_gives_a_category_or_none(item):
    category = category_of(item)
    assert category is None or (category == category.lower() and " " not in category and category)
