"""Naming metrics: which expected names a caption writes, strictly counted.

Strict, over sets of names::

    hit     an expected name that is written
    extra   a name of an absent concept that is written, or a tag that is nobody's name
    missed  an expected name that is not written

Precision, recall and F1 are micro averages over captions. What counts as written is the one rule of
:mod:`rewards.names`. A name is written or it is not: fifty times is once, and a caption wrapped in
``<bo>...</bo>`` is markup and names nobody, as in the reward. On whom a name stands is for
:mod:`benchmarks.metrics.binding`.

:mod:`benchmarks.metrics.repic_naming` says what RePIC's published metric counts, and what
it ignores.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from benchmarks.metrics.intervals import Metric, ratio
from rewards.names import Tally, find_names, tally
from rewards.parsing import answer_part
from rewards.unicode_text import normalise


def count_names(
    text: str,
    expected: Sequence[str],
    absent: Sequence[str] = (),
    places: Mapping[str, Sequence[bool]] | None = None,
) -> Tally:
    """Hits, extras and misses of one caption.

    Args:
        text: what was written; any string. Reasoning is no caption
            (:func:`rewards.parsing.answer_part`).
        expected: bare names of the concepts in the image.
        absent: bare names given in the prompt whose concept is not in the image.
        places: on what the text puts the expected names, where that counts, too
            (:func:`rewards.names.tally`).
    """
    found = find_names(answer_part(text), {*expected, *absent})
    return tally(found.written - (found.closed & set(expected)), expected, found.unlisted, places)


def strict_tallies(
    captions: Sequence[str], expected: Sequence[Sequence[str]], known: Iterable[str] = ()
) -> list[Tally]:
    """:func:`count_names` of N captions, where every known name that is not expected is absent.

    Args:
        captions: N texts.
        expected: N lists of bare names.
        known: bare names of the concepts there are, those of ``expected`` among them or not.
    """
    spellings: dict[str, list[str]] = {}
    for name in {*known, *(name for names in expected for name in names)}:
        spellings.setdefault(_folded(name), []).append(name)
    found = []
    for caption, names in zip(captions, expected, strict=True):
        # A name that is nowhere in the text can neither be written nor be a tag, and to look for
        # every known name in every caption by its rules is slow.
        text = _folded(caption)
        mine = {_folded(name) for name in names}
        absent = [spellings[key][0] for key in spellings if key in text and key not in mine]
        found.append(count_names(caption, names, absent))
    return found


def naming_metrics(tallies: Sequence[Tally]) -> dict[str, Metric]:
    """The scores of N captions.

    Returns:
        ``precision``, ``recall``, ``f1`` (micro, 0-1; undefined where the denominator is 0),
        ``names_used`` (share of captions with at least one expected name written) and
        ``names_nothing`` (share of captions in which no name at all is written).
    """
    hits, extra, missed = (
        np.array([getattr(t, field) for t in tallies], dtype=np.float64)
        for field in ("hits", "extra", "missed")
    )
    return {
        "precision": ratio(hits, hits + extra),
        "recall": ratio(hits, hits + missed),
        "f1": ratio(2 * hits, 2 * hits + extra + missed),
        "names_used": ratio(hits > 0),
        "names_nothing": ratio(hits + extra == 0),
    }


def _folded(text: str) -> str:
    """Names alike in this form are one name to :func:`rewards.names.find_names`."""
    return " ".join(normalise(text).casefold().replace("_", " ").split())
