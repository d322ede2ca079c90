"""Looks change a whole picture, never what stands where."""

import random
from itertools import product

import numpy as np
import pytest

from data_gen.toybox.looks import ELEMENTS, Look, draw_look
from data_gen.toybox.scene import compose
from tests.data_gen.toybox.toys import some_identities

LOOK = Look("cartoon", "golden", "digital", "natural", "minimal")


def picture(look: Look | None, size: int = 64):
    return compose(random.Random(5), some_identities(2), size, look)


def test_without_a_look_a_scene_is_what_it_always_was():
    """The digest was taken before looks existed."""
    from hashlib import sha256

    drawn = compose(random.Random(0), some_identities(2), 64).image
    assert sha256(drawn.tobytes()).hexdigest()[:16] == PLAIN


PLAIN = "896c3dda6f0e4a32"


@pytest.mark.parametrize("element", ELEMENTS)
def test_every_value_of_an_element_can_be_seen_in_every_other_look(element):
    """No medium hides a style, no style a detail: the same scene in every look but for colours and
    saturation, of which one is enough where they are not the element."""
    others = {
        name: values if name in ("art_style", "medium", "detail") else values[1:2]
        for name, values in ELEMENTS.items()
        if name != element
    }
    for terms in product(*others.values()):
        look = dict(zip(others, terms, strict=True))
        shown = [
            np.asarray(picture(Look(**look, **{element: value})).image).astype(float)
            for value in ELEMENTS[element]
        ]
        for i, a in enumerate(shown):
            for b in shown[:i]:
                changed = abs(a - b).max(axis=-1) > 24  # of 255
                assert changed.mean() > 0.015, look


@pytest.mark.parametrize("size", [32, 64, 96, 100])
def test_a_look_leaves_toys_boxes_and_size_alone(size):
    plain = picture(None, size)
    rng = random.Random(1)
    for _ in range(20):
        drawn = picture(draw_look(rng), size)
        assert drawn.toys == plain.toys and drawn.boxes == plain.boxes
        assert drawn.image.size == (size, size) and drawn.image.mode == "RGB"


def test_a_look_is_drawn_from_its_seed_alone():
    assert picture(LOOK).image.tobytes() == picture(LOOK).image.tobytes()
    assert draw_look(random.Random(3)) == draw_look(random.Random(3))
    assert LOOK.terms == ("cartoon", "golden", "digital", "natural", "minimal")
