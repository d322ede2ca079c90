"""Compute the naming scores of a captions file in RePIC's format, by whichever program made it.

    python -m benchmarks.captions.score_file CAPTIONS.json --variant 2|n --match published|strict \\
        [--database DB.json]

prints one JSON object: ``precision``, ``recall`` and ``f1`` in per cent as papers print them,
``rows``; ``exact`` (the same, 0-1), ``counts``, and what was skipped.
"""

import json
import sys
from dataclasses import dataclass, field
from typing import Literal

from benchmarks.formats.captions import first_of_each, read_captions, repeated
from benchmarks.formats.files import bare, read_database
from benchmarks.metrics.naming import strict_tallies
from benchmarks.metrics.repic_naming import published_tallies
from data_gen.files.errors import InputError
from data_gen.files.settings import read_settings
from rewards.names import Tally


def score_file(
    path: str, variant: str, match: str = "published", database: str | None = None
) -> dict:
    """Score a caption file; what the program above prints.

    Args:
        path: see :mod:`benchmarks.formats.captions`.
        variant: ``2`` or ``n``, see :mod:`benchmarks.metrics.repic_naming`; the strict score does
            not depend on it.
        match: ``published`` or ``strict``.
        database: strict only: a database whose names are extras where they are not expected, in
            addition to the names of the file, which are all that the published metric knows.

    Raises:
        InputError: nothing in the file can be scored.
    """
    captions, skipped = read_captions(path)
    twice = repeated(captions)
    if match == "published":
        # Every row counts, as in the released scorer, also one that stands there twice.
        tallies = published_tallies(
            [c.text for c in captions], [c.names for c in captions], variant
        )
    else:
        captions = first_of_each(captions, skipped)
        known = set()
        if database:
            concepts, broken = read_database(database)
            known = set(concepts)
            skipped.update(broken, prefix="database: ")
        tallies = strict_tallies(
            [c.text for c in captions], [[bare(name) for name in c.names] for c in captions], known
        )
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
        "skipped": skipped.to_json(),
    }


def _shares(total: Tally, empty: float | None) -> dict[str, float | None]:
    """Precision, recall and F1 in 0-1; ``empty`` where a denominator is 0."""
    precision = total.hits / named if (named := total.hits + total.extra) else empty
    recall = total.hits / expected if (expected := total.hits + total.missed) else empty
    p, r = precision or 0.0, recall or 0.0
    f1 = 2 * p * r / (p + r) if p + r else 0.0
    return {"precision": precision, "recall": recall, "f1": f1}


@dataclass(kw_only=True)
class ScoreFileSettings:
    """Which captions to score, and how."""

    captions: str = field(metadata={"help": "[[image, names, caption, question], ...]"})
    variant: Literal["2", "n"] = field(
        metadata={"help": "2: two concepts, with case; n: every other number, without."}
    )
    match: Literal["published", "strict"] = field(
        default="published", metadata={"help": "RePIC's own metric, or ours."}
    )
    database: str | None = field(
        default=None,
        metadata={"help": "strict: a database whose names are wrong where they are not expected."},
    )


def main(argv: list[str] | None = None) -> None:
    """Read the settings, print the scores."""
    try:
        (s,) = read_settings(
            sys.argv[1:] if argv is None else argv,
            ScoreFileSettings,
            positional="captions",
            program="score_file",
            doc=__doc__,
        )
        print(json.dumps(score_file(s.captions, s.variant, s.match, s.database), indent=1))
    except InputError as error:
        sys.exit(f"score_file: {error}")
    except KeyboardInterrupt:
        sys.exit("score_file: stopped")


if __name__ == "__main__":
    main()
