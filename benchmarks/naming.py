"""Are things called by their names? The strict score, and on request the one that RePIC published.

Strict, over sets of names::

    hit     a due name that is written
    extra   a name of an absent concept that is written, or a tag that is nobody's name
    missed  a due name that is not written

Precision, recall and F1 are micro averages over captions. What counts as written is the one rule of
:mod:`rewards.names`. A name is written or it is not: fifty times is once, and a caption wrapped in
``<bo>...</bo>`` is markup and names nobody, as in the reward.

:mod:`benchmarks.published_naming` says what the published metric counts, and what it lets pass.

    python -m benchmarks.naming CAPTIONS.json --variant 2|n --match published|strict \
        [--database DB.json]

prints one JSON object: ``precision``, ``recall`` and ``f1`` in per cent as papers print them,
``rows``; ``exact`` (the same, 0-1), ``counts``, and what was left out.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence

import numpy as np

from benchmarks.caption_files import first_of_each, read_captions, repeated
from benchmarks.databases import read_database
from benchmarks.files import BenchmarkError, bare, told
from benchmarks.intervals import Metric, ratio
from benchmarks.published_naming import VARIANTS, published_tallies
from rewards.names import Tally, find_names, tally
from rewards.unicode_text import normalise


def count_names(text: str, due: Sequence[str], absent: Sequence[str] = ()) -> Tally:
    """Hits, extras and misses of one caption.

    Args:
        text: the caption; any string.
        due: bare names that belong.
        absent: bare names given in the prompt whose concept is not in the picture.
    """
    found = find_names(text, {*due, *absent})
    return tally(found.written - (found.closed & set(due)), due, found.unlisted)


def strict_tallies(
    captions: Sequence[str], due: Sequence[Sequence[str]], known: Iterable[str] = ()
) -> list[Tally]:
    """:func:`count_names` of N captions, where every known name that is not due is absent.

    Args:
        captions: N texts.
        due: N lists of bare names.
        known: bare names of the concepts there are, those of ``due`` among them or not.
    """
    spellings: dict[str, list[str]] = {}
    for name in {*known, *(name for names in due for name in names)}:
        spellings.setdefault(_folded(name), []).append(name)
    found = []
    for caption, names in zip(captions, due, strict=True):
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
        ``names_used`` (share of captions with at least one due name written) and
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


def score_file(
    path: str, variant: str, match: str = "published", database: str | None = None
) -> dict:
    """Score a caption file; what the program above prints.

    Args:
        path: see :mod:`benchmarks.caption_files`.
        variant: ``2`` or ``n``, see :mod:`benchmarks.published_naming`; the strict score does not
            depend on it.
        match: ``published`` or ``strict``.
        database: strict only: a database whose names are extras where they are not due, beside the
            names of the file. The published metric knows the names of the file alone.

    Raises:
        BenchmarkError: nothing in the file can be scored.
    """
    captions, left_out = read_captions(path)
    twice = repeated(captions)
    if match == "published":
        # Every row counts, as in the released scorer, also one that stands there twice.
        tallies = published_tallies([c.text for c in captions], [c.names for c in captions],
                                    variant)
    else:
        captions = first_of_each(captions, left_out)
        known = set()
        if database:
            concepts, broken = read_database(database)
            known = set(concepts)
            left_out |= {f"database: {reason}": places for reason, places in broken.items()}
        tallies = strict_tallies([c.text for c in captions],
                                 [[bare(name) for name in c.names] for c in captions], known)
    total = sum(tallies, Tally())
    exact = _shares(total, empty=0.0 if match == "published" else None)
    return {
        **{key: None if share is None else round(100 * share, 1) for key, share in exact.items()},
        "rows": len(captions),
        "match": match,
        "variant": variant,
        "exact": exact,
        "counts": {"hits": total.hits, "extra": total.extra, "missed": total.missed},
        "repeated": twice,
        "left_out": told(left_out),
    }


def _shares(total: Tally, empty: float | None) -> dict[str, float | None]:
    """Precision, recall and F1 in 0-1; ``empty`` where a denominator is 0."""
    precision = total.hits / named if (named := total.hits + total.extra) else empty
    recall = total.hits / due if (due := total.hits + total.missed) else empty
    both = (precision or 0) + (recall or 0)
    f1 = 2 * precision * recall / both if both else 0.0
    return {"precision": precision, "recall": recall, "f1": f1}


def _folded(text: str) -> str:
    """Names alike in this form are one name to :func:`rewards.names.find_names`."""
    return " ".join(normalise(text).casefold().replace("_", " ").split())


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.naming", description="Naming scores of a captions file, as JSON")
    parser.add_argument("captions", help="[[image, names, caption, question], ...]")
    parser.add_argument("--variant", choices=VARIANTS, required=True,
                        help="2: two concepts, with case; n: every other number, without")
    parser.add_argument("--match", choices=("published", "strict"), default="published")
    parser.add_argument("--database", help="strict: whose names are wrong where they are not due")
    args = parser.parse_args(arguments)
    try:
        result = score_file(args.captions, args.variant, args.match, args.database)
    except BenchmarkError as error:
        sys.exit(f"naming: {error}")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
