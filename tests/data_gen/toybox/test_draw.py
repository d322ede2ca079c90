"""Drawn toys: boxes, every attribute visible, every size."""

import random

import numpy as np
import pytest
from PIL import ImageChops

from data_gen.toybox import identity as toys
from data_gen.toybox.draw import GROUNDS, STYLES, Placed, Stage, draw_scene
from tests.data_gen.toybox.toys import some_identities


@pytest.mark.parametrize("style", STYLES)
def test_a_box_is_the_extent_of_what_is_drawn(style):
    for identity in some_identities(8):
        toy = Placed(identity, 0.5, 0.55, 0.6, angle=17)
        stage = Stage(style=style, wall="mint")
        with_toy, (box,) = draw_scene([toy], stage, 192)
        bare, _ = draw_scene([], stage, 192)
        drawn = ImageChops.difference(with_toy, bare).getbbox()
        shadow = 0.03 * toy.height * 192  # the floor's shadow reaches that far below
        slack = 4 + shadow
        assert np.allclose(np.array(box) * 192, drawn, atol=slack), (box, drawn)
        # Left, top and right have no shadow: within the outline's width.
        assert abs(box[1] * 192 - drawn[1]) <= 4


def test_every_attribute_can_be_seen_at_64_pixels():
    """Toys that differ in one attribute give different images of the same scene."""
    rng = random.Random(0)
    for identity in some_identities(60):
        negative = toys.hard_negative(rng, identity)
        a, _ = draw_scene([Placed(identity, 0.5, 0.55, 0.7)], Stage(), 64)
        b, _ = draw_scene([Placed(negative, 0.5, 0.55, 0.7)], Stage(), 64)
        difference = np.abs(np.asarray(a, int) - np.asarray(b, int)).max(-1)
        assert (difference > 30).sum() >= 12, (identity, negative)


@pytest.mark.parametrize("ground", GROUNDS)
def test_one_code_path_draws_every_size(ground):
    toy = Placed(some_identities(1)[0], 0.5, 0.55, 0.7)
    boxes = []
    for size in (64, 512):
        image, (box,) = draw_scene([toy], Stage(ground=ground, seed=5), size)
        assert image.size == (size, size)
        boxes.append(box)
    assert boxes[0] == boxes[1]
