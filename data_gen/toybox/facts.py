"""The truth of a scene as a column of its row, and how much of a caption agrees with it.

A caption's claims (:func:`data_gen.toybox.language.read_caption`) are matched one to one with the
toys of the scene, in the way that makes most of them true. A second description of a toy, or one of
a toy that is not there, is an extra claim whose attributes are all wrong.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict

from data_gen.toybox.language import read_caption
from data_gen.toybox.scene import Scene

Attributes = dict[str, str]

_MAX_CLAIMS = 64  # beyond it a caption is degenerate; all further claims count as wrong


def facts_of(scene: Scene) -> str:
    """The six attributes of every toy in a scene, as the JSON text of a row's column ``facts``."""
    return json.dumps({"toys": [asdict(toy.identity) for toy in scene.toys]})


def read_facts(text: str, facts: str) -> tuple[int, int, int]:
    """The reader of ``rewards:caption_facts`` for toybox rows.

    Args:
        text: a caption; any text.
        facts: what :func:`facts_of` gave.

    Returns:
        Attribute values that the caption claims, those of them that are true, and those that there
        are: six for each toy.
    """
    toys = json.loads(facts)["toys"]
    claims = read_caption(text)
    return sum(map(len, claims)), true_attributes(claims, toys), sum(map(len, toys))


def true_attributes(claims: Sequence[Attributes], toys: Sequence[Attributes]) -> int:
    """How many claimed attribute values are true, under the best one-to-one matching.

    Args:
        claims: what is said of each toy; some attributes may be missing.
        toys: the truth, all attributes of each toy; about eight toys at most.

    Returns:
        A count, at most the number of claimed attributes.
    """
    agree = [
        [sum(toy.get(k) == v for k, v in claim.items()) for toy in toys]
        for claim in claims[:_MAX_CLAIMS]
    ]
    # best[m]: most true attributes with the toys of bit set m already matched.
    best = {0: 0}
    for row in agree:
        after = dict(best)
        for taken, score in best.items():
            for i, gain in enumerate(row):
                if gain and not taken >> i & 1:
                    now = taken | 1 << i
                    after[now] = max(after.get(now, 0), score + gain)
        best = after
    return max(best.values())
