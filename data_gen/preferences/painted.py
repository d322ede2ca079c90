"""Preference rows whose pictures a text-to-image model makes: a scene's words and a look's terms.

The text of a picture is the scene, then the five terms; both candidates have the same scene, the
same noise and different terms. Pictures of a row are made together, in batches that start with the
row, so that any process makes the same ones.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from string import Formatter
from typing import Any

from PIL import Image

from data_gen.files.errors import InputError
from data_gen.files.files import digest, fingerprint_of
from data_gen.preferences.rows import PreferenceSettings, preference_rows
from data_gen.preferences.users import VOCABULARY, Profile, read_vocabulary
from data_gen.rows.indexed import IndexedRows
from data_gen.synthesis.object_texts import ObjectTexts, object_texts
from data_gen.tasks.checks import check_images
from rewards.preference import ELEMENTS

PROMPT = (
    "{item}, {scene}, in the style of {art_style}, {medium}, mostly {colour}, "
    "{saturation} colours, {detail} detail"
)

FIELDS = ("item", "scene", *ELEMENTS)


@dataclass
class PaintedPreferenceSettings(PreferenceSettings):
    """Preference rows of a text-to-image model."""

    texts: dict[str, Any] = field(
        default_factory=dict,
        metadata={"help": "Scenes; see data_gen/synthesis/object_texts.py: item, scene, lists."},
    )
    pipeline: dict[str, Any] = field(
        default_factory=dict,
        metadata={"help": "Text to image; see data_gen/synthesis/pipelines.py: weights, call."},
    )
    prompt: str = field(
        default=PROMPT,
        metadata={"help": f"Text of a picture, with {', '.join(f'{{{f}}}' for f in FIELDS)}."},
    )
    vocabulary: str = field(
        default=str(VOCABULARY), metadata={"help": "File of terms: element -> list."}
    )
    size: int = field(default=512, metadata={"help": "Side of a picture, in pixels."})
    batch_size: int = field(default=4, metadata={"help": "Pictures per call of the model."})
    image_format: str = field(default="jpeg", metadata={"help": "png or jpeg."})
    cache: str = field(default="runs/cache", metadata={"help": "Of a chat model's texts."})

    def __post_init__(self):
        super().__post_init__()
        check_images(self.size, "long", self.image_format)
        if type(self.batch_size) is not int or self.batch_size < 1:
            raise InputError(f"batch_size must be a whole number from 1, not {self.batch_size!r}")
        if not self.texts or not self.pipeline:
            raise InputError("texts and pipeline are missing: what to paint, and with which model")
        try:
            used = {name for _, name, _, _ in Formatter().parse(self.prompt) if name is not None}
        except ValueError as error:
            raise InputError(f"prompt: {error}") from None
        if missing := sorted(set(ELEMENTS) - used):
            raise InputError(f"prompt: {{{missing[0]}}} is missing; a look would not be painted")
        if unknown := sorted(used - set(FIELDS)):
            raise InputError(f"prompt: there is no {{{unknown[0]}}}, only {', '.join(FIELDS)}")


def painted_preference_rows(
    counts: dict[str, int], seed: int, settings: PaintedPreferenceSettings
) -> IndexedRows:
    """Rows whose pictures are painted when they are asked for.

    Raises:
        InputError: texts, a pipeline or a vocabulary that cannot be used, before weights load.
    """
    # Imported late: diffusers and torch take seconds, which no other generator needs.
    from data_gen.synthesis.pipelines import pipeline_settings, weights_fingerprint

    made = pipeline_settings(settings.pipeline, "pipeline")
    texts = object_texts(settings.texts, seed, settings.cache)
    rows = preference_rows(
        counts,
        seed,
        settings,
        read_vocabulary(settings.vocabulary),
        Painter(made, texts, seed, settings),
        name="painted_preferences",
        fingerprint=fingerprint_of(texts.fingerprint, weights_fingerprint(made.weights)),
        image_format=settings.image_format,
    )
    rows.skipped = texts.skipped
    return rows


class Painter:
    """Paints (scene, look) pairs; loads the pipeline when the first is asked for.

    Args:
        made: checked ``PipelineSettings`` of :mod:`data_gen.synthesis.pipelines`.
        texts: what scenes show.
        seed: of which texts and which noise a scene has.
        settings: prompt, size and batch size.
    """

    def __init__(
        self, made: Any, texts: ObjectTexts, seed: int, settings: PaintedPreferenceSettings
    ):
        self.made, self.texts, self.seed, self.settings = made, texts, seed, settings
        self._pipeline: Any = None

    def __call__(self, pictures: Sequence[tuple[str, Profile]]) -> list[Image.Image]:
        from data_gen.synthesis.pipelines import generate_images

        if self._pipeline is None:
            self._pipeline = self._load()
        side, step = self.settings.size, self.settings.batch_size
        found: list[Image.Image] = []
        for k in range(0, len(pictures), step):
            part = pictures[k : k + step]
            found += generate_images(
                self._pipeline,
                self.made,
                [self.text(scene, look) for scene, look in part],
                [digest(f"{self.seed}/noise/{scene}") >> 1 for scene, _ in part],
                (side, side),
            )
        return found

    def text(self, scene: str, look: Profile) -> str:
        """What the model is asked for."""
        drawn = self.texts.of(digest(f"{self.seed}/scene/{scene}") % 2**31)
        values: Mapping[str, str] = {"item": drawn.item, "scene": drawn.scenes[0]}
        return self.settings.prompt.format(**values, **look._asdict())

    def _load(self) -> Any:
        import torch

        from data_gen.synthesis.pipelines import load_pipeline

        gpu = int(os.environ.get("LOCAL_RANK", 0))
        return load_pipeline(self.made, f"cuda:{gpu}" if torch.cuda.is_available() else "cpu")
