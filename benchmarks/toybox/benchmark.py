"""The held-out toybox benchmark: rows drawn on the fly, and what their answers are worth.

Sets, each with identities that training never sees (all of them, or one half: what is chosen by
``validation`` and reported on ``test`` was measured on different toys)::

    oct            is the toy in the picture? half of the negatives differ in one attribute only
    vlt            where is it, among two to four toys?
    naming_1 _2 _4 describe a picture of 1, 2 or 4 toys that were shown, beside 1-2 that are not in;
                   each comes with its name and what its owner says of it, as in RePIC's protocol
    naming_looks   the same with 1 or 2 toys, and only a picture tells who they are
    naming_looks_4 the same with 4
    found_1 _2 _4  as naming_1 _2 _4, with the references that retrieval finds in a database
    naming_absent  describe a picture of none of the toys that were shown: no name is due
    naming_wrong   the same, and each toy that was shown is a near twin of one in the picture
    naming_none    describe a picture, names perhaps asked for, nobody was shown
    description    describe a picture, nobody was shown
    list           list the toys, nobody was shown: how many there are, and who stands where

The last two are what a policy can do without knowing anybody: post-training should leave them as
they were. Row ``i`` of a set depends on the seed, the settings and ``i`` alone, so a smaller
benchmark is the beginning of a larger one. Caption rows carry the truth about the scene in a column
``toys``.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict

from benchmarks.harness.predictions import Prediction
from benchmarks.metrics.attributes import attribute_metrics, length_metrics
from benchmarks.metrics.intervals import Metric, ratio
from benchmarks.metrics.localization import localization_metrics
from benchmarks.metrics.naming import count_names, naming_metrics
from benchmarks.metrics.recognition import recognition_metrics
from benchmarks.toybox.listing import LIST, list_row, score_lists
from benchmarks.toybox.owned import FOUND, Retrieval, found_rows
from data_gen.rows import OCT, VLT, check_row
from data_gen.tasks.names import draw_names
from data_gen.tasks.questions import Reference, draw_manner, identity_consistency_row
from data_gen.toybox.identity import HALVES, Identity, hard_negative
from data_gen.toybox.language import read_caption
from data_gen.toybox.rows import ToyboxSettings, draw_identities, load_templates, toybox_row
from data_gen.toybox.scene import compose

SETS = {
    "oct": "object consistency",
    "vlt": "localization",
    "naming_1": "naming, 1 concept and distractors",
    "naming_2": "naming, 2 concepts and distractors",
    "naming_4": "naming, 4 concepts and distractors",
    "naming_looks": "naming, 1-2 concepts told by pictures only",
    "naming_looks_4": "naming, 4 concepts told by pictures only",
    "found_1": "naming, 1 concept, references found",
    "found_2": "naming, 2 concepts, references found",
    "found_4": "naming, 4 concepts, references found",
    "naming_absent": "naming, concept absent",
    "naming_wrong": "naming, a near twin for reference",
    "naming_none": "naming, no reference",
    "description": "plain description",
    "list": "toys listed",
}
"""Set -> what it is called in tables."""

POOLS = {
    "naming_all": "naming, 1, 2, 4 and absent pooled",
    "captions": "captions, a name being due",
}
"""Metrics over several sets: pool -> what it is called in tables."""

HEADLINES = ("oct/accuracy", "vlt/iou50", "naming_1/f1", "naming_2/f1", "naming_4/f1",
             "naming_looks/f1", "naming_absent/names_nothing", "captions/at_floor",
             "captions/attribute_accuracy")

GALLERY = {"naming_1": 4, "naming_2": 4, "naming_4": 2, "naming_absent": 2, "vlt": 6, "oct": 4,
           "description": 2}
"""Set -> how many of its first rows the report shows, in this order."""

_NAMED = {"naming_1": (1,), "naming_2": (2,), "naming_4": (4,), "naming_looks": (1, 2),
          "naming_looks_4": (4,)}
"""Set -> how many of those shown are in the picture."""

_LOOKS = ("naming_looks", "naming_looks_4")
_POOLED = ("naming_1", "naming_2", "naming_4")
_ABSENT = "naming_absent"
_NONE_DUE = (_ABSENT, "naming_wrong", "naming_none")
_DISTRACTORS = (1, 2)
_SIZES = ("reference_px", "query_px", "prompts")

SPLITS = ("heldout", *HALVES)
"""Whose toys: all that training never sees, or a half of them."""


def toybox_settings(overrides: dict | None = None, split: str = "heldout") -> ToyboxSettings:
    """Settings of held-out rows.

    Args:
        overrides: ``reference_px``, ``query_px`` (pixels) and ``prompts`` (template file).
        split: one of :data:`SPLITS`.

    Raises:
        ValueError: another key; what the sets contain is fixed, or figures would not compare.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, not {split!r}")
    unknown = set(overrides or {}) - set(_SIZES)
    if unknown:
        raise ValueError(f"the toybox benchmark has no setting {', '.join(sorted(unknown))}; "
                         f"it has {', '.join(_SIZES)}")
    return ToyboxSettings(split=split, **(overrides or {}))


def build_set(
    name: str, count: int, seed: int, settings: ToyboxSettings, retrieval: Retrieval | None = None
) -> list[dict]:
    """The first ``count`` rows of a set, checked against the row contract.

    Args:
        retrieval: how references are found, for the sets ``found_1``, ``_2`` and ``_4``.

    Raises:
        ValueError: no such set, or one whose references are to be found and nothing says how.
    """
    if name not in SETS:
        raise ValueError(f"the toybox benchmark has no set {name!r}; it has {', '.join(SETS)}")
    task = {"oct": OCT, "vlt": VLT}.get(name)
    if task:
        rows = [toybox_row(task, index, seed, settings) for index in range(count)]
    elif name in FOUND:
        if retrieval is None:
            raise ValueError(f"{name} needs `retrieval`: where references are to be found")
        rows = found_rows(name, count, seed, settings, retrieval)
    elif name == LIST:
        rows = [list_row(index, seed, settings) for index in range(count)]
    else:
        rows = [_caption_row(name, index, seed, settings) for index in range(count)]
    for row in rows:
        check_row(row, f"toybox benchmark, {name}")
    return rows


def score(
    rows: dict[str, Sequence[dict]], predictions: dict[str, Sequence[Prediction]]
) -> dict[str, Metric]:
    """All metrics of one policy, ``<set>/<metric>`` and, over the naming sets, two pools:
    ``captions`` (1, 2 and 4 concepts) and ``naming_all`` (these and the absent ones, whose every
    name is an extra).

    Args:
        rows: set -> N rows.
        predictions: set -> N predictions in the same order.
    """
    metrics: dict[str, Metric] = {}

    def add(name: str, scorer: Callable, sets: Sequence[str], keep: Sequence[str] = ()):
        present = [s for s in sets if rows.get(s)]
        if present:
            found = scorer([r for s in present for r in rows[s]],
                           [p for s in present for p in predictions[s]])
            metrics.update({f"{name}/{key}": m for key, m in found.items()
                            if not keep or key in keep})

    add("oct", _score_oct, ["oct"])
    add("vlt", _score_vlt, ["vlt"])
    named = ("precision", "recall", "f1", "names_used", "tokens", "at_floor",
             "attribute_accuracy", "attribute_coverage")
    for name in _NAMED:
        add(name, _score_captions, [name], named)
    for name in FOUND:
        add(name, _score_found, [name], (*named, "retrieved"))
    # With no name due, recall and F1 say nothing.
    for name in _NONE_DUE:
        add(name, _score_captions, [name],
            ("names_nothing", "tokens", "at_floor", "attribute_accuracy", "attribute_coverage"))
    add("naming_all", _score_captions, [*_POOLED, _ABSENT], ("precision", "recall", "f1"))
    add("captions", _score_captions, list(_POOLED), ("names_used", "tokens", "at_floor",
                                                   "attribute_accuracy", "attribute_coverage"))
    add("description", _score_captions, ["description"],
        ("tokens", "at_floor", "attribute_accuracy", "attribute_coverage", "names_nothing"))
    add(LIST, score_lists, [LIST])
    return metrics


def _score_oct(rows, predictions):
    return recognition_metrics([p.text for p in predictions], [r["answer"] for r in rows],
                               [r["source"] == "toybox:hard" for r in rows])


def _score_vlt(rows, predictions):
    return localization_metrics([p.text for p in predictions], [r["box"] for r in rows],
                                [p.box_frame for p in predictions])


def _score_captions(rows, predictions):
    return {
        **naming_metrics([count_names(p.text, r["names"], r["absent_names"])
                          for r, p in zip(rows, predictions, strict=True)]),
        **attribute_metrics([read_caption(p.text) for p in predictions],
                            [r["toys"] for r in rows]),
        **length_metrics([p.n_tokens for p in predictions]),
    }


def _score_found(rows, predictions):
    return {**_score_captions(rows, predictions),
            "retrieved": ratio([r["found"] for r in rows], [len(r["toys"]) for r in rows])}


def _caption_row(name: str, index: int, seed: int, settings: ToyboxSettings) -> dict:
    """A request to describe a scene, with the scene's truth in ``toys``, left to right.

    Composed here and not by :func:`toybox_row`, whose rows do not tell who is in the scene.
    """
    row_id = f"toybox-{settings.split}-{seed}-{name}-{index}"
    rng = random.Random(row_id)
    toys_in = rng.choice(_NAMED.get(name) or ((1, 2, 3) if name == "description" else (1, 2)))
    alone = name in ("description", "naming_none", "naming_wrong")
    shown_absent = 0 if alone else rng.choice(_DISTRACTORS)
    identities = draw_identities(rng, toys_in + shown_absent, settings)
    present, absent = identities[:toys_in], identities[toys_in:]
    if name == "naming_wrong":
        absent = _near_twins(rng, present, settings.half)
    scene = compose(rng, present, settings.query_px)
    shown = absent + (present if name in _NAMED else [])
    rng.shuffle(shown)
    references = [
        Reference(compose(rng, [identity], settings.reference_px).image, called,
                  None if name in _LOOKS else identity.description)
        for identity, called in zip(shown, draw_names(rng, len(shown)), strict=True)
    ]
    row = identity_consistency_row(
        rng, row_id, references, [identity in present for identity in shown], scene.image,
        source=f"toybox:{name}", templates=load_templates(settings),
        manner=draw_manner(rng) if shown or name == "naming_none" else None,
    )
    return {**row, "toys": [asdict(toy.identity) for toy in scene.toys]}


def _near_twins(
    rng: random.Random, toys: Sequence[Identity], half: str | None = None
) -> list[Identity]:
    """For each toy one that differs in one attribute; all distinct, and none of ``toys``."""
    found: list[Identity] = []
    for toy in toys:
        while (other := hard_negative(rng, toy, half)) in [*toys, *found]:
            continue
        found.append(other)
    return found
