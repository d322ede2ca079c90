"""Rows from Subjects200K (2411.15098; hub id ``Yuanshi/Subjects200K``) and what has its schema.

A row of the data set is a picture of one subject twice, side by side: a thing with two views. A row
of ours that says yes comes from one such pair, a row that says no from two. Pairs are filtered by
the scores of the data set's own quality assessment; the usual filter keeps those with the full 5 in
all three.

Left out: descriptions of the two scenes (rows ask about the thing, not about its background), and
finding near-copies between pairs, which is what a neighbour table is for. Pairs with the same item
text are taken for possibly the same thing and never stand for different ones.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from data_gen.files.errors import SourceError
from data_gen.files.files import file_digest, stamp_of
from data_gen.files.skipped import left_out_clause
from data_gen.negatives.table import read_neighbours
from data_gen.rows.indexed import RowMaker
from data_gen.sources.image_pairs import Pairs, category_of
from data_gen.sources.pair_parquet import (
    fetch_pairs,
    footer_digest,
    is_hub_id,
    light_rows,
    parquet_files,
)
from data_gen.tasks.builder import SourceRows
from data_gen.tasks.checks import check_negatives, check_pictures, row_maker
from data_gen.tasks.subjects import Source
from data_gen.tasks.views import Shares

SCORES = ("compositeStructure", "objectConsistency", "imageQuality")

ITEM_KEYS = ("item", "instance", "subject", "object")
"""Keys of ``description`` that may say what the thing is, the first that does counts."""


def subjects200k_maker(
    path: str | Path,
    *,
    seed: int,
    counts: dict[str, int],
    quality: Mapping[str, float] | None = None,
    keep_unassessed: bool = False,
    collections: list[str] | None = None,
    limit: int | None = None,
    cache: str | Path = "runs/cache",
    inset: int = 1,
    size: int = 512,
    side: str = "long",
    picture: str = "jpeg",
    negatives: str = "category",
    neighbours: str | Path | None = None,
    multi_share: float = 0.3,
    distractor_share: float = 0.5,
    absent_share: float = 0.15,
    hard_share: float = 0.5,
    info_share: float = 0.5,
    templates: dict | None = None,
    report: Callable[[str], None] = print,
) -> RowMaker:
    """Rows made from pairs.

    Args:
        path: a parquet file, a folder of them, or a hub id, which is streamed into ``cache``.
        seed: of every draw.
        counts: task -> number of rows, for all three tasks.
        quality: least score in each of :data:`SCORES`, 0-5; 5 where ``None`` or not named.
        keep_unassessed: keep pairs that nobody assessed.
        collections: names of the collections to use (``collection_2``); ``None`` takes all.
        limit: number of rows to read of each source, ``None`` for all.
        cache: directory that streamed pairs are kept in.
        inset: lines cut off at every edge of both halves, in pixels. The crops are exact, but in
            the published pairs the outermost line is mixed with the margin, by JPEG and by the seam
            that the generator drew.
        size: largest length of the bounded side of every picture, in pixels.
        side: which side ``size`` bounds: ``long`` or ``short``.
        picture: how pictures are stored, ``jpeg`` or ``png``.
        negatives: what a hard "no" is: ``category`` (the same) or ``nearest`` (in ``neighbours``).
        neighbours: file of :func:`data_gen.negatives.table.write_neighbours`; things' keys are
            ``<file>:<row group>:<row>``.
        multi_share, distractor_share, absent_share, hard_share, info_share: see
            :class:`data_gen.tasks.views.Shares`.
        templates: from :func:`data_gen.tasks.prompts.load_prompts`.
        report: is given a line that says how many pairs are used and why others are not.

    Raises:
        SourceError: nothing usable or an impossible setting; at the call, not at the first row.
    """
    check_pictures(size, side, picture)
    check_negatives(negatives, neighbours)
    shares = Shares(multi_share, distractor_share, absent_share, hard_share, info_share)
    if is_hub_id(path):
        path = fetch_pairs(str(path), cache, limit)
    pairs = Pairs(path, inset, size, side)
    left_out = read_pairs(pairs, thresholds(quality), keep_unassessed=keep_unassessed,
                          collections=collections, limit=limit)
    report(summary(pairs, left_out))
    if not pairs:
        raise SourceError(f"{path}: {summary(pairs, left_out)}; lower 'quality', or set "
                          f"keep_unassessed where nobody assessed the pairs")
    source = Source("subjects200k", pairs)
    nearest = read_neighbours(neighbours, source.things, left_out) if neighbours else None
    rows = SourceRows(source, seed, shares=shares, size=size, side=side, nearest=nearest,
                      templates=templates)
    stamp = stamp_of(*(part for file in pairs.files for part in (file.name, footer_digest(file))),
                     file_digest([neighbours] if neighbours else []))
    return row_maker(rows, counts, left_out, stamp, picture)


def thresholds(quality: Mapping[str, float] | None) -> dict[str, float]:
    """The least score for each of :data:`SCORES`."""
    quality = dict(quality or {})
    for name, least in quality.items():
        if name not in SCORES or type(least) not in (int, float):
            raise SourceError(f"quality: {name}: {least!r}; give {', '.join(SCORES)} numbers 0-5")
    return {name: quality.get(name, 5) for name in SCORES}


def read_pairs(
    pairs: Pairs,
    least: Mapping[str, float],
    *,
    keep_unassessed: bool = False,
    collections: list[str] | None = None,
    limit: int | None = None,
) -> Counter:
    """Fill ``pairs`` with what passes, in the order of the files. Arguments as for
    :func:`subjects200k_maker`.

    Returns:
        Why rows were left out, reason -> number of rows.
    """
    left_out: Counter[str] = Counter()
    n = 0
    for file in parquet_files(pairs.root):
        for place, row in light_rows(file, left_out):
            n += 1
            if limit is not None and n > limit:
                return left_out
            reason = _refusal(row, least, keep_unassessed, collections)
            if reason:
                left_out[reason] += 1
                continue
            texts = (row["description"].get(key) for key in ITEM_KEYS)
            item = next((t.strip() for t in texts if isinstance(t, str) and t.strip()), None)
            category = row["description"].get("category")
            if not isinstance(category, str) or not category.strip():
                category = category_of(item) if item else None
            pairs.add(place, item, category)
    return left_out


def summary(pairs: Pairs, left_out: Counter) -> str:
    """One line: how many pairs are used, how many are not and why."""
    return f"subjects200k: {len(pairs)} pairs used{left_out_clause(left_out)}"


def _refusal(row: dict, least: Mapping[str, float], keep_unassessed: bool,
             collections: list[str] | None) -> str | None:
    if collections and row.get("collection") not in collections:
        return "of another collection"
    if row["description"].get("description_valid") is False:
        return "description not valid"
    scores = row["quality_assessment"]
    for name in SCORES:
        score = scores.get(name)
        if isinstance(score, bool) or not isinstance(score, (int, float)):
            if not keep_unassessed:
                return "not assessed"
        elif not score >= least[name]:
            return f"{name} below {least[name]:g}"
    return None
