"""The report on generated pairs, and its sheet."""

import random

import pytest
from PIL import Image

from benchmarks.toybox.generated_pairs import ClassifiedPair, draw_sheet, report
from data_gen.toybox.identity import KINDS, draw_identity


def test_a_report_on_pairs_and_its_sheet(tmp_path):
    toys = [draw_identity(random.Random(i), held_out=True) for i in range(3)]
    half = Image.new("RGB", (16, 16), "red")
    as_read = [dict(vars(toy)) for toy in toys]
    other = {**as_read[1], "kind": next(k for k in KINDS if k != toys[1].kind)}
    swapped = {**as_read[2], "kind": next(k for k in KINDS if k != toys[2].kind)}
    pairs = [  # as prompted; one half another toy; both halves the same wrong toy
        ClassifiedPair(toys[0], (half, half), (as_read[0], as_read[0])),
        ClassifiedPair(toys[1], (half, half), (as_read[1], other)),
        ClassifiedPair(toys[2], (half, half), (swapped, swapped)),
    ]
    found = report(pairs)
    assert found["pairs that agree"]["value"] == pytest.approx(2 / 3)
    assert found["pairs as asked"]["value"] == pytest.approx(1 / 3)
    assert found["attributes"]["value"] == pytest.approx(1 - 3 / 36)
    assert found["attributes of held-out toys"] == found["attributes"]
    assert found["attributes that agree"]["value"] == pytest.approx(1 - 1 / 18)
    draw_sheet(pairs, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 300
