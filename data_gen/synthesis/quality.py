"""What a pair is worth, as an image-text encoder sees it: points from 0 to 5 in the three fields of
Subjects200K.

- ``objectConsistency``: the cosine of both halves;
- ``imageQuality``: of each half with its own text, the smaller of both;
- ``compositeStructure``: how probable it is that each half shows one subject and not several, none
  or a collage, by the encoder's similarity to texts that say so, the smaller of both; and 0 where a
  picture that was drawn as one has no seam in its middle.

A measure gives 0 points at its lower bound and below, 5 at its upper one and above, whole points
between; which bounds are right depends on the encoder. Left out: a judge that talks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from data_gen.files.errors import SourceError
from data_gen.files.files import is_missing_path
from data_gen.images.encoders import Encoder, EncoderError, load_encoder

CONSISTENCY, QUALITY, STRUCTURE = "objectConsistency", "imageQuality", "compositeStructure"

SHARPNESS = 100.0
"""What similarities are multiplied with before they become probabilities: CLIP's usual scale."""


@dataclass(frozen=True)
class QualitySettings:
    """How pairs are judged.

    Args:
        encoder: as :func:`data_gen.images.encoders.load_encoder` names it; needs a text side.
        consistency, agreement, structure: lower and upper bound of each measure.
        text: of a half; ``{item}`` and ``{scene}`` are replaced.
        one: texts of a good half; ``others``: of bad ones.
        seam: least jump of colour in the middle of a diptych, in times of what is usual between
            neighbouring columns; ``None``: a seam is not asked for.
        least: field -> least points of a pair that is kept.
    """

    encoder: str
    consistency: tuple[float, float] = (0.6, 0.9)
    agreement: tuple[float, float] = (0.18, 0.30)
    structure: tuple[float, float] = (0.3, 0.7)
    text: str = "{item}, {scene}"
    one: tuple[str, ...] = ("a photo of one object",)
    others: tuple[str, ...] = ("a photo of several objects", "a collage of photos",
                               "an empty place without any object")
    seam: float | None = 1.5
    least: dict = field(default_factory=lambda: {STRUCTURE: 3, CONSISTENCY: 3, QUALITY: 3})


def quality_settings(settings: Mapping) -> QualitySettings:
    """Check a config's settings.

    Raises:
        SourceError: an unknown key, or a value that cannot be.
    """
    known = QualitySettings.__dataclass_fields__
    unknown = sorted(set(settings) - set(known))
    if unknown or "encoder" not in settings:
        raise SourceError("quality: " + (f"unknown key '{unknown[0]}'" if unknown else
                                         "'encoder' is missing")
                          + f"; it may have {', '.join(known)}")
    made = QualitySettings(**{key: tuple(value) if isinstance(value, list) else value
                              for key, value in settings.items()})
    if is_missing_path(made.encoder):
        raise SourceError(f"quality: encoder {made.encoder} is not there; the toybox's is made by "
                          "launch/clip.py")
    for key in ("consistency", "agreement", "structure"):
        bounds = getattr(made, key)
        if len(bounds) != 2 or not bounds[0] < bounds[1]:
            raise SourceError(f"quality: {key} must be a lower and an upper bound, not {bounds}")
    if set(made.least) - {STRUCTURE, CONSISTENCY, QUALITY}:
        raise SourceError(f"quality: least may have {STRUCTURE}, {CONSISTENCY} and {QUALITY}, not "
                          f"{sorted(made.least)}")
    return made


@dataclass(frozen=True)
class Shown:
    """A pair to be judged. ``whole``: the picture it was cut from, where it was one."""

    halves: tuple[Image.Image, Image.Image]
    item: str
    scenes: tuple[str, str]
    whole: Image.Image | None = None


def judge(settings: QualitySettings, device: str):
    """A function from pairs to their points: ``[Shown, ...] -> [{field: 0-5}, ...]``.

    Raises:
        SourceError: the encoder cannot be had, or has no text side.
    """
    try:
        encoder = load_encoder(settings.encoder, device)
    except EncoderError as error:
        raise SourceError(f"quality: {error}") from None
    if encoder.texts is None:
        raise SourceError(f"quality: encoder {settings.encoder!r} has no text side; give an "
                          "open_clip or CLIP one")
    signs = encoder.texts([*settings.one, *settings.others])
    return lambda pairs: points(pairs, settings, encoder, signs)


def points(
    pairs: Sequence[Shown], settings: QualitySettings, encoder: Encoder, signs: np.ndarray
) -> list[dict[str, int]]:
    """Points of N pairs; ``signs``: (texts, D), those of ``one`` first."""
    if not pairs:
        return []
    seen = encoder.images([half for pair in pairs for half in pair.halves])
    told = encoder.texts([_text(settings.text, pair.item, scene)
                          for pair in pairs for scene in pair.scenes])
    alike = (seen[::2] * seen[1::2]).sum(1)
    agree = (seen * told).sum(1).reshape(-1, 2).min(1)
    scores = SHARPNESS * seen @ signs.T
    odds = np.exp(scores - scores.max(1, keepdims=True))
    single = (odds[:, : len(settings.one)].sum(1) / odds.sum(1)).reshape(-1, 2).min(1)
    found = []
    for i, pair in enumerate(pairs):
        seamless = (settings.seam is not None and pair.whole is not None
                    and seam(pair.whole) < settings.seam)
        found.append({
            STRUCTURE: 0 if seamless else as_points(single[i], settings.structure),
            CONSISTENCY: as_points(alike[i], settings.consistency),
            QUALITY: as_points(agree[i], settings.agreement),
        })
    return found


def as_points(value: float, bounds: tuple[float, float]) -> int:
    """0 at the lower bound and below, 5 at the upper one and above; whole points, rounded down."""
    low, high = bounds
    if not np.isfinite(value):
        return 0
    return int(np.clip(np.floor(5 * (float(value) - low) / (high - low) + 1e-6), 0, 5))


def refusal(scores: Mapping[str, int], least: Mapping[str, float]) -> str | None:
    """Why a pair is not kept, in words that can be counted; ``None`` where it is."""
    for name in (STRUCTURE, CONSISTENCY, QUALITY):
        if name in least and scores[name] < least[name]:
            return f"{name} below {least[name]:g}"
    return None


def seam(picture: Image.Image) -> float:
    """Mean jump of colour between the two columns in the middle, in times of the mean jump between
    neighbouring columns elsewhere. About 1 where nothing is cut there."""
    pixels = np.asarray(picture.convert("RGB"), dtype=np.float32)
    jumps = np.abs(np.diff(pixels, axis=1)).mean((0, 2))
    middle = picture.width // 2 - 1
    rest = np.delete(jumps, middle)
    return float(jumps[middle] / max(1e-3, rest.mean())) if len(rest) else 0.0


def _text(template: str, item: str, scene: str) -> str:
    return template.replace("{item}", item).replace("{scene}", scene)
