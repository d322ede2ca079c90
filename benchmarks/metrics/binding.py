"""Binding metrics: whether captions put the names on the toys that bear them.

:mod:`benchmarks.metrics.naming` asks which names a caption writes, and not on whom. Here an
expected name counts only on its own toy: the one in the scene that its reference shows. On which
toys a caption puts a name is read by :func:`data_gen.toybox.facts.name_places`: the description
under which it stands is compared with all toys of the scene, and a toy under two names is
nobody's. Where a description fits two toys alike, it may bear the name of either.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.metrics.intervals import Metric, ratio
from benchmarks.metrics.naming import count_names

Places = Mapping[str, Sequence[bool | None]]
"""Name that a caption writes -> for each toy under which it stands: True for its own,
False for another one, None for a description that fits no toy of the scene."""

BINDING = ("f1_on_toy", "on_own_toy", "on_another_toy", "on_no_toy", "named_twice")
"""The metrics of :func:`binding_metrics`."""


def binding_metrics(
    captions: Sequence[str],
    expected: Sequence[Sequence[str]],
    absent: Sequence[Sequence[str]],
    places: Sequence[Places],
) -> dict[str, Metric]:
    """The scores of N captions.

    Args:
        captions: N texts.
        expected, absent: N lists of bare names, as in
            :func:`benchmarks.metrics.naming.count_names`.
        places: what each caption puts these names on.

    Returns:
        ``f1_on_toy``: micro F1, 2 hits / (2 hits + extra + missed), 0-1. A *hit* is an expected
        name that stands on its own toy, however often; *missed* are the other expected names.
        *Extra* are the extra names of naming F1 and, for each expected name, every other toy on
        which it stands, real or not. So it is at most naming F1, and the same where each name
        stands on its own toy only.

        ``on_own_toy``, ``on_another_toy``, ``on_no_toy``: shares of the mentions of expected names.
        A mention is a name on one toy, however often, or a name that stands under no description;
        on no toy are the latter and those under a description that fits no toy of the scene.

        ``named_twice``: share of captions that put one name, expected or not, on two toys or more.
    """
    found = [
        count_names(
            text, names, others, {name: [own is True for own in on] for name, on in at.items()}
        )
        for text, names, others, at in zip(captions, expected, absent, places, strict=True)
    ]
    hits, wrong = (
        np.array(counts, float)
        for counts in ([t.hits for t in found], [t.extra + t.missed for t in found])
    )
    # A name that stands on none is one mention.
    mentions = [
        [own for name, on in at.items() if name in names for own in on or [None]]
        for names, at in zip(expected, places, strict=True)
    ]
    own, another, nothing = (
        np.array([sum(own is kind for own in of) for of in mentions], float)
        for kind in (True, False, None)
    )
    every = own + another + nothing
    return {
        "f1_on_toy": ratio(2 * hits, 2 * hits + wrong),
        "on_own_toy": ratio(own, every),
        "on_another_toy": ratio(another, every),
        "on_no_toy": ratio(nothing, every),
        "named_twice": ratio([any(len(on) > 1 for on in at.values()) for at in places]),
    }
