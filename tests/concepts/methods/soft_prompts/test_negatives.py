"""Negatives of a concept: the pictures most like its photos, and others at random."""

import hashlib

import numpy as np
import pytest
from PIL import Image

from concepts.methods.soft_prompts.negatives import choose_negatives
from data_gen.images.encoders import Encoder


def grey(level):
    return Image.new("RGB", (8, 8), (level, level, level))


@pytest.fixture
def encoder():
    """Pictures as points on a circle: the greyer, the further round."""

    def images(pictures):
        angles = np.array([np.asarray(picture)[0, 0, 0] / 100 for picture in pictures])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)

    return Encoder("circle", 2, hashlib.sha256(b"circle").hexdigest()[:12], images)


def test_photos_take_turns_in_choosing_what_is_most_like_them(encoder, tmp_path):
    pool = [grey(level) for level in (12, 15, 90, 96, 200)]
    photos = {"bo": [grey(10), grey(100)], "mia": [grey(14)]}
    chosen = choose_negatives(photos, pool, encoder, 2, 3, cache=tmp_path)
    assert chosen["bo"].hard == [0, 3, 1]
    assert chosen["mia"].hard == [1, 0, 2]  # never a photo of bo, which is nearer than 90
    for one in chosen.values():
        assert len(one.random) == 2 and not set(one.random) & set(one.hard)


def test_pictures_that_may_show_the_concept_are_none_of_its_negatives(encoder, tmp_path):
    pool = [grey(10), grey(60), grey(200)]
    found = choose_negatives(
        {"bo": [grey(10)]}, pool, encoder, 3, 1, near_duplicate=0.999, cache=tmp_path
    )
    assert found["bo"].hard == [1]
    assert found["bo"].random == [2]


def test_a_picture_that_does_not_open_is_never_a_hard_one(encoder, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    pool = [tmp_path / "broken.png", grey(60)]
    assert choose_negatives({"bo": [grey(10)]}, pool, encoder, 0, 5, cache=tmp_path)["bo"].hard == [
        1
    ]


def test_vectors_of_the_owners_photos_are_not_kept(encoder, tmp_path):
    """Forgetting a concept leaves nothing of it behind."""
    pool = [grey(60), grey(90)]
    choose_negatives({"bo": [grey(10), grey(20)]}, pool, encoder, 0, 1, cache=tmp_path)
    kept = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(kept) == 1
    choose_negatives({"mia": [grey(30)]}, pool, encoder, 0, 1, cache=tmp_path)
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == kept


def test_without_an_encoder_all_are_random():
    pool = [grey(level) for level in range(0, 200, 20)]
    first, second = (
        choose_negatives({"bo": [grey(1)]}, pool, None, 4, 4, seed=seed)["bo"] for seed in (0, 1)
    )
    assert len(first.random) == 4 and not first.hard
    assert first != second
