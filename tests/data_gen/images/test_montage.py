"""Composites: photos stay large, within the bound, each where its panel says."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data_gen.images.montage import composite, panels

COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 0, 255)]


@pytest.mark.parametrize(
    ("sizes", "side", "expected"),
    [
        ([(40, 40), (40, 40)], "long", (64, 32)),  # squares: side by side
        ([(30, 60), (30, 60)], "long", (64, 64)),  # upright ones too
        ([(60, 30), (60, 30)], "long", (64, 64)),  # wide ones: one above the other
        ([(40, 40)] * 3, "short", (96, 32)),
    ],
)
def test_composite_keeps_photos_large_within_the_bound(sizes, side, expected):
    colours = COLOURS[: len(sizes)]
    photos = [
        Image.new("RGB", (2 * w, 2 * h), colour)
        for (w, h), colour in zip(sizes, colours, strict=True)
    ]
    whole = composite(photos, 64 if side == "long" else 32, side)
    assert whole.size == expected
    area = {colour: n for n, colour in whole.getcolors()}
    assert all(area[c] / (whole.width * whole.height) > 0.9 / len(sizes) for c in colours)


sides = st.integers(40, 300)
photo_sizes = st.lists(st.tuples(sides, sides), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(photo_sizes, st.integers(64, 200))
def test_each_panel_is_filled_by_its_photo_and_overlaps_no_other(sizes, size):
    photos = [Image.new("RGB", wh, c) for wh, c in zip(sizes, COLOURS, strict=False)]
    whole, places = panels(sizes, size)
    picture = composite(photos, size)
    assert picture.size == whole and max(whole) <= size
    for colour, place in zip(COLOURS, places, strict=False):
        assert picture.crop(place).getcolors() == [
            ((place[2] - place[0]) * (place[3] - place[1]), colour)
        ]
        assert min(place) >= 0 and place[2] <= whole[0] and place[3] <= whole[1]
