"""Boxes, in the frame in which a policy writes them."""

from benchmarks.metrics.intervals import value
from benchmarks.metrics.localization import answered_box, localization_metrics


def values(metrics):
    return {key: round(value(metric), 4) for key, metric in metrics.items()}


def test_localization_in_the_frame_of_the_policy():
    texts = ['{"bbox_2d": [10, 20, 50, 60]}', "[0, 0, 50, 100]", "no idea", "[1,2,3,4] [1,2,3,4]"]
    truth = (0.1, 0.2, 0.5, 0.6)
    metrics = localization_metrics(texts, [truth, (0, 0, 1, 1), truth, truth], [[100, 100]] * 4)
    # The second is exactly one half, which counts.
    assert values(metrics) == {"iou50": 0.5, "mean_iou": 0.375, "answered": 0.5}
    assert answered_box("[500, 0, 1000, 1000]", [1000, 1000]) == (0.5, 0, 1, 1)
    assert answered_box("[5, 5, 1, 1]", [10, 10]) is None
