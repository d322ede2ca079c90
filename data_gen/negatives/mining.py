"""Mine hard negatives: for each subject, the most similar ones of its category, by an encoder.

Subjects more similar than ``near_duplicate`` may be the same one: they are reported and are never
negatives of each other, and neither are subjects of one label. The result is a table of
:func:`data_gen.negatives.table.write_neighbours`, which the generators of rows read.
"""

import json
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import faiss
import numpy as np
from tqdm import tqdm

from data_gen.files.errors import SourceError
from data_gen.files.files import atomic_file, write_json
from data_gen.files.skipped import SkippedItems
from data_gen.negatives.embedding import Embedded
from data_gen.negatives.table import write_neighbours
from data_gen.tasks.subjects import Subject


@dataclass(frozen=True)
class Mining:
    """How neighbours are chosen.

    Args:
        neighbours: most neighbours of one subject.
        candidates: nearest subjects looked at, before those that may be the same are removed.
        near_duplicate: cosine from which on two subjects may be the same.
        same_category: whether neighbours must be of the subject's category; then subjects without
            a category have no neighbours.
    """

    neighbours: int = 16
    candidates: int = 64
    near_duplicate: float = 0.95
    same_category: bool = True

    def __post_init__(self):
        if not 0 < self.neighbours <= self.candidates:
            raise SourceError("neighbours must be from 1 to candidates")
        if not -1 < self.near_duplicate <= 1:
            raise SourceError("near_duplicate must be a cosine, up to 1")


@dataclass
class Mined:
    """What was found.

    Args:
        nearest: key -> keys, the nearest first.
        duplicates: (key, key, cosine) of subjects that may be the same, each pair once.
        skipped: subjects without neighbours, by reason.
        measured: see :func:`measure`.
    """

    nearest: dict[str, list[str]]
    duplicates: list[tuple[str, str, float]]
    skipped: SkippedItems = field(default_factory=SkippedItems)
    measured: dict = field(default_factory=dict)


def mine(subjects: Sequence[Subject], embedded: Embedded, settings: Mining) -> Mined:
    """Find the nearest other subjects of each subject, category by category, by exact search."""
    labels: list[str | None] = []
    groups: dict[str | None, list[int]] = defaultdict(list)
    skipped = SkippedItems()
    for i in range(len(subjects)):
        subject = subjects[i]
        labels.append(subject.label)
        if not embedded.vectors[i].any():
            skipped.add("no usable image")
        elif settings.same_category and not subject.category:
            skipped.add("no category")
        else:
            category = (subject.category or "").strip().casefold()
            groups[category if settings.same_category else None].append(i)
    nearest: dict[int, list[int]] = {}
    duplicates: dict[tuple[int, int], float] = {}
    with tqdm(
        total=sum(map(len, groups.values())), unit="subject", desc="neighbours", mininterval=1
    ) as bar:
        for members in groups.values():
            if len(members) < 2:
                skipped.add("alone in its category")
            else:
                _search(members, embedded.vectors, labels, settings, nearest, duplicates)
            bar.update(len(members))
    for i in [i for i, near in nearest.items() if not near]:
        skipped.add("none but what may be the same")
        del nearest[i]
    keys = embedded.keys
    return Mined(
        {keys[i]: [keys[j] for j in nearest[i]] for i in sorted(nearest)},
        [(keys[a], keys[b], cosine) for (a, b), cosine in sorted(duplicates.items())],
        skipped,
        measure(embedded, nearest, groups, settings),
    )


def _search(
    members: list[int],
    vectors: np.ndarray,
    labels: list,
    settings: Mining,
    nearest: dict[int, list[int]],
    duplicates: dict[tuple[int, int], float],
) -> None:
    own = np.ascontiguousarray(vectors[members])
    index = faiss.IndexFlatIP(own.shape[1])  # the inner product of vectors of length 1: a cosine
    index.add(own)
    # One more, as each subject finds itself, and not always first where vectors are equal.
    cosines, places = index.search(own, min(len(members), settings.candidates + 1))
    for i, near, close in zip(members, places, cosines, strict=True):
        found = nearest.setdefault(i, [])
        for place, cosine in zip(near, close, strict=True):
            j = members[place]
            if j == i:
                continue
            if cosine >= settings.near_duplicate:
                duplicates[min(i, j), max(i, j)] = round(float(cosine), 4)
            elif len(found) < settings.neighbours and (labels[i] is None or labels[i] != labels[j]):
                found.append(j)


def measure(
    embedded: Embedded, nearest: dict[int, list[int]], groups: dict, settings: Mining, seed: int = 0
) -> dict[str, dict]:
    """Cosines of subjects' own views, and of subjects with their nearest neighbour, with another of
    their category and with any other: mean, quantiles, and the number of cosines."""
    rng = random.Random(f"{seed}/measure")
    group_of = {i: members for members in groups.values() for i in members}
    everything = sorted(group_of)
    chosen = sorted(nearest)

    def other(pool: Sequence[int], i: int) -> int:
        while (j := pool[rng.randrange(len(pool))]) == i:
            pass
        return j

    def cosine(i: int, j: int) -> float:
        return float(embedded.vectors[i] @ embedded.vectors[j])

    found = {
        "own views": [float(embedded.within[i]) for i in chosen],
        "nearest": [cosine(i, nearest[i][0]) for i in chosen],
        "any of the neighbours": [cosine(i, j) for i in chosen for j in nearest[i]],
    }
    if settings.same_category:
        found["random of the category"] = [cosine(i, other(group_of[i], i)) for i in chosen]
    found["random"] = [cosine(i, other(everything, i)) for i in chosen]
    return {name: _summary(np.array(values)) for name, values in found.items()}


def _summary(values: np.ndarray) -> dict:
    values = values[~np.isnan(values)]
    if not len(values):
        return {"n": 0}
    low, middle, high = np.quantile(values, [0.05, 0.5, 0.95])
    return {
        "n": len(values),
        "mean": round(float(values.mean()), 4),
        "standard_error": round(float(values.std() / len(values) ** 0.5), 4),
        "5%": round(float(low), 4),
        "50%": round(float(middle), 4),
        "95%": round(float(high), 4),
    }


def write_mined(mined: Mined, out: Path, settings: dict) -> None:
    """Write the table, and next to it what was measured (``.json``) and which subjects may be the
    same (``.duplicates.jsonl``).

    Raises:
        SourceError: nothing was found.
    """
    if not mined.nearest:
        raise SourceError(
            f"no subject has a neighbour{mined.skipped.clause()}; give more "
            "subjects, set same_category: false, or raise near_duplicate"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(out.with_suffix(".duplicates.jsonl")) as file:
        file.write("".join(json.dumps(pair) + "\n" for pair in mined.duplicates).encode())
    write_json(
        out.with_suffix(".json"),
        {
            "settings": settings,
            "subjects": len(mined.nearest),
            "skipped": mined.skipped.counts,
            "near_duplicates": len(mined.duplicates),
            "cosines": mined.measured,
        },
    )
    write_neighbours(out, mined.nearest)
