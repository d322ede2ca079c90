"""Boxes: how they are read, in which frame, and what IoU they need."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.ops import box_iou
from transformers import Qwen2VLImageProcessor

from rewards import visual_localization
from rewards.parsing import one_box
from rewards.visual_localization import into_unit_frame, iou


@pytest.mark.parametrize(
    "text",
    [
        "[10, 20, 30, 40]",
        "(10, 20, 30, 40)",
        "[[10,20,30,40]]",
        '{"bbox_2d": [10, 20, 30, 40]}',
        '```json\n[\n\t{"bbox_2d": [10, 20, 30.0, 4e1], "label": "<bo> (a dog)"}\n]\n```',
        '[{"bbox_2d": [10, 20, 30, 40], "lab',
        "Of the 2 dogs, <bo> (the brown one) is at [ +10 , 20. , 30 , 40 ], I am sure.",
    ],
)
def test_one_box_in_every_form(text):
    assert one_box(text) == (10, 20, 30, 40)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10, 20, 30, 40",
        "[10, 20, 30]",
        "[10, 20, 30, 40, 50]",
        "[[10, 20], [30, 40]]",
        "[a, b, c, d]",
        "[1_0, 20, 30, 40]",
        "[10, 20, 30, 40",
        '["10", "20", "30", "40"]',
    ],
)
def test_what_is_no_box(text):
    assert one_box(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "[10, 20, 30, 40] [10, 20, 30, 40]",
        "[10, 20, 30, 40] or (11, 21, 31, 41)",
        '[{"bbox_2d": [10, 20, 30, 40]}, {"bbox_2d": [50, 60, 70, 80]}]',
        "[nan, 0, 1, 1] [10, 20, 30, 40]",
    ],
)
def test_two_boxes_are_no_answer(text):
    assert one_box(text) is None


def test_reward_counts_from_the_threshold(batch):
    """The true box is [250, 250, 500, 500] in thousandths; IoU is shared area over joint area."""
    texts = ["[250, 250, 500, 500]", "[250, 250, 500, 375]", "[250, 250, 500, 370]"]  # 1, .5, .48
    case = batch(texts, "visual_localization")
    assert visual_localization(**case) == [1, 1, 0]
    assert visual_localization(**case, threshold=0.4) == [1, 1, 1]
    assert visual_localization(**case, threshold=1.0) == [1, 0, 0]


@pytest.mark.parametrize(
    "text",
    [
        "[500, 500, 250, 250]",  # corners swapped
        "[250, 250, 250, 500]",  # no width
        "[250, 250, 500, inf]",
        "[nan, 250, 500, 500]",
        "[250, 250, 500, 1e999]",
        "[250, 250, 500, 1002]",  # two units beyond the edge
        "[-2, 250, 500, 500]",
        "[0, 0, 1e-300, 1e-300]",  # the area rounds to nothing
    ],
)
def test_boxes_that_cannot_be_meant_earn_nothing(text, batch):
    """…even where the true box is the whole image."""
    case = batch([text], "visual_localization", box=[0.0, 0.0, 1.0, 1.0])
    assert visual_localization(**case, threshold=0.01) == [0]


def test_a_corner_one_unit_beyond_the_edge_is_rounding(batch):
    case = batch(["[-1, 0, 1001, 1000]"], "visual_localization", box=[0.0, 0.0, 1.0, 1.0])
    assert visual_localization(**case, threshold=1.0) == [1]
    # In a frame of 0–1 one unit would be the whole image: there it is a hundredth.
    assert into_unit_frame((0, 0, 1.5, 1), (1, 1)) is None
    assert into_unit_frame((0, 0, 1.005, 1), (1, 1)) == (0, 0, 1, 1)


def test_a_whole_image_box_earns_only_what_its_iou_says(batch):
    whole = "[0, 0, 1000, 1000]"
    small = batch([whole], "visual_localization", box=[0.1, 0.1, 0.7, 0.7])
    large = batch([whole], "visual_localization", box=[0.1, 0.0, 1.0, 1.0])
    assert visual_localization(**small) == [0] and visual_localization(**large) == [1]


@pytest.mark.parametrize(
    ("columns", "settings", "message"),
    [
        ({"box": None}, {}, "has the box None"),
        ({"box": [0.5, 0.5, 0.1, 0.1]}, {}, "x1 < x2"),
        ({"box_frame": None}, {}, "box_frame None"),
        ({"box_frame": [0, 100]}, {}, r"\[width, height\]"),
        ({}, {"threshold": 0}, r"\(0, 1\]"),
        ({}, {"threshold": 50}, r"\(0, 1\]"),
    ],
)
def test_broken_rows_and_settings_are_errors(columns, settings, message, batch):
    with pytest.raises(ValueError, match=message):
        visual_localization(**batch(["[1, 2, 3, 4]"], "visual_localization", **columns), **settings)


sides = st.floats(0, 0.9), st.floats(0, 0.9), st.floats(0.01, 0.5), st.floats(0.01, 0.5)
boxes = st.tuples(*sides).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))


@given(boxes, boxes)
def test_iou_is_torchvisions(a, b):
    reference = box_iou(*torch.tensor([[a], [b]], dtype=torch.float64)).item()
    assert math.isclose(iou(a, b), reference, abs_tol=1e-9)


# --- the frame, with the real processors -----------------------------------------------------

QWEN2_5 = dict(patch_size=14, size={"shortest_edge": 3136, "longest_edge": 300_000})
QWEN3 = dict(patch_size=16, size={"shortest_edge": 65_536, "longest_edge": 300_000})


def image_after_resize(processor, image):
    """What the policy sees: the processor's patches put together again, [3, height, width]."""
    out = processor(images=[image], return_tensors="pt")
    _, rows, columns = out["image_grid_thw"][0].tolist()
    p, m = processor.patch_size, processor.merge_size
    patches = out["pixel_values"].view(rows // m, columns // m, m, m, 3, 2, p, p)[:, :, :, :, :, 0]
    return patches.permute(4, 0, 2, 5, 1, 3, 6).reshape(3, rows * p, columns * p)


@pytest.mark.parametrize("size", [(1300, 700), (40, 30)], ids=["shrunk", "enlarged"])
@pytest.mark.parametrize("settings", [QWEN2_5, QWEN3], ids=["qwen2.5-vl", "qwen3-vl"])
def test_boxes_are_scored_in_the_frame_that_the_policy_sees(settings, size, batch):
    """A subject's box in the resized image scores 1, its box in the original does not.

    The box answered is measured in the very pixels that the processor hands to the model, so the
    test would also fail if the processor cropped, padded or turned the image.
    """
    processor = Qwen2VLImageProcessor(**settings)
    truth = [0.6, 0.6, 0.8, 0.9]
    image = Image.new("RGB", size, "black")
    pixels = [round(t * side) for t, side in zip(truth, size * 2, strict=True)]
    image.paste("white", tuple(pixels))

    seen = image_after_resize(processor, image)
    bright = seen.mean(0) > (seen.min() + seen.max()) / 2
    ys, xs = torch.where(bright)
    frame = [seen.shape[2], seen.shape[1]]
    resized = [xs.min().item(), ys.min().item(), xs.max().item() + 1, ys.max().item() + 1]

    row = {"box": truth, "box_frame": frame}
    case = batch([str(resized), str(pixels)], "visual_localization", **row)
    assert visual_localization(**case, threshold=0.85) == [1, 0]
    assert visual_localization(**case) == [1, 0]

    # The same for a policy that answers in thousandths, whatever the processor does.
    row = {"box": truth, "box_frame": [1000, 1000]}
    thousandths = [round(1000 * t) for t in truth]
    texts = [str(thousandths), str([1.0 * t for t in truth])]
    assert visual_localization(**batch(texts, "visual_localization", **row)) == [1, 0]
