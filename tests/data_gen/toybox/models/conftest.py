"""Drawn images, shared by the tests of the tiny models."""

import pytest

from data_gen.toybox.models.images import drawn_pairs, drawn_scenes


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return drawn_pairs(tmp_path_factory.mktemp("pairs"), 1, 32, 0)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return drawn_scenes(tmp_path_factory.mktemp("scenes"), 1, 32, 0, {0: 1, 1: 1, 2: 1})
