"""Box geometry: exactly what torchvision does to tv_tensors, and to pixels that show the box."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from torchvision.transforms.v2 import functional as vision
from torchvision.tv_tensors import BoundingBoxes

from data_gen.images import boxes
from data_gen.images.boxes import Framed
from rewards.visual_localization import iou

sides = st.integers(8, 400)
sizes = st.tuples(sides, sides)
fractions = st.tuples(*[st.floats(0, 1)] * 4).map(
    lambda f: (min(f[0], f[2]), min(f[1], f[3]), max(f[0], f[2]), max(f[1], f[3]))
)
wide = fractions.filter(lambda f: f[2] - f[0] > 0.05 and f[3] - f[1] > 0.05)
many = settings(max_examples=200, deadline=None)


def tv(box, size) -> BoundingBoxes:
    return BoundingBoxes(
        torch.tensor([box], dtype=torch.float64), format="XYXY", canvas_size=(size[1], size[0])
    )


def equal(box, expected: BoundingBoxes) -> None:
    assert box == pytest.approx(expected[0].tolist(), abs=1e-4)


# ---- against torchvision ----


@many
@given(fractions, sizes, sizes)
def test_resize(fraction, old, new):
    box = boxes.absolute(fraction, old)
    equal(boxes.resized(box, old, new), vision.resize(tv(box, old), [new[1], new[0]]))


@many
@given(fractions, sizes, st.tuples(*[st.integers(0, 90)] * 4))
def test_pad(fraction, size, margins):
    box = boxes.absolute(fraction, size)
    equal(boxes.padded(box, *margins[:2]), vision.pad(tv(box, size), list(margins)))


@many
@given(fractions, sizes)
def test_mirror(fraction, size):
    box = boxes.absolute(fraction, size)
    equal(boxes.mirrored(box, size[0]), vision.horizontal_flip(tv(box, size)))


@many
@given(fractions, sizes, st.data())
def test_crop(fraction, size, data):
    box = boxes.absolute(fraction, size)
    left, top = data.draw(st.integers(0, size[0] - 2)), data.draw(st.integers(0, size[1] - 2))
    width = data.draw(st.integers(1, size[0] - left))
    height = data.draw(st.integers(1, size[1] - top))
    expected = vision.crop(tv(box, size), top, left, height, width)
    equal(boxes.cropped(box, (left, top, left + width, top + height)), expected)


# ---- against pixels ----


def painted(size, box) -> Framed:
    """A black picture whose box, in whole pixels, is white."""
    image = Image.new("RGB", size)
    ImageDraw.Draw(image).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill="white")
    return Framed(image, boxes.relative(box, size))


@pytest.mark.parametrize(
    "change",
    [
        boxes.mirror,
        lambda framed: boxes.crop(framed, (5, 3, 50, 38)),
        lambda framed: boxes.surroundings(random.Random(1), framed),
    ],
)
def test_the_box_follows_the_pixels(change):
    box = (12, 10, 30, 33)
    after = change(painted((60, 40), box))
    assert boxes.absolute(after.box, after.image.size) == pytest.approx(
        after.image.convert("L").getbbox()
    )


def test_padding_is_white_and_moves_the_box():
    after = boxes.pad(painted((60, 40), (12, 10, 30, 33)), 4, 6, 8, 2)
    assert after.image.size == (72, 48)
    assert boxes.absolute(after.box, (72, 48)) == pytest.approx((16, 16, 34, 39))
    assert after.image.getpixel((0, 0)) == (255, 255, 255)


@many
@given(wide, sizes, st.integers(0, 1000))
def test_surroundings_hold_the_whole_box(fraction, size, seed):
    framed = Framed(Image.new("RGB", size), fraction)
    after = boxes.surroundings(random.Random(seed), framed)
    before, now = (boxes.absolute(f.box, f.image.size) for f in (framed, after))
    assert (now[2] - now[0], now[3] - now[1]) == pytest.approx(
        (before[2] - before[0], before[3] - before[1]), abs=1e-4
    )
    assert 0 <= after.box[0] < after.box[2] <= 1 and 0 <= after.box[1] < after.box[3] <= 1


def test_a_close_up_ends_at_the_margin_and_at_the_picture():
    image = Image.new("RGB", (100, 100))
    assert boxes.close_up(image, (0.2, 0.2, 0.6, 0.4), margin=0.1).size == (48, 24)
    assert boxes.close_up(image, (0.0, 0.0, 1.0, 0.5), margin=0.1).size == (100, 55)


# ---- measures ----


@many
@given(fractions, fractions)
def test_iou_is_torchvisions(a, b):
    from torchvision.ops import box_iou

    if boxes.area(a) and boxes.area(b):
        expected = box_iou(
            torch.tensor([a], dtype=torch.float64), torch.tensor([b], dtype=torch.float64)
        )
        assert iou(a, b) == pytest.approx(expected.item(), abs=1e-4)


def test_hidden_is_the_share_of_the_smaller_box():
    assert boxes.hidden((0, 0, 10, 10), (5, 0, 7, 10)) == 1
    assert boxes.hidden((0, 0, 10, 10), (8, 0, 18, 10)) == pytest.approx(0.2)
    assert boxes.hidden((0, 0, 1, 1), (2, 2, 2, 2)) == 0 == iou((0, 0, 0, 0), (0, 0, 0, 0))
