"""New picture pairs in the schema of Subjects200K, by a diffusion model.

- ``diptych``: one call asks for two pictures of one object side by side, which are then cut apart;
- ``edit``: a picture of the object (a photo, or drawn first) and the prompt of another scene go
  through an image-to-image, editing or image-prompted pipeline.

Pairs are made by index, so that any number of processes, stopped and gone on with at will, makes
the same set; :mod:`data_gen.subjects200k` reads it back. A pair's number is that of an attempt:
those that do not pass :mod:`data_gen.quality` are counted by reason and are not in the set.
"""

import io
import os
from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache
from importlib.metadata import version
from pathlib import Path

import torch
from datasets import Image as ImageFeature
from datasets import Value
from PIL import Image

from data_gen.maker import RowMaker, Skipped, stamp_of
from data_gen.object_texts import ObjectText, object_texts
from data_gen.pair_sheet import pair_sheet
from data_gen.photos import open_photo
from data_gen.pipelines import (
    PipelineSettings,
    draw,
    load_pipeline,
    pipeline_settings,
    weights_stamp,
)
from data_gen.quality import Shown, judge, quality_settings, refusal
from data_gen.shards import digest
from data_gen.sources import SourceError
from data_gen.subjects import Subject, printable, scan

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

PROMPT = "two photographs of the same {item}, side by side; left: {scene_0}; right: {scene_1}"
SUBJECT_PROMPT = "a photograph of {item}, {scene_0}"
EDIT_PROMPT = "the same {item}, {scene_1}"
FORMATS = {"png": {}, "jpeg": {"quality": 95, "subsampling": 0}}


def diffusion_maker(
    *,
    seed: int,
    counts: dict[str, int],
    texts: Mapping,
    pipeline: Mapping,
    prompt: str = PROMPT,
    edit: Mapping | None = None,
    size: int = 512,
    batch_size: int = 4,
    quality: Mapping | None = None,
    picture: str = "png",
    collection: str = "diffusion",
    cache: str | Path = "runs/cache",
    report: Callable[[str], None] = print,
) -> RowMaker:
    """Pairs made by a diffusion model.

    Args:
        seed: of texts and of every picture's noise.
        counts: ``diptych`` and ``edit`` -> number of attempts.
        texts: what to draw, see :func:`data_gen.object_texts.object_texts`.
        pipeline: text to image, see :class:`data_gen.pipelines.PipelineSettings`.
        prompt: of a diptych, with ``{item}``, ``{scene_0}`` and ``{scene_1}``.
        edit: for ``edit`` pairs: ``pipeline`` (its settings; without ``weights`` those of the
            other), ``prompt``, and ``subject_prompt`` of the first picture, or ``subjects``: a
            folder of photos, <thing>/*.jpg, whose names say what they show.
        size: side of a half, in pixels.
        batch_size: pictures per call. Part of what pictures depend on: other batches round
            otherwise.
        quality: see :class:`data_gen.quality.QualitySettings`; ``None``: nothing is assessed, and
            everything kept.
        picture: ``png`` or ``jpeg``.
        collection: name of this collection, beginning of ids.
        cache: directory of what a chat model wrote.
        report: is given a line that says what is going to be used.

    Raises:
        SourceError: an impossible setting; at the call, before any weights load.
    """
    unknown = sorted(set(counts) - {DIPTYCH, EDIT})
    if unknown:
        raise SourceError(f"diffusion makes {DIPTYCH} and {EDIT} pairs, not '{unknown[0]}'")
    if picture not in FORMATS:
        raise SourceError(f"picture must be {' or '.join(FORMATS)}, not {picture!r}")
    if type(size) is not int or size < 16 or type(batch_size) is not int or batch_size < 1:
        raise SourceError("size must be a whole number from 16, batch_size one from 1")
    edit = dict(edit or {})
    if counts.get(EDIT) and not edit.get("pipeline"):
        raise SourceError("edit pairs need 'edit' with a 'pipeline'")
    extra = sorted(set(edit) - {"pipeline", "prompt", "subject_prompt", "subjects"})
    if extra:
        raise SourceError(f"edit: unknown key '{extra[0]}'")
    first = pipeline_settings(pipeline, "pipeline")
    second = pipeline_settings({"weights": first.weights, "dtype": first.dtype, **edit["pipeline"]},
                               "edit: pipeline") if edit.get("pipeline") else None
    assessed = quality_settings(quality) if quality else None
    objects = object_texts(texts, seed, cache)
    subjects, root = _subjects(edit.get("subjects"), size)
    makes = PairMaker(
        seed=seed, objects=objects.of, prompts={
            DIPTYCH: prompt, EDIT: edit.get("prompt", EDIT_PROMPT),
            "subject": edit.get("subject_prompt", SUBJECT_PROMPT)},
        pipelines=(first, second), subjects=subjects, size=size, batch_size=batch_size,
        quality=assessed, picture=picture, collection=collection)
    report(f"diffusion: {first.name} of {first.weights} on {makes.device}"
           + (f", {second.name}" if second else "")
           + (f", judged by {assessed.encoder}" if assessed else ", not judged"))
    stamp = stamp_of(
        objects.stamp, *(weights_stamp(s.weights) for s in (first, second) if s),
        weights_stamp(assessed.encoder) if assessed else "",
        *(version(name) for name in ("torch", "diffusers", "transformers", "open_clip_torch")),
        *(part for s in subjects for photo in s.photos
          for part in (printable(photo.relative_to(root)), photo)))
    return RowMaker(counts, makes.pair, left_out=dict(objects.left_out), stamp=stamp, schema=SCHEMA,
                    sheet=pair_sheet, row_bytes=(4.0 if picture == "png" else 1.0) * size * size)


class PairMaker:
    """Makes pairs by index, a batch at a time. Weights are loaded when the first is asked for."""

    def __init__(self, *, seed: int, objects: Callable[[int], ObjectText], prompts: dict[str, str],
                 pipelines: tuple[PipelineSettings, PipelineSettings | None],
                 subjects: list[Subject], size: int, batch_size: int, quality, picture: str,
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
        buffer = io.BytesIO()
        joined(pair.halves).save(buffer, self.picture, **FORMATS[self.picture])
        return {
            "id": f"{self.collection}-{self.seed}-{task}-{i}", "task": task,
            "image": {"bytes": buffer.getvalue(), "path": None},
            "collection": self.collection, "quality_assessment": scores,
            "description": {
                "item": pair.item, "description_0": pair.scenes[0],
                "description_1": pair.scenes[1], "description_valid": True,
                "category": self._object(i).category if task == EDIT else self.objects(i).category},
        }


def joined(halves: tuple[Image.Image, Image.Image]) -> Image.Image:
    """Both halves on white with the published margins, which :func:`data_gen.pairs.half_boxes`
    finds again."""
    side = halves[0].width
    margin = max(1, round(side / MARGIN))
    image = Image.new("RGB", (2 * side + 3 * margin, side + 2 * margin), "white")
    for k, half in enumerate(halves):
        image.paste(half, (margin + k * (side + margin), margin))
    return image


def _subjects(folder: str | None, size: int) -> tuple[list[Subject], Path | None]:
    if folder is None:
        return [], None
    root = Path(folder)
    if not root.is_dir():
        raise SourceError(f"edit: subjects: {root} is no directory; give one that holds "
                          "<thing>/*.jpg")
    found, _ = scan(root, size, "short", keep=None)
    if not found:
        raise SourceError(f"edit: subjects: {root} holds no usable photo at <thing>/*.jpg")
    return found, root


def _filled(template: str, o: ObjectText) -> str:
    for field, value in (("item", o.item), ("scene_0", o.scenes[0]), ("scene_1", o.scenes[1])):
        template = template.replace(f"{{{field}}}", value)
    return template
