"""Drawing pairs by index: prompts, pictures, points, and the row that holds them.

A pair of a batch is made with the whole batch, as the numbers that a model computes may depend on
what else is in it; so a batch is the same whichever of its pairs is asked for.
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
from data_gen.sources.photo_folders import Subject
from data_gen.synthesis.object_texts import ObjectText
from data_gen.synthesis.pipelines import PipelineSettings, draw, load_pipeline
from data_gen.synthesis.quality import (
    QualitySettings,
    Shown,
    judge,
    refusal,
)

DIPTYCH, EDIT = "diptych", "edit"

SCHEMA = {
    "image": ImageFeature(),
    "collection": Value("string"),
    "quality_assessment": {name: Value("int64") for name in
                           ("compositeStructure", "objectConsistency", "imageQuality")},
    "description": {name: Value("string") for name in
                    ("item", "description_0", "description_1", "category")}
    | {"description_valid": Value("bool")},
}

MARGIN = 64
"""A half is so many times as wide as the margin around it: 8 pixels at 512, 16 at 1024."""


class PairMaker:
    """Makes pairs by index, a batch at a time. Weights are loaded when the first is asked for."""

    def __init__(self, *, seed: int, objects: Callable[[int], ObjectText], prompts: dict[str, str],
                 pipelines: tuple[PipelineSettings, PipelineSettings | None],
                 subjects: list[Subject], size: int, batch_size: int,
                 quality: QualitySettings | None, picture: str,
                 collection: str):
        self.seed, self.objects, self.prompts, self.subjects = seed, objects, prompts, subjects
        self.settings, self.size, self.batch_size = pipelines, size, batch_size
        self.quality, self.picture, self.collection = quality, picture, collection
        # One process per GPU: `accelerate launch` says which is whose.
        gpu = int(os.environ.get("LOCAL_RANK", 0))
        self.device = f"cuda:{gpu}" if torch.cuda.is_available() else "cpu"
        self.batch = lru_cache(1)(self._batch)

    @cached_property
    def pipeline(self):
        return load_pipeline(self.settings[0], self.device)

    @cached_property
    def editor(self):
        # An adapter would change the parts of the first pipeline, too.
        shared = (self.settings[1].weights == self.settings[0].weights and not self.subjects
                  and not self.settings[1].ip_adapter)
        return load_pipeline(self.settings[1], self.device, self.pipeline if shared else None)

    @cached_property
    def judge(self):
        return judge(self.quality, self.device)

    def pair(self, task: str, i: int) -> dict | Skipped:
        """Pair ``i``, or why it is not kept."""
        return self.batch(task, i // self.batch_size)[i % self.batch_size]

    def _batch(self, task: str, number: int) -> list[dict | Skipped]:
        places = range(number * self.batch_size, (number + 1) * self.batch_size)
        shown = (self._diptychs if task == DIPTYCH else self._edits)(places)
        if self.quality is None:
            scores = [dict.fromkeys(SCHEMA["quality_assessment"])] * len(shown)
            reasons = [None] * len(shown)
        else:
            scores = self.judge(shown)
            reasons = [refusal(score, self.quality.least) for score in scores]
        return [Skipped(reason) if reason else self._row(task, i, pair, score)
                for i, pair, score, reason in zip(places, shown, scores, reasons, strict=True)]

    def _diptychs(self, places: range) -> list[Shown]:
        objects = [self.objects(i) for i in places]
        wide = draw(self.pipeline, self.settings[0],
                    [_filled(self.prompts[DIPTYCH], o) for o in objects],
                    [self._noise(DIPTYCH, i) for i in places], (2 * self.size, self.size))
        halves = [tuple(image.crop((x, 0, x + self.size, self.size)) for x in (0, self.size))
                  for image in wide]
        return [Shown(pair, o.item, o.scenes, image)
                for pair, o, image in zip(halves, objects, wide, strict=True)]

    def _edits(self, places: range) -> list[Shown]:
        objects = [self._object(i) for i in places]
        square = (self.size, self.size)
        if self.subjects:
            before = [self._photo(i) for i in places]
        else:
            before = draw(self.pipeline, self.settings[0],
                          [_filled(self.prompts["subject"], o) for o in objects],
                          [self._noise("subject", i) for i in places], square)
        after = draw(self.editor, self.settings[1],
                     [_filled(self.prompts[EDIT], o) for o in objects],
                     [self._noise(EDIT, i) for i in places], square, before)
        return [Shown(pair, o.item, o.scenes)
                for pair, o in zip(zip(before, after, strict=True), objects, strict=True)]

    def _object(self, i: int) -> ObjectText:
        """Of edit pair ``i``: with photos, the thing is theirs and only the scenes are drawn."""
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

    def _noise(self, what: str, i: int) -> int:
        return digest(f"{self.seed}/{what}/{i}") >> 1  # a generator's seed has 63 bits

    def _row(self, task: str, i: int, pair: Shown, scores: dict) -> dict:
        return {
            "id": f"{self.collection}-{self.seed}-{task}-{i}", "task": task,
            "image": encode_image(joined(pair.halves), self.picture),
            "collection": self.collection, "quality_assessment": scores,
            "description": {
                "item": pair.item, "description_0": pair.scenes[0],
                "description_1": pair.scenes[1], "description_valid": True,
                "category": self._object(i).category if task == EDIT else self.objects(i).category},
        }


def joined(halves: tuple[Image.Image, Image.Image]) -> Image.Image:
    """Both halves on white with the published margins, which :func:`data_gen.sources.image_pairs.half_boxes`
    finds again."""
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
