"""Rows from Subjects200K (2411.15098; hub id ``Yuanshi/Subjects200K``) and what has its schema.

A row of the data set is one image that shows a subject twice, side by side: a subject with two
views. A "yes" row is made from one such pair, a "no" row from two. Pairs are filtered by the scores
of the data set's own quality assessment; the usual filter keeps those with the full 5 in all three.

Not used: descriptions of the two scenes, as rows ask about the subject, not about its background.
Pairs with the same item text may show the same subject and are never negatives of each other; a
neighbour table (:mod:`data_gen.negatives.mining`) finds further near-copies.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from data_gen.files.errors import SourceError
from data_gen.files.files import file_digest, fingerprint_of
from data_gen.files.skipped import SkippedItems
from data_gen.negatives.table import read_neighbours
from data_gen.rows.indexed import IndexedRows
from data_gen.sources.image_pairs import Pairs, category_of
from data_gen.sources.pair_parquet import (
    fetch_pairs,
    footer_digest,
    is_hub_id,
    light_rows,
    parquet_files,
)
from data_gen.tasks.builder import SourceRows
from data_gen.tasks.checks import check_images, check_negatives, indexed_rows
from data_gen.tasks.subjects import Source
from data_gen.tasks.views import EXPECTED_COUNTS, REFERENCE_COUNTS, SUBJECT_COUNTS, Shares

SCORES = ("compositeStructure", "objectConsistency", "imageQuality")

ITEM_KEYS = ("item", "instance", "subject", "object")
"""Keys of ``description`` that may say what the subject is; the first that does is used."""


def subjects200k_rows(
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
    image_format: str = "jpeg",
    negatives: str = "category",
    neighbours: str | Path | None = None,
    reference_counts: dict[int, float] = REFERENCE_COUNTS,
    subject_counts: dict[int, float] = SUBJECT_COUNTS,
    absent_share: float = 0.5,
    expected_counts: dict[int, float] = EXPECTED_COUNTS,
    combinations: dict[str, float] | None = None,
    paired_rows: bool = False,
    hard_share: float = 0.5,
    info_share: float = 0.5,
    templates: dict | None = None,
    report: Callable[[str], None] = print,
) -> IndexedRows:
    """Rows from pairs.

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
        size: largest length of the bounded side of every image, in pixels.
        side: which side ``size`` bounds: ``long`` or ``short``.
        image_format: how images are stored, ``jpeg`` or ``png``.
        negatives: what a hard "no" is: ``category`` (the same) or ``nearest`` (in ``neighbours``).
        neighbours: file of :func:`data_gen.negatives.table.write_neighbours`; subjects' keys are
            ``<file>:<row group>:<row>``.
        reference_counts, subject_counts, absent_share, expected_counts, combinations,
        paired_rows, hard_share, info_share: see :class:`data_gen.tasks.views.Shares`.
        templates: from :func:`data_gen.tasks.prompts.load_prompts`.
        report: is given a line that says how many pairs are used and why others are not.

    Raises:
        SourceError: nothing usable or an impossible setting; at the call, not at the first row.
    """
    check_images(size, side, image_format)
    check_negatives(negatives, neighbours)
    shares = Shares(
        absent=absent_share,
        hard=hard_share,
        info=info_share,
        reference_counts=reference_counts,
        subject_counts=subject_counts,
        expected_counts=expected_counts,
        combinations=combinations,
        paired_rows=paired_rows,
    )
    if is_hub_id(path):
        path = fetch_pairs(str(path), cache, limit)
    pairs = Pairs(path, inset, size, side)
    skipped = read_pairs(
        pairs,
        thresholds(quality),
        keep_unassessed=keep_unassessed,
        collections=collections,
        limit=limit,
    )
    report(summary(pairs, skipped))
    if not pairs:
        raise SourceError(
            f"{path}: {summary(pairs, skipped)}; lower 'quality', or set "
            f"keep_unassessed where nobody assessed the pairs"
        )
    source = Source("subjects200k", pairs)
    nearest = read_neighbours(neighbours, source.subjects, skipped) if neighbours else None
    rows = SourceRows(
        source, seed, shares=shares, size=size, side=side, nearest=nearest, templates=templates
    )
    fingerprint = fingerprint_of(
        *(part for file in pairs.files for part in (file.name, footer_digest(file))),
        file_digest([neighbours] if neighbours else []),
    )
    return indexed_rows(rows, counts, skipped, fingerprint, image_format)


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
) -> SkippedItems:
    """Fill ``pairs`` with the rows that pass, in the order of the files. Arguments as for
    :func:`subjects200k_rows`.

    Returns:
        The rows that do not pass.
    """
    skipped = SkippedItems()
    n = 0
    for file in parquet_files(pairs.root):
        for place, row in light_rows(file, skipped):
            n += 1
            if limit is not None and n > limit:
                return skipped
            reason = _refusal(row, least, keep_unassessed, collections)
            if reason:
                skipped.add(reason)
                continue
            texts = (row["description"].get(key) for key in ITEM_KEYS)
            item = next((t.strip() for t in texts if isinstance(t, str) and t.strip()), None)
            category = row["description"].get("category")
            if not isinstance(category, str) or not category.strip():
                category = category_of(item) if item else None
            pairs.add(place, item, category)
    return skipped


def summary(pairs: Pairs, skipped: SkippedItems) -> str:
    """One line: how many pairs are used, how many are not and why."""
    return f"subjects200k: {len(pairs)} pairs used{skipped.clause()}"


def _refusal(
    row: dict, least: Mapping[str, float], keep_unassessed: bool, collections: list[str] | None
) -> str | None:
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
