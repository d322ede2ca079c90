"""General skills without personalization: count the toys of a scene, and list them in order.

Asked in the words in which the tiny base learned it (``List the toys.``, left to right, each with
its attributes): counting and position are read off the list, and no new wording is tested with
them. Boxes that stand in the list are not scored here.
"""

import random
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from benchmarks.metrics.attributes import attribute_metrics
from benchmarks.metrics.intervals import Metric, ratio
from concepts.methods.protocol import Reply
from data_gen.tasks.questions import identity_consistency_row
from data_gen.toybox.curriculum.perception import LIST_ASK
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
    prompt = [
        {
            "role": "user",
            "content": [{"type": "image", "text": None}, {"type": "text", "text": LIST_ASK}],
        }
    ]
    return {
        **row,
        "task": DESCRIPTION,
        "prompt": prompt,
        "toys": [asdict(toy.identity) for toy in scene.toys],
    }


def list_metrics(toys: Sequence[Sequence[dict]], replies: Sequence[Reply]) -> dict[str, Metric]:
    """The scores of N lists.

    Args:
        toys: the truth, left to right, of N scenes.
        replies: N replies.

    Returns:
        ``counted`` (share of scenes with as many toys listed as there are), ``placed`` (share of
        toys whose place in the list, from the left, holds a toy of their kind and colour), and the
        two of :func:`benchmarks.metrics.attributes.attribute_metrics`.
    """
    claims = [read_caption(reply.caption) for reply in replies]
    placed = [
        sum(
            (claim["kind"], claim["colour"]) == (toy["kind"], toy["colour"])
            for claim, toy in zip(said, there, strict=False)
        )
        for said, there in zip(claims, toys, strict=True)
    ]
    return {
        "counted": ratio([len(c) == len(t) for c, t in zip(claims, toys, strict=True)]),
        "placed": ratio(placed, np.array([len(t) for t in toys])),
        **attribute_metrics(claims, toys),
    }
