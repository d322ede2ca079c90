"""Rows from the training files that RePIC and RAP released, once their pictures are here too.

What is wrong with a row is counted, and the row left out: an unknown reward method (RePIC's own
training falls back to boxes), names that nobody gave, boxes outside their picture, pictures that
are missing. Answer formats are asked for in our words, as released problems do not contain them.

Left out: later turns of a conversation, rows without references, and questions about traits. All
rows of a file are held in memory, without their pictures.
"""

import random
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from datasets import Value
from PIL import Image

from data_gen.box_filters import TOLERANCE, find_file
from data_gen.boxes import cropped, padded, relative
from data_gen.json_stream import json_items
from data_gen.maker import RowMaker, Skipped, interleaved, stamp_of
from data_gen.photos import PhotoError, open_photo
from data_gen.prompts import load_prompts
from data_gen.released_entries import Defect, Entry, read_entry
from data_gen.row_sets import check_counts, check_pictures, file_digest
from data_gen.rows import ICT, OCT, VLT
from data_gen.sources import SourceError, left_out_clause
from data_gen.tasks import draw_manner

FRAMES = ("image", "square")
"""What boxes in 0-1 are counted in: the picture, or the picture padded to a square (LLaVA)."""


def released_maker(
    path: str | Path,
    images: str | Path,
    *,
    seed: int,
    counts: dict[str, int],
    box_frame: str = "image",
    size: int = 512,
    side: str = "long",
    picture: str = "jpeg",
    targets: bool = False,
    name: str = "released",
    templates: dict | None = None,
    report: Callable[[str], None] = print,
) -> RowMaker:
    """Rows of a released file, in an order that the seed draws.

    Args:
        path: JSON or JSON lines, see :mod:`data_gen.released_entries`.
        images: folder that the file's picture paths are told from.
        seed: of the order and of phrasings.
        counts: task -> number of rows, for all three tasks; no more than the file has.
        box_frame: what boxes of numbers up to 1 are counted in, one of :data:`FRAMES`; larger
            numbers are pixels.
        size: largest length of the bounded side of every picture, in pixels.
        side: which side ``size`` bounds: ``long`` or ``short``.
        picture: how pictures are stored, ``jpeg`` or ``png``.
        targets: add a column ``target``, the answer to imitate; such rows are RAP's only.
        name: begins the rows' ids.
        templates: from :func:`data_gen.prompts.load_prompts`, for the answers' formats.
        report: is given a line that says how many rows there are and what is wrong with others.

    Raises:
        SourceError: nothing usable, more rows asked for than there are, or an impossible setting.
    """
    check_pictures(size, side, picture)
    check_counts(counts, (OCT, VLT, ICT), name)
    if box_frame not in FRAMES:
        raise SourceError(f"box_frame must be {' or '.join(FRAMES)}, not {box_frame!r}")
    folder = Path(images)
    if not folder.is_dir():
        raise SourceError(f"{images} is no folder; give the one that holds the pictures")
    entries, places, left_out = _entries(path, folder, targets)
    line = f"{name}: {len(entries)} rows used{left_out_clause(left_out)}"
    report(line)
    for task, n in counts.items():
        if n > len(places[task]):
            raise SourceError(f"{path}: {len(places[task])} usable rows of {task}, {n} asked for; "
                              f"lower counts ({line})")
    for task, found in places.items():
        random.Random(f"{name}-{seed}-{task}").shuffle(found)
    templates = templates or load_prompts()

    def make(task: str, i: int) -> dict | Skipped:
        place = places[task][i]
        row_id = f"{name}-{seed}-{task}-{i}"
        try:
            row = _row(random.Random(row_id), row_id, entries[place], folder, size, side, box_frame,
                       templates)
        except (PhotoError, Defect) as reason:
            return Skipped(str(reason))
        row["source"] = f"{name}: {Path(path).name} row {place}"
        return row | ({"target": entries[place].target} if targets else {})

    return RowMaker(dict(counts), make, order=interleaved, left_out=dict(left_out),
                    columns={"target": Value("string")} if targets else {},
                    stamp=stamp_of(file_digest([path]), str(templates)), picture=picture)


def _entries(path, folder: Path, targets: bool) -> tuple[dict[int, Entry], dict, Counter]:
    """Usable entries by their place in the file, the places by task, and what is wrong with the
    rest."""
    entries: dict[int, Entry] = {}
    places: dict[str, array] = defaultdict(lambda: array("i"))
    defects: Counter[str] = Counter()
    there = lru_cache(1 << 16)(lambda image: find_file(folder, image) is not None)
    for place, (_, item) in enumerate(json_items(path)):
        try:
            entry = read_entry(item)
            if targets and entry.target is None:
                raise Defect("row without an answer to imitate")
            if not all(map(there, entry.images)):
                raise Defect("picture missing on disk")
        except Defect as reason:
            defects[str(reason)] += 1
            continue
        entries[place] = entry
        places[entry.task].append(place)
    return entries, places, defects


def _row(rng: random.Random, row_id: str, entry: Entry, folder: Path, size: int, side: str,
         frame: str, templates: dict) -> dict:
    files = [find_file(folder, image) for image in entry.images]
    pictures = [open_photo(file, size, side) for file in files]
    box = entry.box and _box(entry.box, files[-1], frame)
    words = templates[entry.task]
    manner = draw_manner(rng) if entry.task == ICT else None
    end = [entry.texts[-1].strip(), rng.choice(words["manners"][manner]) if manner else "",
           rng.choice(words["suffix"])]
    texts = [*entry.texts[:-1], " ".join(part for part in end if part)]
    parts: list[dict] = []
    for i, text in enumerate(texts):
        if i:
            parts.append({"type": "image", "text": None})
        if text.strip():
            parts.append({"type": "text", "text": text})
    return {"id": row_id, "task": entry.task, "prompt": [{"role": "user", "content": parts}],
            "images": pictures, "answer": entry.answer, "box": box and list(box),
            "names": list(entry.names), "absent_names": list(entry.absent_names), "source": ""}


def _box(box: tuple[float, ...], file: Path, frame: str) -> tuple[float, ...]:
    """The released box in 0-1 of its picture."""
    with Image.open(file) as header:
        width, height = header.size
        if header.getexif().get(0x0112, 1) != 1:
            raise Defect("picture turned by EXIF, so that its box is uncertain")
    if max(box) <= 1 and frame == "square":
        whole = max(width, height)
        box = padded(tuple(v * whole for v in box), (width - whole) / 2, (height - whole) / 2)
    elif max(box) <= 1:
        box = tuple(v * side for v, side in zip(box, (width, height) * 2, strict=True))
    if min(box) < -TOLERANCE or box[2] > width + TOLERANCE or box[3] > height + TOLERANCE:
        raise Defect("box outside its picture")
    box = relative(cropped(box, (0, 0, width, height)), (width, height))
    if not (box[0] < box[2] and box[1] < box[3]):
        raise Defect("inverted or empty box")
    return box
