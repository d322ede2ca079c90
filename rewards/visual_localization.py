"""Visual localization: the box of the named subject in the query image.

    reward = 1 if IoU(box answered / frame, box of the row) ≥ threshold, else 0

Each family of policies writes boxes in its own frame: Qwen2.5-VL in pixels of the image as its
processor resized it, Qwen3-VL in thousandths of either side. `box_frame` is that frame's [width,
height], by which the answer is divided to get the 0–1 units of the row. Without it, a correct box
would be scored as wrong whenever the processor resizes the image.

Source: RePIC (arXiv 2506.18369), the task it calls VLT; the IoU is that of torchvision's `box_iou`.

Cheats refused: several boxes in one answer, twenty boxes, one in the answer and another beside it,
two corners swapped, a box without area, a non-finite or out-of-frame one. A whole-image box is
scored like any other: it earns 1 only if the subject fills at least the threshold's share of the
image; such rows teach nothing and should not be in the data.
"""

from __future__ import annotations

import math

from rewards.parsing import answer_part, check_answer_format, completion_text, one_box

TASK = "visual_localization"
_ROUNDING = 1e-6  # an IoU that equals the threshold on paper may miss it in floating point


def visual_localization(
    completions,
    *,
    task,
    box,
    box_frame,
    threshold: float = 0.5,
    answer_format: str = "auto",
    **_,
) -> list[float | None]:
    """Score boxes.

    Args:
        completions: B strings or conversations.
        task: B task names; rows of other tasks get None.
        box: B true boxes [x1, y1, x2, y2] in 0–1 of the query image (None in other rows).
        box_frame: B pairs [width, height]: the size, in the policy's own units, of the image
            that it answers about, such as [644, 476] or [1000, 1000] (None in other rows).
        threshold: IoU from which a box is right, in (0, 1].
        answer_format: which part of a text is the answer: see `rewards.parsing.answer_part`.

    Returns:
        B rewards, each 0.0, 1.0 or None.

    Raises:
        ValueError: a setting is out of range, or a row of this task has no valid box or frame.

    Source:
        RePIC, arXiv 2506.18369.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold is {threshold!r}; an IoU threshold lies in (0, 1]")
    check_answer_format(answer_format)
    rows = zip(completions, task, box, box_frame, strict=True)
    return [
        _score(answer_part(completion_text(completion), answer_format), truth, frame, threshold)
        if row_task == TASK
        else None
        for completion, row_task, truth, frame in rows
    ]


def iou(a, b) -> float:
    """Intersection over union of two boxes.

    Args:
        a, b: x1 y1 x2 y2 in the same units, with x1 ≤ x2 and y1 ≤ y2.

    Returns:
        A float in 0…1; 0 for two boxes without area.
    """
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0.0) * max(height, 0.0)
    union = _area(a) + _area(b) - shared
    return shared / union if union else 0.0


def into_unit_frame(box, frame) -> tuple[float, float, float, float] | None:
    """A box in a policy's own units as one in 0–1 of the image.

    Corners up to one unit (and at most a hundredth of the side) beyond an edge are taken as
    rounding and moved to the edge.

    Args:
        box: x1 y1 x2 y2 in units of the frame; any floats.
        frame: [width, height], both positive.

    Returns:
        x1 y1 x2 y2 in 0–1, or None if the box is non-finite, out of frame or without area.
    """
    corners = []
    for corner, side in zip(box, (*frame, *frame), strict=True):
        slack = min(1.0, side / 100)
        if not -slack <= corner <= side + slack:  # NaN and infinity fail this too
            return None
        corners.append(min(max(corner / side, 0.0), 1.0))
    x1, y1, x2, y2 = corners
    # Area too: two corners may differ and their product still round to nothing.
    return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 and _area(corners) > 0 else None


def _area(box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _score(text: str, truth, frame, threshold: float) -> float:
    if truth is None or len(truth) != 4 or not (truth[0] < truth[2] and truth[1] < truth[3]):
        raise ValueError(f"a row of task {TASK} has the box {truth!r}; it needs x1 < x2, y1 < y2")
    if frame is None or len(frame) != 2 or not all(0 < side < math.inf for side in frame):
        raise ValueError(f"a row of task {TASK} has the box_frame {frame!r}; it is [width, height]")
    answered = one_box(text)
    unit = into_unit_frame(answered, frame) if answered else None
    return float(unit is not None and iou(unit, truth) >= threshold - _ROUNDING)
