"""Mined hard negatives: the same yes/no questions with mined, same-category and random negatives.

Each set asks about the same subjects in the same order: half of its questions are answered yes, and
the others show a neighbour from the table (``byname mine_negatives``), another subject of the
category, or any other subject.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from benchmarks.harness.benchmark import Benchmark, Question
from benchmarks.metrics.intervals import Metric
from benchmarks.metrics.recognition import recognition_metrics
from concepts.methods.prompting import query_of_row
from data_gen.files.errors import ImageError
from data_gen.files.skipped import SkippedItems
from data_gen.generators import open_source
from data_gen.negatives.table import read_neighbours
from data_gen.rows import OCT
from data_gen.rows.indexed import Skipped
from data_gen.tasks.builder import SourceRows
from data_gen.tasks.questions import object_consistency_row
from data_gen.tasks.subjects import Source
from data_gen.tasks.views import Shares

KINDS = {
    "mined": "mined negatives",
    "category": "negatives of the category",
    "random": "random negatives",
}
"""Set -> its label in tables."""


@dataclass(kw_only=True)
class MinedNegativesSettings:
    """Whose subjects are asked about, and with which table."""

    source: dict[str, Any] = field(metadata={"help": "See data_gen.generators.open_source."})
    table: str = field(metadata={"help": "The neighbour table."})
    rows: int = field(default=400, metadata={"help": "Questions of each kind."})
    size: int = field(default=96, metadata={"help": "Long side of images, in pixels."})
    seed: int = field(default=7001, metadata={"help": "Seed of the questions."})


class MinedNegatives(Benchmark):
    """See the module's docstring."""

    name = "mined_negatives"
    Settings = MinedNegativesSettings
    drawn = True
    headlines = tuple(f"{kind}/accuracy" for kind in KINDS)
    limits = dict.fromkeys(KINDS, 16)
    fixed_concepts = False
    in_memory = True

    def __init__(self, settings: MinedNegativesSettings, limit: int | None = None):
        super().__init__(settings, limit)
        self.titles = KINDS
        source = open_source(settings.source).source
        nearest = read_neighbours(settings.table, source.subjects)
        count = min(settings.rows, limit or settings.rows)
        rows = mined_rows(source, nearest, count, settings.seed, settings.size)
        self.sets = {kind: [_question(row) for row in of] for kind, of in rows.items()}

    def score(self, replies, likelihoods) -> dict[str, Metric]:
        return {
            f"{kind}/{key}": metric
            for kind, pairs in replies.items()
            for key, metric in recognition_metrics(
                [r.text for _, r in pairs], [q.answer or "" for q, _ in pairs]
            ).items()
        }


def mined_rows(
    source: Source, nearest: Mapping[int, Sequence[int]], count: int, seed: int, size: int
) -> dict[str, list[dict]]:
    """Object-consistency rows, kind of negative -> ``count`` rows.

    Args:
        source: subjects with two views each, or more.
        nearest: from :func:`data_gen.negatives.table.read_neighbours`.
        size: largest length of the long side of every image, in pixels.
    """
    found = {}
    for kind in KINDS:
        rows = SourceRows(
            source,
            seed,
            prefix="mined",
            size=size,
            nearest=nearest if kind == "mined" else None,
            shares=Shares(hard=0.0 if kind == "random" else 1.0, info=0.0),
            swapped=False,  # all kinds ask the same questions whose answer is yes
        )
        made = (rows.make(OCT, i) for i in range(count))
        found[kind] = [row for row in made if not isinstance(row, Skipped)]
    return found


def most_confused(
    source: Source,
    nearest: Mapping[int, Sequence[int]],
    yes: Callable[[list[dict]], list[float]],
    keep: int,
    *,
    seed: int,
    size: int,
    skipped: SkippedItems | None = None,
) -> dict[str, list[str]]:
    """Each subject's neighbours that a policy most readily takes for it, as keys: negatives mined
    against that policy, for :func:`data_gen.negatives.table.write_neighbours`.

    For every neighbour the policy is asked once, with a random view of either: is the subject in
    this image? An encoder's neighbours say what looks alike to the encoder. Negatives mined against
    the current model brought SAM 3 from 28.3 to 43.0 cgF1 (its paper).

    Args:
        source: subjects.
        nearest: from :func:`data_gen.negatives.table.read_neighbours`.
        yes: p(yes) of each of some object-consistency rows, in 0-1.
        keep: neighbours kept of each subject, the likeliest taken for it first.
        seed: of views and wordings.
        size: largest length of the long side of every image, in pixels.
        skipped: counts neighbours whose image cannot be used.
    """
    rows = SourceRows(source, seed, prefix="confused", size=size, shares=Shares(info=0.0))
    found = {}
    for i in sorted(nearest):
        asked: list[tuple[int, dict]] = []
        for j in nearest[i]:
            rng = random.Random(f"{seed}/{source.subjects[i].key}/{source.subjects[j].key}")
            shown = rng.choice(source.subjects[i].views)
            query = rng.choice(source.subjects[j].views)
            try:
                (reference,) = rows.renderer.references(rng, [(i, shown)])
                image = rows.renderer.bounded(query.open())
            except ImageError as error:
                if skipped is not None:
                    skipped.add(error.reason)
                continue
            row = object_consistency_row(
                rng, f"{i}-{j}", reference, image, same=False, source=source.name
            )
            asked.append((j, row))
        p = yes([row for _, row in asked]) if asked else []
        order = sorted(zip(p, asked, strict=True), key=lambda pair: -pair[0])
        if order:
            found[source.subjects[i].key] = [source.subjects[j].key for _, (j, _) in order[:keep]]
    return found


def _question(row: dict) -> Question:
    query = query_of_row(row)
    return Question(
        **{f.name: getattr(query, f.name) for f in fields(query)},
        answer=row["answer"],
        source=row["source"],
    )
