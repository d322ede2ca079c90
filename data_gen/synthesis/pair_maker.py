"""Generate pairs by index: prompts, images, scores, and the row that holds them.

A pair is generated together with its whole batch, as the numbers that a model computes may depend
on what else is in the batch; so a pair is the same whichever pair of its batch is asked for first.
"""

import os
from collections.abc import Callable
from functools import cached_property, lru_cache

import torch
from datasets import Image as ImageFeature
from datasets import Value
from PIL import Image

from data_gen.files.files import digest
from data_gen.images.photos import open_photo
from data_gen.rows.contract import encode_image
from data_gen.rows.indexed import Skipped
from data_gen.sources.photo_folders import PhotoFolder
from data_gen.synthesis.object_texts import ObjectText
from data_gen.synthesis.pipelines import PipelineSettings, generate_images, load_pipeline
from data_gen.synthesis.quality import (
    CandidatePair,
    QualitySettings,
    pair_scorer,
    rejection_reason,
)

DIPTYCH, EDIT = "diptych", "edit"

SCHEMA = {
    "image": ImageFeature(),
    "collection": Value("string"),
    "quality_assessment": {
        name: Value("int64") for name in ("compositeStructure", "objectConsistency", "imageQuality")
    },
    "description": {
        name: Value("string") for name in ("item", "description_0", "description_1", "category")
    }
    | {"description_valid": Value("bool")},
}

MARGIN = 64
"""Width of a half divided by that of the margin around it: 8 pixels at 512, 16 at 1024."""


class PairMaker:
    """Generates pairs by index, a batch at a time; loads weights when the first is asked for.

    Args:
        seed: of the noise of every image.
        objects: index -> what the pair shows.
        prompts: templates of ``diptych``, ``edit`` and ``subject`` (the first image of an edit).
        pipelines: settings of the text-to-image pipeline and, for ``edit`` pairs, of the editor.
        subjects: photos that ``edit`` pairs begin with; none: a first image is generated.
        size: side of a half, in pixels.
        batch_size: pairs per batch.
        quality: how pairs are scored; ``None``: all are kept, without scores.
        image_format: ``png`` or ``jpeg``.
        collection: name of the collection; ids begin with it.
    """

    def __init__(
        self,
        *,
        seed: int,
        objects: Callable[[int], ObjectText],
        prompts: dict[str, str],
        pipelines: tuple[PipelineSettings, PipelineSettings | None],
        subjects: list[PhotoFolder],
        size: int,
        batch_size: int,
        quality: QualitySettings | None,
        image_format: str,
        collection: str,
    ):
        self.seed, self.objects, self.prompts, self.subjects = seed, objects, prompts, subjects
        self.settings, self.editor_settings = pipelines
        self.size, self.batch_size = size, batch_size
        self.quality, self.image_format, self.collection = quality, image_format, collection
        # One process per GPU; `accelerate launch` sets LOCAL_RANK.
        gpu = int(os.environ.get("LOCAL_RANK", 0))
        self.device = f"cuda:{gpu}" if torch.cuda.is_available() else "cpu"
        self.batch = lru_cache(1)(self._batch)

    @cached_property
    def pipeline(self):
        return load_pipeline(self.settings, self.device)

    @cached_property
    def editor(self):
        settings = self.editor_settings
        assert settings is not None, "edit pairs need settings of an editor"
        # Not shared with an adapter, which would change the parts of the first pipeline, too.
        shared = (
            settings.weights == self.settings.weights
            and not self.subjects
            and not settings.ip_adapter
        )
        return load_pipeline(settings, self.device, self.pipeline if shared else None)

    @cached_property
    def scorer(self):
        assert self.quality is not None, "scores need settings of quality"
        return pair_scorer(self.quality, self.device)

    def pair(self, task: str, i: int) -> dict | Skipped:
        """Pair ``i``, or why it is skipped."""
        return self.batch(task, i // self.batch_size)[i % self.batch_size]

    def _batch(self, task: str, number: int) -> list[dict | Skipped]:
        indices = range(number * self.batch_size, (number + 1) * self.batch_size)
        pairs = (self._diptychs if task == DIPTYCH else self._edits)(indices)
        if self.quality is None:
            scores = [dict.fromkeys(SCHEMA["quality_assessment"])] * len(pairs)
            reasons = [None] * len(pairs)
        else:
            scores = self.scorer(pairs)
            reasons = [rejection_reason(score, self.quality.least) for score in scores]
        return [
            Skipped(reason) if reason else self._row(task, i, pair, score)
            for i, pair, score, reason in zip(indices, pairs, scores, reasons, strict=True)
        ]

    def _diptychs(self, indices: range) -> list[CandidatePair]:
        objects = [self.objects(i) for i in indices]
        wide = generate_images(
            self.pipeline,
            self.settings,
            [_filled(self.prompts[DIPTYCH], o) for o in objects],
            [self._noise_seed(DIPTYCH, i) for i in indices],
            (2 * self.size, self.size),
        )
        left, right = ((x, 0, x + self.size, self.size) for x in (0, self.size))
        return [
            CandidatePair((image.crop(left), image.crop(right)), o.item, o.scenes, image)
            for o, image in zip(objects, wide, strict=True)
        ]

    def _edits(self, indices: range) -> list[CandidatePair]:
        objects = [self._object(i) for i in indices]
        square = (self.size, self.size)
        if self.subjects:
            before = [self._photo(i) for i in indices]
        else:
            before = generate_images(
                self.pipeline,
                self.settings,
                [_filled(self.prompts["subject"], o) for o in objects],
                [self._noise_seed("subject", i) for i in indices],
                square,
            )
        assert self.editor_settings is not None, "edit pairs need settings of an editor"
        after = generate_images(
            self.editor,
            self.editor_settings,
            [_filled(self.prompts[EDIT], o) for o in objects],
            [self._noise_seed(EDIT, i) for i in indices],
            square,
            before,
        )
        return [
            CandidatePair(pair, o.item, o.scenes)
            for pair, o in zip(zip(before, after, strict=True), objects, strict=True)
        ]

    def _object(self, i: int) -> ObjectText:
        """Of edit pair ``i``: with photos, the object is theirs and only the scene is drawn."""
        drawn = self.objects(i)
        if not self.subjects:
            return drawn
        name = self.subjects[i % len(self.subjects)].name.replace("_", " ")
        return ObjectText(name, None, ("a photo", drawn.scenes[1]))

    def _photo(self, i: int) -> Image.Image:
        photos = self.subjects[i % len(self.subjects)].photos
        photo = open_photo(photos[i // len(self.subjects) % len(photos)], self.size, "short")
        side = min(photo.size)
        x, y = (photo.width - side) // 2, (photo.height - side) // 2
        return photo.crop((x, y, x + side, y + side)).resize((self.size, self.size))

    def _noise_seed(self, what: str, i: int) -> int:
        return digest(f"{self.seed}/{what}/{i}") >> 1  # torch's generators take 63 bits

    def _row(self, task: str, i: int, pair: CandidatePair, scores: dict) -> dict:
        return {
            "id": f"{self.collection}-{self.seed}-{task}-{i}",
            "task": task,
            "image": encode_image(join_halves(pair.halves), self.image_format),
            "collection": self.collection,
            "quality_assessment": scores,
            "description": {
                "item": pair.item,
                "description_0": pair.scenes[0],
                "description_1": pair.scenes[1],
                "description_valid": True,
                "category": self._object(i).category if task == EDIT else self.objects(i).category,
            },
        }


def join_halves(halves: tuple[Image.Image, Image.Image]) -> Image.Image:
    """Both halves on white with the published margins, where
    :func:`data_gen.sources.image_pairs.half_boxes` finds them again."""
    side = halves[0].width
    margin = max(1, round(side / MARGIN))
    image = Image.new("RGB", (2 * side + 3 * margin, side + 2 * margin), "white")
    for k, half in enumerate(halves):
        image.paste(half, (margin + k * (side + margin), margin))
    return image


def _filled(template: str, o: ObjectText) -> str:
    for field, value in (("item", o.item), ("scene_0", o.scenes[0]), ("scene_1", o.scenes[1])):
        template = template.replace(f"{{{field}}}", value)
    return template
