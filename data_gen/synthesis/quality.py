"""Score a pair from 0 to 5 with an image-text encoder, in the three fields of Subjects200K.

- ``objectConsistency``: cosine similarity of the two halves;
- ``imageQuality``: similarity of each half with its own text, the smaller of the two;
- ``compositeStructure``: the probability that a half shows one subject, and not several, none or a
  collage, by its similarity to texts that say so, the smaller of the two; 0 where an image that was
  generated as a diptych has no seam in its middle.

A measure gives 0 points at its lower bound and below, 5 at its upper bound and above, whole points
between; suitable bounds depend on the encoder. A chat model as a judge is not implemented.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from data_gen.files.errors import SourceError
from data_gen.files.files import is_missing_path
from data_gen.images.encoders import Encoder, EncoderError, load_encoder
from data_gen.toybox.weights import local_weights

CONSISTENCY, QUALITY, STRUCTURE = "objectConsistency", "imageQuality", "compositeStructure"

LOGIT_SCALE = 100.0
"""Factor of similarities before the softmax: CLIP's usual scale."""


@dataclass(frozen=True)
class QualitySettings:
    """How pairs are scored.

    Args:
        encoder: a name for :func:`data_gen.images.encoders.load_encoder`; it needs a text side.
        consistency, agreement, structure: lower and upper bound of each measure (agreement: of a
            half with its text, for ``imageQuality``).
        text: the text of a half; ``{item}`` and ``{scene}`` are replaced.
        one: texts of a good half; ``others``: of bad ones.
        seam: least difference of colour across the middle of a diptych, as a multiple of the mean
            difference between neighbouring columns; ``None``: no seam is required.
        least: field -> least points of a pair that is kept.
    """

    encoder: str
    consistency: tuple[float, float] = (0.6, 0.9)
    agreement: tuple[float, float] = (0.18, 0.30)
    structure: tuple[float, float] = (0.3, 0.7)
    text: str = "{item}, {scene}"
    one: tuple[str, ...] = ("a photo of one object",)
    others: tuple[str, ...] = (
        "a photo of several objects",
        "a collage of photos",
        "an empty place without any object",
    )
    seam: float | None = 1.5
    least: dict = field(default_factory=lambda: {STRUCTURE: 3, CONSISTENCY: 3, QUALITY: 3})


def quality_settings(settings: Mapping) -> QualitySettings:
    """Check the settings of a config.

    Raises:
        SourceError: an unknown key, or an impossible value.
    """
    known = QualitySettings.__dataclass_fields__
    unknown = sorted(set(settings) - set(known))
    if unknown or "encoder" not in settings:
        raise SourceError(
            "quality: "
            + (f"unknown key '{unknown[0]}'" if unknown else "'encoder' is missing")
            + f"; it may have {', '.join(known)}"
        )
    given: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()
    }
    made = QualitySettings(**given)
    if is_missing_path(local_weights(made.encoder)):
        raise SourceError(
            f"quality: encoder {made.encoder} does not exist; byname tiny_model makes the toybox's"
        )
    for key in ("consistency", "agreement", "structure"):
        bounds = getattr(made, key)
        if len(bounds) != 2 or not bounds[0] < bounds[1]:
            raise SourceError(f"quality: {key} must be a lower and an upper bound, not {bounds}")
    if set(made.least) - {STRUCTURE, CONSISTENCY, QUALITY}:
        raise SourceError(
            f"quality: least may have {STRUCTURE}, {CONSISTENCY} and {QUALITY}, not "
            f"{sorted(made.least)}"
        )
    return made


@dataclass(frozen=True)
class CandidatePair:
    """A pair to be scored. ``whole``: the image that it was cut from, if any."""

    halves: tuple[Image.Image, Image.Image]
    item: str
    scenes: tuple[str, str]
    whole: Image.Image | None = None


def pair_scorer(
    settings: QualitySettings, device: str
) -> Callable[[Sequence[CandidatePair]], list[dict[str, int]]]:
    """Load the encoder; gives a function from pairs to their points: field -> 0-5.

    Raises:
        SourceError: the encoder cannot be loaded, or has no text side.
    """
    try:
        encoder = load_encoder(settings.encoder, device)
    except EncoderError as error:
        raise SourceError(f"quality: {error}") from None
    if encoder.texts is None:
        raise SourceError(
            f"quality: encoder {settings.encoder!r} has no text side; give an open_clip or CLIP one"
        )
    prompts = encoder.texts([*settings.one, *settings.others])
    return lambda pairs: score_pairs(pairs, settings, encoder, prompts)


def score_pairs(
    pairs: Sequence[CandidatePair], settings: QualitySettings, encoder: Encoder, prompts: np.ndarray
) -> list[dict[str, int]]:
    """Points of N pairs.

    Args:
        encoder: has a text side.
        prompts: (texts, D) features of ``one`` and ``others``, in this order.
    """
    if not pairs:
        return []
    assert encoder.texts is not None
    images_ND = encoder.images([half for pair in pairs for half in pair.halves])
    texts_ND = encoder.texts(
        [_text(settings.text, pair.item, scene) for pair in pairs for scene in pair.scenes]
    )
    consistency = (images_ND[::2] * images_ND[1::2]).sum(1)
    agreement = (images_ND * texts_ND).sum(1).reshape(-1, 2).min(1)
    logits = LOGIT_SCALE * images_ND @ prompts.T
    odds = np.exp(logits - logits.max(1, keepdims=True))
    structure = (odds[:, : len(settings.one)].sum(1) / odds.sum(1)).reshape(-1, 2).min(1)
    scores = []
    for i, pair in enumerate(pairs):
        seamless = (
            settings.seam is not None
            and pair.whole is not None
            and seam(pair.whole) < settings.seam
        )
        scores.append(
            {
                STRUCTURE: 0 if seamless else to_points(structure[i], settings.structure),
                CONSISTENCY: to_points(consistency[i], settings.consistency),
                QUALITY: to_points(agreement[i], settings.agreement),
            }
        )
    return scores


def to_points(value: float, bounds: tuple[float, float]) -> int:
    """0 at the lower bound and below, 5 at the upper one and above; whole points, rounded down.
    NaN and infinities give 0."""
    low, high = bounds
    if not np.isfinite(value):
        return 0
    return int(np.clip(np.floor(5 * (float(value) - low) / (high - low) + 1e-6), 0, 5))


def rejection_reason(scores: Mapping[str, int], least: Mapping[str, float]) -> str | None:
    """Why a pair is skipped, in words that can be counted; ``None`` where it is kept."""
    for name in (STRUCTURE, CONSISTENCY, QUALITY):
        if name in least and scores[name] < least[name]:
            return f"{name} below {least[name]:g}"
    return None


def seam(image: Image.Image) -> float:
    """Mean difference of colour between the two middle columns, as a multiple of the mean
    difference between other neighbouring columns. About 1 where there is no seam."""
    pixels = np.asarray(image.convert("RGB"), dtype=np.float32)
    jumps = np.abs(np.diff(pixels, axis=1)).mean((0, 2))
    middle = image.width // 2 - 1
    rest = np.delete(jumps, middle)
    return float(jumps[middle] / max(1e-3, rest.mean())) if len(rest) else 0.0


def _text(template: str, item: str, scene: str) -> str:
    return template.replace("{item}", item).replace("{scene}", scene)
