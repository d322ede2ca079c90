"""What the check of vLLM compares, and when it refuses."""

import math

import pytest
import torch

from data_gen.files.errors import InputError
from rl.vllm.check import before, kind_of, mean_gap, refuse_gaps, rows_to_compare


@pytest.mark.parametrize(
    ("counts", "places"),
    [
        ([2, 2, 2], [0]),
        ([2, 0, 2, 1, 0], [1, 3, 0]),
        ([5, 4, 3, 2, 1, 0, 9, 9], [5, 4, 3, 6]),  # of seven numbers the smallest, and the largest
        ([], []),
    ],
)
def test_one_row_of_each_number_of_images(counts, places):
    assert rows_to_compare(counts) == places


def test_the_gap_is_a_mean_over_tokens_not_over_completions():
    ours, theirs = [[-1.0, -2.0, -3.0], [-1.0]], [[-1.0, -2.5, -2.5], [-2.0]]
    assert mean_gap(ours, theirs) == pytest.approx(0.5)
    assert math.isnan(mean_gap([[-1.0]], [[None]]))
    assert math.isnan(mean_gap([[]], [[]]))
    with pytest.raises(ValueError, match="shorter"):
        mean_gap([[-1.0, -1.0]], [[-1.0]])


def test_completions_end_before_a_barred_token():
    assert before([5, 6, 9, 7], {9}) == [5, 6]
    assert before([9, 5], {9}) == []
    assert before((5, 6), ()) == [5, 6]


@pytest.mark.parametrize(
    ("dtype", "gap", "refused"),
    [
        (torch.float32, 9e-4, False),
        (torch.float32, 1.1e-3, True),
        (torch.bfloat16, 0.07, False),
        (torch.bfloat16, 0.12, True),
        (torch.float16, 0.03, True),
        (torch.float64, 2e-3, True),
        (torch.bfloat16, math.nan, True),
    ],
)
def test_what_rounding_does_not_explain_is_refused(dtype, gap, refused):
    gaps = {"text": 1e-6, "2 images": gap}
    if not refused:
        refuse_gaps(gaps, dtype)
        return
    with pytest.raises(InputError) as error:
        refuse_gaps(gaps, dtype)
    said = str(error.value)
    assert f"{gap:.2g} nats per token (2 images)" in said and "text" not in said.split("round")[0]
    assert "vllm_check to false" in said and str(dtype).removeprefix("torch.") in said


def test_kinds_have_names():
    assert [kind_of(n) for n in (0, 1, 3)] == ["text", "1 image", "3 images"]
