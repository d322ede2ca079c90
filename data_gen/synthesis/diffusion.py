"""New picture pairs in the schema of Subjects200K, by a diffusion model.

- ``diptych``: one call asks for two pictures of one object side by side, which are then cut apart;
- ``edit``: a picture of the object (a photo, or drawn first) and the prompt of another scene go
  through an image-to-image, editing or image-prompted pipeline.

Pairs are made by index, so that any number of processes, stopped and gone on with at will, makes
the same set; :mod:`data_gen.sources.subjects200k` reads it back. A pair's number is that of an attempt:
those that do not pass :mod:`data_gen.synthesis.quality` are counted by reason and are not in the set.
"""

from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

from data_gen.files.errors import SourceError
from data_gen.files.files import stamp_of
from data_gen.rows.indexed import RowMaker
from data_gen.sources.photo_folders import Subject, printable, scan
from data_gen.synthesis.object_texts import object_texts
from data_gen.synthesis.pair_sheet import pair_sheet
from data_gen.tasks.checks import check_pictures

PROMPT = "two photographs of the same {item}, side by side; left: {scene_0}; right: {scene_1}"
SUBJECT_PROMPT = "a photograph of {item}, {scene_0}"
EDIT_PROMPT = "the same {item}, {scene_1}"


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
        texts: what to draw, see :func:`data_gen.synthesis.object_texts.object_texts`.
        pipeline: text to image, see :class:`data_gen.synthesis.pipelines.PipelineSettings`.
        prompt: of a diptych, with ``{item}``, ``{scene_0}`` and ``{scene_1}``.
        edit: for ``edit`` pairs: ``pipeline`` (its settings; without ``weights`` those of the
            other), ``prompt``, and ``subject_prompt`` of the first picture, or ``subjects``: a
            folder of photos, <thing>/*.jpg, whose names say what they show.
        size: side of a half, in pixels.
        batch_size: pictures per call. Part of what pictures depend on: other batches round
            otherwise.
        quality: see :class:`data_gen.synthesis.quality.QualitySettings`; ``None``: nothing is assessed, and
            everything kept.
        picture: ``png`` or ``jpeg``.
        collection: name of this collection, beginning of ids.
        cache: directory of what a chat model wrote.
        report: is given a line that says what is going to be used.

    Raises:
        SourceError: an impossible setting; at the call, before any weights load.
    """
    # These bring torch and diffusers, seconds and 0.7 GB; the program that makes pairs makes rows,
    # too, and does so without them.
    from data_gen.synthesis.pair_maker import (
        DIPTYCH,
        EDIT,
        SCHEMA,
        PairMaker,
    )
    from data_gen.synthesis.pipelines import pipeline_settings, weights_stamp
    from data_gen.synthesis.quality import quality_settings

    unknown = sorted(set(counts) - {DIPTYCH, EDIT})
    if unknown:
        raise SourceError(f"diffusion makes {DIPTYCH} and {EDIT} pairs, not '{unknown[0]}'")
    check_pictures(size, "long", picture)
    if type(batch_size) is not int or batch_size < 1:
        raise SourceError(f"batch_size must be a whole number from 1, not {batch_size!r}")
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
