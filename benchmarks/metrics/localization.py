"""Localization metrics: share of boxes at IoU >= 0.5, and mean IoU."""

from collections.abc import Sequence

import numpy as np

from benchmarks.metrics.intervals import Metric, ratio
from rewards.parsing import answer_part, one_box
from rewards.visual_localization import into_unit_frame, iou

_ROUNDING = 1e-6  # an IoU of one half on paper may miss it in floating point


def answered_box(
    text: str, frame: Sequence[float] | None, answer_format: str = "auto"
) -> tuple[float, float, float, float] | None:
    """The one box that a text answers, in 0-1 of the image; None for none, several, or one that
    is degenerate or out of frame.

    Args:
        text: any string.
        frame: [width, height] of the frame in which the policy writes boxes; without it nothing
            can be placed.
        answer_format: what of the text is the answer: see :func:`rewards.parsing.answer_part`.
    """
    box = one_box(answer_part(text, answer_format))
    return into_unit_frame(box, frame) if box and frame else None


def localization_metrics(
    texts: Sequence[str],
    truths: Sequence[Sequence[float] | None],
    frames: Sequence[Sequence[float] | None],
    threshold: float = 0.5,
    answer_format: str = "auto",
) -> dict[str, Metric]:
    """The scores of N answers; no box counts as IoU 0.

    Args:
        texts: what the policy wrote.
        truths: x1 y1 x2 y2 in 0-1.
        frames: [width, height] each; see :func:`answered_box`.
        threshold: IoU from which a box is right.
        answer_format: see :func:`answered_box`.

    Returns:
        ``iou50`` (share at the threshold), ``mean_iou``, ``answered`` (share with one valid box).
    """
    boxes = [
        answered_box(text, frame, answer_format) for text, frame in zip(texts, frames, strict=True)
    ]
    ious = np.array(
        [
            iou(box, truth) if box and truth else 0.0
            for box, truth in zip(boxes, truths, strict=True)
        ],
        dtype=np.float64,
    )
    return {
        "iou50": ratio(ious >= threshold - _ROUNDING),
        "mean_iou": ratio(ious),
        "answered": ratio([box is not None for box in boxes]),
    }
