"""Scores of a pair: points of each measure, and the seam."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data_gen.files.errors import SourceError
from data_gen.images.encoders import Encoder
from data_gen.synthesis.quality import (
    CONSISTENCY,
    QUALITY,
    STRUCTURE,
    CandidatePair,
    QualitySettings,
    pair_scorer,
    rejection_reason,
    score_pairs,
    seam,
    to_points,
)
from tests.concepts.tiny_encoders import save_dinov2

ONE, MANY, MUG, BEAR = np.eye(4, dtype=np.float32)


@given(st.floats(allow_nan=True), st.floats(-1, 0.4), st.floats(0.5, 1))
def test_points_are_whole_and_rise_from_bound_to_bound(value, low, high):
    got = to_points(value, (low, high))
    assert type(got) is int and 0 <= got <= 5
    assert to_points(low, (low, high)) == 0 and to_points(high, (low, high)) == 5
    assert to_points(high + 1, (low, high)) == 5
    if value == value:
        assert got <= to_points(value + 0.1, (low, high))


def unit(*parts) -> np.ndarray:
    whole = sum(parts)
    return whole / np.linalg.norm(whole)


def test_each_measure_has_its_field():
    """Images are looked up by their colour, texts by themselves: the sums are done by hand."""
    images_of = {"red": unit(ONE, MUG), "blue": unit(ONE, BEAR), "green": unit(MANY, MUG)}
    texts = {"one": ONE, "many": MANY, "mug, here": MUG, "mug, there": MUG}
    encoder = Encoder(
        "hand",
        4,
        "0",
        lambda images: np.stack(
            [
                images_of[
                    {(255, 0, 0): "red", (0, 0, 255): "blue"}.get(image.getpixel((0, 0)), "green")
                ]
                for image in images
            ]
        ),
        lambda lines: np.stack([texts[line] for line in lines]),
    )
    settings = QualitySettings(
        "hand",
        consistency=(0.0, 1.0),
        agreement=(0.0, 0.7),
        structure=(0.0, 1.0),
        one=("one",),
        others=("many",),
    )

    def judged(left, right):
        halves = tuple(Image.new("RGB", (8, 8), c) for c in (left, right))
        return score_pairs(
            [CandidatePair(halves, "mug", ("here", "there"))],
            settings,
            encoder,
            encoder.texts(["one", "many"]),
        )[0]

    assert judged("red", "red") == {STRUCTURE: 4, CONSISTENCY: 5, QUALITY: 5} or judged(
        "red", "red"
    ) == {STRUCTURE: 5, CONSISTENCY: 5, QUALITY: 5}
    assert judged("red", "blue")[CONSISTENCY] == 2  # cosine 0.5
    assert judged("red", "blue")[QUALITY] == 0  # the bear agrees with no text
    assert judged("red", "green")[STRUCTURE] == 0  # one half shows many


def strips(*colours: tuple[int, int, int]) -> Image.Image:
    image = Image.new("RGB", (16 * len(colours), 16))
    for i, colour in enumerate(colours):
        image.paste(colour, (16 * i, 0, 16 * i + 16, 16))
    return image


def test_a_seam_is_a_jump_in_the_middle():
    assert seam(strips((255, 0, 0), (0, 0, 255))) > 10
    assert seam(strips((9, 9, 9), (9, 9, 9))) == 0
    ramp = Image.linear_gradient("L").rotate(90).resize((64, 32))
    assert 0.5 < seam(ramp) < 1.5


def test_the_first_field_below_its_least_is_the_reason():
    scores = {STRUCTURE: 5, CONSISTENCY: 2, QUALITY: 1}
    assert rejection_reason(scores, {CONSISTENCY: 3, QUALITY: 3}) == "objectConsistency below 3"
    assert rejection_reason(scores, {QUALITY: 1.5}) == "imageQuality below 1.5"
    assert rejection_reason(scores, {}) is None


def test_an_encoder_must_be_there_and_read_texts(tmp_path):
    with pytest.raises(SourceError, match="quality: encoder"):
        pair_scorer(QualitySettings(str(tmp_path)), "cpu")
    with pytest.raises(SourceError, match="no text side"):
        pair_scorer(QualitySettings(str(save_dinov2(tmp_path / "dino"))), "cpu")
