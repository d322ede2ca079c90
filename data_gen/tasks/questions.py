"""Build one row of each task from images of known subjects.

A source (toybox, folders of photos, ...) supplies references and queries; what a task asks and what
its truth is is decided here, once, so that every source gets every task.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from data_gen.rows import ICT, OCT, VLT
from data_gen.tasks.prompts import conversation


@dataclass(frozen=True)
class Reference:
    """A concept as its user shows it.

    Args:
        name: bare (``bo``).
        image: an opened image; in queries, which open images when they are asked, also a file.
        info: what the user says about it, a sentence or two.
        others: further pictures of it, files, that no prompt shows beside ``image``.
    """

    name: str
    image: Any
    info: str | None = None
    others: tuple[Path, ...] = ()


def object_consistency_row(
    rng: random.Random,
    row_id: str,
    reference: Reference,
    query: Image.Image,
    *,
    same: bool,
    source: str,
    templates: dict | None = None,
    noise: Sequence[Reference] = (),
) -> dict:
    """OCT: is the subject of the reference in the query? ``same`` is the truth. ``noise`` are
    further references, which nothing is asked about (RAP 2410.13360)."""
    prompt, shown = _with_noise(rng, OCT, reference, noise, templates)
    answer = "yes" if same else "no"
    return _row(row_id, OCT, prompt, [*shown, query], source, answer=answer)


def visual_localization_row(
    rng: random.Random,
    row_id: str,
    reference: Reference,
    query: Image.Image,
    box: tuple[float, float, float, float],
    *,
    source: str,
    templates: dict | None = None,
    noise: Sequence[Reference] = (),
) -> dict:
    """VLT: where in the query is the subject? ``box`` is x1 y1 x2 y2 in 0-1 of the query.
    ``noise`` as in :func:`object_consistency_row`."""
    prompt, shown = _with_noise(rng, VLT, reference, noise, templates)
    return _row(row_id, VLT, prompt, [*shown, query], source, box=list(box))


def described_localization_row(
    rng: random.Random,
    row_id: str,
    described: str,
    name: str | None,
    query: Image.Image,
    box: tuple[float, float, float, float],
    *,
    source: str,
    templates: dict | None = None,
) -> dict:
    """VLT without a reference image: ``described`` picks the subject out in words (``the man on the
    left``). With a ``name`` the question is for the name, without one for the words."""
    names = [name] if name else []
    prompt = conversation(rng, VLT, names, [None] * len(names), templates, described=described)
    return _row(row_id, VLT, prompt, [query], source, box=list(box))


def identity_consistency_row(
    rng: random.Random,
    row_id: str,
    references: list[Reference],
    present: list[bool],
    query: Image.Image,
    *,
    source: str,
    templates: dict | None = None,
    caption_style: str | None = None,
) -> dict:
    """ICT: describe the query. ``present[i]`` says whether reference i is in it.

    Absent references become ``absent_names``, so that naming every reference does not pay.
    """
    names = [r.name for r in references]
    prompt = conversation(rng, ICT, names, [r.info for r in references], templates, caption_style)
    return _row(
        row_id,
        ICT,
        prompt,
        [*(r.image for r in references), query],
        source,
        names=[n for n, here in zip(names, present, strict=True) if here],
        absent_names=[n for n, here in zip(names, present, strict=True) if not here],
    )


def draw_caption_style(rng: random.Random) -> str | None:
    """A key of ``caption_styles`` or ``None``, in RePIC's mixture: 1 in 5 caption requests asks for
    the names outright, 1 in 5 not to repeat the given information, 3 in 5 neither (2506.18369)."""
    return rng.choice(["name", "fresh", None, None, None])


def _with_noise(
    rng: random.Random,
    task: str,
    reference: Reference,
    noise: Sequence[Reference],
    templates: dict | None,
) -> tuple[list[dict], list]:
    """The prompt that asks for one of several references, in random order, and their images."""
    shown = [reference, *noise]
    if noise:
        rng.shuffle(shown)
    names, infos = [r.name for r in shown], [r.info for r in shown]
    prompt = conversation(rng, task, names, infos, templates, about=reference.name)
    return prompt, [r.image for r in shown]


def _row(row_id: str, task: str, prompt: list[dict], images: list, source: str, **truth) -> dict:
    row = {
        "id": row_id,
        "task": task,
        "prompt": prompt,
        "images": images,
        "answer": None,
        "box": None,
        "names": [],
        "absent_names": [],
        "source": source,
    }
    return {**row, **truth}
