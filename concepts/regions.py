"""Propose regions of an image that may show a concept: windows, or the boxes of a detector.

A proposer takes an image and gives boxes ``(x1, y1, x2, y2)`` in 0-1, the likeliest first. The
detectors are what RAP and RePIC use; the windows need no weights.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from data_gen.files.errors import InputError
from data_gen.images.boxes import Box

Proposer = Callable[[Image.Image], list[Box]]

WINDOWS = (0.6, 0.4)
"""Sides of the windows, as shares of the image's. Neighbours overlap by half or more."""

MOST = 10
"""Regions per image, at most."""

MIN_SHARE = 0.02
"""Narrower regions, in shares of the image's side, are skipped."""

_GRID = 64


class DetectorError(InputError):
    """A detector that cannot be had; the message says why."""


def load_proposer(config: dict | None, device: str | None = None) -> Proposer | None:
    """The proposer of a config.

    Args:
        config: ``None`` for none, or ``{"kind": "windows" | "transformers" | "ultralytics"}`` and
            the arguments of :func:`windows`, :func:`zero_shot_detector`, :func:`ultralytics_model`.
        device: where a detector runs.

    Raises:
        DetectorError: no such kind, or the detector cannot be loaded.
    """
    if config is None:
        return None
    settings = {key: value for key, value in config.items() if key != "kind"}
    kind = config.get("kind")
    try:
        if kind == "windows":
            return lambda image: windows(image, **settings)
        if kind == "transformers":
            return zero_shot_detector(device=device, **settings)
        if kind == "ultralytics":
            return ultralytics_model(device=device, **settings)
    except TypeError as error:
        raise DetectorError(f"detector {kind!r}: {error}") from None
    raise DetectorError(
        f"no detector is called {kind!r}; there are windows, transformers and ultralytics"
    )


def windows(image: Image.Image, sides: Sequence[float] = WINDOWS, most: int = MOST) -> list[Box]:
    """Windows of several sizes, those first that differ most from what is around them.

    The plainest of centre-surround measures: the mean colour's distance from the image's border,
    inside of a window less outside of it.
    """
    pixels = np.asarray(image.convert("RGB").resize((_GRID, _GRID)), np.float32)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    odd = np.linalg.norm(pixels - np.median(border, axis=0), axis=2)  # (_GRID, _GRID)
    sums = np.pad(odd.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    scored = []
    for side in sides:
        steps = int(np.ceil((1 - side) / (side / 2))) + 1
        for top in np.linspace(0, 1 - side, steps):
            for left in np.linspace(0, 1 - side, steps):
                x1, y1, x2, y2 = (round(v * _GRID) for v in (left, top, left + side, top + side))
                inside = sums[y2, x2] - sums[y1, x2] - sums[y2, x1] + sums[y1, x1]
                area = (x2 - x1) * (y2 - y1)
                around = (sums[-1, -1] - inside) / (_GRID * _GRID - area)
                box = (float(left), float(top), float(left + side), float(top + side))
                scored.append((inside / area - around, box))
    scored.sort(key=lambda pair: -pair[0])
    return [box for _, box in scored[:most]]


def zero_shot_detector(
    model: str,
    labels: Sequence[str],
    *,
    threshold: float = 0.1,
    most: int = MOST,
    device: str | None = None,
) -> Proposer:
    """An open-vocabulary detector of transformers (OWL-ViT, OWLv2, Grounding DINO, ...).

    Args:
        model: hub id or directory, in safetensors.
        labels: what to look for: the categories of the concepts.
        threshold: least score of a box, 0-1.
        most: boxes per image.

    Raises:
        DetectorError: it cannot be loaded, or there are no labels.
    """
    import torch
    from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

    if not labels:
        raise DetectorError(
            f"detector {model!r} has no labels to look for; give the concepts' categories"
        )
    try:
        detector = AutoModelForZeroShotObjectDetection.from_pretrained(model, use_safetensors=True)
        processor = AutoProcessor.from_pretrained(model)
    except Exception as error:  # the library raises what it likes
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise DetectorError(f"detector {model!r} cannot be loaded: {reason}") from None
    detector.eval().to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    labels = list(labels)

    def propose(image: Image.Image) -> list[Box]:
        image = image.convert("RGB")
        inputs = processor(images=image, text=[labels], return_tensors="pt").to(detector.device)
        with torch.inference_mode():
            outputs = detector(**inputs)
        (found,) = processor.post_process_grounded_object_detection(
            outputs, threshold=threshold, target_sizes=[(image.height, image.width)]
        )
        return _kept(found["boxes"].tolist(), found["scores"].tolist(), image.size, most)

    return propose


def ultralytics_model(
    model: str, *, threshold: float = 0.1, most: int = MOST, device: str | None = None
) -> Proposer:
    """A detector of ultralytics (YOLO-World and others), from an ONNX export.

    Their own ``.pt`` files are pickles, which may run anything when opened; export them once where
    you trust them: ``yolo export model=yolov8x-worldv2.pt format=onnx``, its classes set before.

    Raises:
        DetectorError: not an ONNX file, or ultralytics is not installed.
    """
    if Path(model).suffix != ".onnx" or not Path(model).is_file():
        raise DetectorError(
            f"detector {model!r} is no .onnx file; export the detector to ONNX "
            "(its .pt files are pickles and are not opened)"
        )
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")  # it would install packages unasked
    try:
        from ultralytics import YOLO  # type: ignore[reportMissingImports]
    except ImportError:
        raise DetectorError(
            "ultralytics is not installed; pip install ultralytics onnxruntime"
        ) from None
    detector = YOLO(model, task="detect")

    def propose(image: Image.Image) -> list[Box]:
        image = image.convert("RGB")
        (found,) = detector.predict(
            image, conf=threshold, max_det=most, device=device, verbose=False
        )
        boxes = found.boxes
        return _kept(boxes.xyxy.tolist(), boxes.conf.tolist(), image.size, most)

    return propose


def crop(image: Image.Image, box: Box) -> Image.Image:
    """The part of an image in a box of 0-1; at least one pixel."""
    w, h = image.size
    x1, y1 = min(int(box[0] * w), w - 1), min(int(box[1] * h), h - 1)
    return image.crop((x1, y1, max(x1 + 1, round(box[2] * w)), max(y1 + 1, round(box[3] * h))))


def around(image: Image.Image, box: Box, context: float) -> Image.Image:
    """The square about a box of 0-1 that is ``context`` times as wide as the box's longer side, cut
    at the image's edges and enlarged until its longer side is the image's."""
    w, h = image.size
    x, y = (box[0] + box[2]) / 2 * w, (box[1] + box[3]) / 2 * h
    half = max((box[2] - box[0]) * w, (box[3] - box[1]) * h) * context / 2
    part = crop(
        image,
        (
            max(x - half, 0) / w,
            max(y - half, 0) / h,
            min(x + half, w) / w,
            min(y + half, h) / h,
        ),
    )
    scale = max(w, h) / max(part.size)
    size = [max(1, round(side * scale)) for side in part.size]
    return part.resize((size[0], size[1]), Image.Resampling.BICUBIC)


def _kept(boxes: list, scores: list[float], size: tuple[int, int], most: int) -> list[Box]:
    """Boxes in pixels as boxes in 0-1, cut at the image's edge, best first."""
    found = []
    for _, box in sorted(zip(scores, boxes, strict=True), key=lambda pair: -pair[0]):
        x1, x2 = (min(max(box[i] / size[0], 0.0), 1.0) for i in (0, 2))
        y1, y2 = (min(max(box[i] / size[1], 0.0), 1.0) for i in (1, 3))
        if x2 - x1 >= MIN_SHARE and y2 - y1 >= MIN_SHARE:
            found.append((x1, y1, x2, y2))
    return found[:most]
