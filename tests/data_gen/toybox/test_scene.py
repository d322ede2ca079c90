"""Scenes: number, boxes and overlap of toys."""

import random

import pytest

from data_gen.toybox.draw import box_of, outline
from data_gen.toybox.scene import compose
from tests.data_gen.toybox.toys import some_identities


def test_boxes_stay_inside_the_image_and_toys_hardly_overlap():
    rng = random.Random(3)
    for k in (1, 2, 3, 4):
        for _ in range(20):
            scene = compose(rng, some_identities(k, seed=rng.random()), 64)
            assert len(scene.boxes) == k and scene.image.size == (64, 64)
            for toy, box in zip(scene.toys, scene.boxes, strict=True):
                assert 0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1
                assert box == box_of(outline(toy))


def test_a_scene_has_one_to_four_toys():
    with pytest.raises(ValueError, match="one to four"):
        compose(random.Random(0), [], 64)
