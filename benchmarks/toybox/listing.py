"""What the base can do without knowing anybody: count the toys of a scene, say who stands where.

Asked in the words in which the tiny base learned it (``List the toys.``, left to right, each with
its attributes): counting and position are read off the list, and no new wording is tested with
them. Boxes that stand in the list are not scored here.
"""

import random
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from benchmarks.harness.predictions import Prediction
from benchmarks.metrics.attributes import attribute_metrics
from benchmarks.metrics.intervals import Metric, ratio
from data_gen.tasks.questions import identity_consistency_row
from data_gen.toybox.curriculum.perception import INVENTORY_ASK
from data_gen.toybox.language import read_caption
from data_gen.toybox.rows import DESCRIPTION, ToyboxSettings, draw_identities
from data_gen.toybox.scene import compose

LIST = "list"
_TOYS = (1, 2, 3, 4)


def list_row(index: int, seed: int, settings: ToyboxSettings) -> dict:
    """A scene of one to four toys to list; the truth stands in ``toys``, left to right."""
    row_id = f"toybox-{settings.split}-{seed}-{LIST}-{index}"
    rng = random.Random(row_id)
    scene = compose(rng, draw_identities(rng, rng.choice(_TOYS), settings), settings.query_px)
    row = identity_consistency_row(rng, row_id, [], [], scene.image, source=f"toybox:{LIST}")
    prompt = [{"role": "user", "content": [{"type": "image", "text": None},
                                           {"type": "text", "text": INVENTORY_ASK}]}]
    return {**row, "task": DESCRIPTION, "prompt": prompt,
            "toys": [asdict(toy.identity) for toy in scene.toys]}


def score_lists(rows: Sequence[dict], predictions: Sequence[Prediction]) -> dict[str, Metric]:
    """The scores of N lists.

    Returns:
        ``counted`` (share of scenes with as many toys listed as there are), ``placed`` (share of
        toys whose place in the list, from the left, holds a toy of their kind and colour), and the
        two of :func:`benchmarks.metrics.attributes.attribute_metrics`.
    """
    claims = [read_caption(p.text) for p in predictions]
    truth = [row["toys"] for row in rows]
    placed = [sum((claim["kind"], claim["colour"]) == (toy["kind"], toy["colour"])
                  for claim, toy in zip(said, toys, strict=False))
              for said, toys in zip(claims, truth, strict=True)]
    return {
        "counted": ratio([len(c) == len(t) for c, t in zip(claims, truth, strict=True)]),
        "placed": ratio(placed, np.array([len(t) for t in truth])),
        **attribute_metrics(claims, truth),
    }
