"""Inspect a row set, of any origin: what is in it, and what is wrong with it.

Every image is decoded. Rows that break the contract are counted by reason, and the rest is
described. Memory holds a few rows, and 8 bytes per row and per image for finding duplicates.
"""

from array import array
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data_gen.files.files import digest, write_json
from data_gen.files.skipped import SkippedItems, printable
from data_gen.rows.contact_sheet import contact_sheet
from data_gen.rows.contract import RowError, check_row, image_bytes, open_image
from data_gen.rows.reading import (
    files_of,
    folder_of,
    lost_shards,
    repeated_id,
    sample_rows,
    stored_rows,
)


@dataclass
class Findings:
    """What was seen so far, of good rows except for ``bad``. Arrays have an entry per row,
    ``images`` one per distinct image of a row."""

    tasks: Counter = field(default_factory=Counter)
    answers: Counter = field(default_factory=Counter)
    sources: Counter = field(default_factory=Counter)
    image_sizes: Counter = field(default_factory=Counter)
    images_per_row: Counter = field(default_factory=Counter)
    names: Counter = field(default_factory=Counter)
    bad: SkippedItems = field(default_factory=SkippedItems)
    words: array = field(default_factory=lambda: array("L"))
    ids: array = field(default_factory=lambda: array("Q"))
    images: array = field(default_factory=lambda: array("Q"))
    rows_with_a_repeated_image: int = 0


def inspect_rows(path: str | Path, out: str | Path) -> str:
    """What a row set holds: counts, lengths, sizes, balance, duplicates, defects by reason.

    Args:
        path: a row set, a directory of parquet or tar files, or one such file.
        out: directory for ``report.json`` and ``contact_sheet.png``, the latter of good rows only.

    Returns:
        The report as text.

    Raises:
        FileNotFoundError: there is no file of rows.
    """
    files, found = files_of(path), Findings()
    for file in files:
        for row in stored_rows(file):
            _take(found, row, str(file), folder_of(path))
    report = _report(found, path, files)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "report.json", report)
    rows = sample_rows(path, good=lambda row: _defect(row, "", folder_of(path)) is None)
    if rows:
        contact_sheet(rows, out / "contact_sheet.png")
    return _text(report) + f"\nin {out}: report.json" + (", contact_sheet.png" if rows else "")


def _take(found: Findings, row: dict | RowError, where: str, folder: Path) -> None:
    if isinstance(row, RowError):
        found.bad.add(row.kind, str(row))
        return
    defect = _defect(row, where, folder)
    if defect:
        found.bad.add(defect.kind, str(defect))
        return
    found.tasks[row["task"]] += 1
    if row["answer"]:
        found.answers[row["answer"]] += 1
    found.sources[(row["source"] or "none").partition(":")[0]] += 1
    found.names["expected"] += len(row["names"])
    found.names["absent"] += len(row["absent_names"])
    text = " ".join(
        part["text"]
        for message in row["prompt"]
        for part in message["content"] or []
        if part["type"] == "text"
    )
    found.words.append(len(text.split()))
    images = []
    for image in row["images"] or []:
        with open_image(image) as opened:
            found.image_sizes["x".join(map(str, opened.size))] += 1
        images.append(digest(image_bytes(image)))
    found.images_per_row[len(images)] += 1
    found.rows_with_a_repeated_image += len(set(images)) < len(images)
    found.images.extend(set(images))
    found.ids.append(digest(row["id"]))


def _defect(row: dict, where: str, folder: Path) -> RowError | None:
    try:
        check_row(row, where, folder)
        for i, image in enumerate(row["images"] or []):
            try:
                with open_image(image) as opened:
                    opened.load()
            except Exception as error:  # pillow's decoders raise many kinds on damaged files
                raise RowError(
                    f"{where}: row {row['id']!r}: column 'images': an image cannot be decoded "
                    f"(number {i}: {error}); replace it or leave the row out",
                    kind="images: an image cannot be decoded",
                ) from None
    except RowError as defect:
        return defect
    return None


def _report(found: Findings, path: str | Path, files: list[Path]) -> dict:
    rows = len(found.ids)
    words = np.frombuffer(found.words, dtype=np.uint64)
    sides = [int(side) for size in found.image_sizes for side in size.split("x")]
    spread = np.percentile(words, [0, 50, 95, 100], method="nearest").tolist() if rows else [0] * 4
    return {
        "path": str(path),
        "files": len(files),
        "bytes": sum(file.stat().st_size for file in files),
        "lost_shards": lost_shards(path),
        "rows": rows,
        "bad_rows": found.bad.total,
        "bad_by_reason": found.bad.counts,
        "examples": {reason: found.bad.places(reason) for reason in found.bad.counts},
        "tasks": dict(found.tasks.most_common()),
        "answers": dict(found.answers.most_common()),
        "names": dict(found.names),
        "sources": dict(found.sources.most_common(10)),
        "prompt_words": dict(zip(("least", "median", "p95", "most"), spread, strict=True)),
        "images_per_row": {str(n): rows for n, rows in sorted(found.images_per_row.items())},
        "image_sizes": dict(found.image_sizes.most_common(10)),
        "image_sides": [min(sides), max(sides)] if sides else [],
        "duplicates": {
            "rows_with_an_earlier_id": rows - len(_counts(found.ids)),
            "an_id_used_twice": repeated_id(path, found.ids),
            "rows_with_an_image_twice": found.rows_with_a_repeated_image,
            "images_in_several_rows": int((_counts(found.images) > 1).sum()),
        },
    }


def _counts(digests: array) -> np.ndarray:
    """How often each distinct digest occurs."""
    return np.unique(np.frombuffer(digests, dtype=np.uint64), return_counts=True)[1]


def _text(report: dict) -> str:
    """The report as text: what is wrong first, then what there is."""
    rows, twice = report["rows"], report["duplicates"]

    def shares(counts: dict[str, int]) -> str:
        whole = sum(counts.values())
        if not whole:
            return "none"
        return ", ".join(f"{printable(name)} {n:,} ({n / whole:.0%})" for name, n in counts.items())

    words = report["prompt_words"]
    lines = [
        f"{report['path']}: {rows:,} good rows, {report['bad_rows']:,} bad, in {report['files']} "
        f"files of {report['bytes'] / 1e6:,.1f} MB",
        *(f"  lost: {name}, which the manifest lists" for name in report["lost_shards"]),
        *(
            f"  bad: {n:,} x {reason}\n       e.g. {report['examples'][reason][0]}"
            for reason, n in report["bad_by_reason"].items()
        ),
    ]
    if not rows:
        return "\n".join(lines)
    return "\n".join(
        [
            *lines,
            f"  tasks: {shares(report['tasks'])}",
            f"  answers: {shares(report['answers'])}",
            f"  names in prompts: {shares(report['names'])}",
            f"  sources: {shares(report['sources'])}",
            f"  words per prompt: {words['least']}-{words['most']}, median {words['median']}, "
            f"95 % up to {words['p95']}",
            f"  images per row: {shares(report['images_per_row'])}",
            f"  image sizes: {shares(report['image_sizes'])}, sides {report['image_sides']} px",
            f"  duplicates: {twice['rows_with_an_earlier_id']:,} rows with an id used before"
            + (f" ({twice['an_id_used_twice']!r})" if twice["an_id_used_twice"] else "")
            + f", {twice['rows_with_an_image_twice']:,} rows with the same image twice, "
            f"{twice['images_in_several_rows']:,} images in several rows",
        ]
    )
