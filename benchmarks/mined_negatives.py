"""Do mined negatives matter? The same questions with three kinds of "no".

Each set asks about the same things in the same order: half of its rows say yes, and the others show
a neighbour of the table, another thing of the category, or any other thing.
"""

from collections.abc import Mapping, Sequence

from benchmarks.harness.predictions import Prediction
from benchmarks.metrics.recognition import recognition_metrics
from data_gen.rows import OCT
from data_gen.rows.indexed import Skipped
from data_gen.tasks.builder import SourceRows
from data_gen.tasks.subjects import Source
from data_gen.tasks.views import Shares

KINDS = ("mined", "category", "random")


def mined_rows(
    source: Source, nearest: Mapping[int, Sequence[int]], count: int, seed: int, size: int
) -> dict[str, list[dict]]:
    """Object-consistency rows, kind of negative -> ``count`` rows.

    Args:
        source: things with two views each, or more.
        nearest: from :func:`data_gen.negatives.table.read_neighbours`.
        size: largest length of the long side of every picture, in pixels.
    """
    found = {}
    for kind in KINDS:
        makes = SourceRows(
            source, seed, prefix="mined", size=size, nearest=nearest if kind == "mined" else None,
            shares=Shares(hard=0.0 if kind == "random" else 1.0, info=0.0))
        rows = (makes.make(OCT, i) for i in range(count))
        found[kind] = [row for row in rows if not isinstance(row, Skipped)]
    return found


def score(rows: Mapping[str, Sequence[dict]],
          predictions: Mapping[str, Sequence[Prediction]]) -> dict:
    """``<kind>/<metric>`` of one policy; see :func:`benchmarks.metrics.recognition.recognition_metrics`."""
    return {
        f"{kind}/{name}": metric for kind in rows
        for name, metric in recognition_metrics(
            [p.text for p in predictions[kind]], [row["answer"] for row in rows[kind]]).items()}
