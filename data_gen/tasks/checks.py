"""Refuse what a source cannot be asked for, and hand its rows to the writer."""

from collections.abc import Mapping
from pathlib import Path

from data_gen.files.errors import SourceError
from data_gen.files.files import fingerprint_of
from data_gen.files.skipped import SkippedItems
from data_gen.rows import VLT
from data_gen.rows.contract import IMAGE_FORMATS
from data_gen.rows.indexed import IndexedRows, interleaved
from data_gen.tasks.builder import SourceRows
from data_gen.tasks.sampling import NEGATIVES


def indexed_rows(
    rows: SourceRows,
    counts: Mapping[str, int],
    skipped: SkippedItems,
    fingerprint: str,
    image_format: str = "jpeg",
) -> IndexedRows:
    """``counts[task]`` rows of each task of one source, the tasks interleaved.

    Args:
        rows: of the source.
        counts: task -> number of rows.
        skipped: what the source skipped before any row was made.
        fingerprint: digest of what the source was read from.
        image_format: how images are stored, a key of ``IMAGE_FORMATS``.

    Raises:
        SourceError: the source cannot give them; the message says what it lacks and what to do.
    """
    name, index = rows.source.name, rows.sampler.index
    check_counts(counts, rows.tasks, name)
    boxed, pairs, subjects = bool(index.boxed), bool(rows.sampler.pairs), len(rows.subjects)
    if any(n and not pairs and not (task == VLT and boxed) for task, n in counts.items()):
        raise SourceError(
            f"{name}: none of {subjects} subjects can be both reference and query: "
            f"add images, or loosen the filters"
        )
    if len(rows.sampler.pairs) < 2 and any(
        n and not (task == VLT and boxed) for task, n in counts.items()
    ):
        raise SourceError(
            f"{name}: one subject only that can be both reference and query; rows need another one "
            f"as its negative: add some"
        )
    if index.has_boxes and not boxed and counts.get(VLT):
        raise SourceError(
            f"{name}: no subject with a box has another view, or words that describe "
            f"it; take {VLT} out of counts"
        )
    return IndexedRows(
        dict(counts),
        rows.make,
        columns=rows.columns,
        order=interleaved,
        skipped=skipped,
        fingerprint=fingerprint_of(fingerprint, str(rows.templates)),
        image_format=image_format,
    )


def check_counts(counts: Mapping[str, int], tasks: tuple[str, ...], name: str) -> None:
    """Refuse tasks that ``name`` does not make, and counts that are no whole numbers from 0.

    Raises:
        SourceError: naming the task.
    """
    for task, n in counts.items():
        if task not in tasks:
            raise SourceError(
                f"{name} gives {', '.join(tasks)}; there is no {task!r}: take it out of counts"
            )
        if type(n) is not int or n < 0:
            raise SourceError(f"counts: {task}: must be a whole number from 0, not {n!r}")


def check_images(size: int, side: str, image_format: str) -> None:
    """Refuse impossible image sizes, and unknown formats."""
    if image_format not in IMAGE_FORMATS:
        raise SourceError(
            f"image_format must be {' or '.join(IMAGE_FORMATS)}, not {image_format!r}"
        )
    if type(size) is not int or size < 16:
        raise SourceError(f"size must be a whole number of pixels from 16, not {size!r}")
    if side not in ("long", "short"):
        raise SourceError(f"side must be 'long' or 'short', not {side!r}")


def check_negatives(negatives: str, neighbours: str | Path | None) -> None:
    """Refuse an unknown kind of negatives, and a neighbour table that is missing or not used."""
    if negatives not in NEGATIVES:
        raise SourceError(f"negatives must be one of {', '.join(NEGATIVES)}, not {negatives!r}")
    if (negatives == "nearest") != bool(neighbours):
        raise SourceError("negatives: nearest and a table in 'neighbours' go together")
