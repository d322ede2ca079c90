"""The polygons of every toy: well formed, within reach, in roles that an identity can colour."""

import itertools

import numpy as np
import pytest

from data_gen.toybox.draw import palette
from data_gen.toybox.identity import ACCESSORIES, KINDS, PATTERNS, from_number
from data_gen.toybox.shapes import mirrored, pair, polygon, template


@pytest.mark.parametrize("kind", KINDS)
def test_every_template_is_well_formed(kind):
    roles = set(palette(from_number(0)))
    for pattern, accessory in itertools.product(PATTERNS, ACCESSORIES):
        shape = template(kind, pattern, accessory)
        assert len(shape.start) - 1 == len(shape.roles) == len(shape.outlined)
        assert shape.start[0] == 0 and shape.start[-1] == len(shape.points)
        assert all(b - a >= 3 for a, b in itertools.pairwise(shape.start))
        assert set(shape.roles) <= roles and {"main", "second", "extra"} <= set(shape.roles)
        assert np.isfinite(shape.points).all() and np.abs(shape.points).max() < 1.4


def test_templates_differ_by_kind_pattern_and_accessory():
    shapes = [template(*key) for key in itertools.product(KINDS, PATTERNS, ACCESSORIES)]
    assert len({shape.points.tobytes() for shape in shapes}) == len(shapes)


def test_a_pair_is_a_shape_and_its_mirror_image():
    corner = polygon(0.1, 0.2, 0.3, 0.4, 0.1, 0.4)
    (_, right, _), (_, left, _) = pair("main", corner)
    assert np.array_equal(right, corner) and np.array_equal(mirrored(left), corner)
    assert np.array_equal(left[:, 0], -corner[:, 0])
