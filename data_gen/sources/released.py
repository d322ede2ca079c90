"""Rows from the training files that RePIC and RAP released; their images must be on disk.

Rows with a defect are skipped and counted by defect: an unknown reward method (RePIC's own training
falls back to boxes), names that no reference has, boxes outside their image, missing images. Our
templates ask for the format of the answer, as released problems do not.

Not used: later turns of a conversation, rows without references, and questions about traits. Memory
holds all rows of a file, without their images.
"""

import random
import re
from array import array
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Value

from data_gen.files.errors import InputError, SourceError
from data_gen.files.files import file_digest, fingerprint_of
from data_gen.files.json_stream import is_text, json_items
from data_gen.files.skipped import SkippedItems, printable
from data_gen.images.boxes import Box, cropped, padded, relative
from data_gen.images.finding import find_pictures
from data_gen.images.photos import PhotoError, open_photo, open_picture, orientation
from data_gen.rows import ICT, OCT, VLT
from data_gen.rows.indexed import IndexedRows, Skipped, interleaved
from data_gen.sources.box_filters import TOLERANCE
from data_gen.tasks.checks import check_counts, check_images
from data_gen.tasks.prompts import load_prompts
from data_gen.tasks.questions import draw_caption_style
from rewards.names import name_key, name_problem

FRAMES = ("image", "square")
"""What boxes in 0-1 are relative to: the image, or the image padded to a square (LLaVA)."""


TAG = re.compile(r"<([^<>/\n]{1,80})>")

NUMBERS = re.compile(r"\[\s*(-?[\d.]+)\s*,\s*(-?[\d.]+)\s*,\s*(-?[\d.]+)\s*,\s*(-?[\d.]+)\s*\]")

YES_NO = re.compile(r"\s*(yes|no)\b", re.I)

PRESENCE = (
    r"\b(see|spot|find|recogni[sz]e|identify|notice|detect)\b[^?]*{name}",
    r"\b(image|photo|picture|scene)\b[^?]*\b(show|contain|include|feature|depict|of\b)[^?]*{name}",
    r"\b(is|are)\s+{name}\s+(\w+\s+)?(in|present|visible|here|shown|depicted|part of)\b",
    r"\bdoes\s+{name}\s+(appear|show up)\b",
    r"\b(is|was)\s+(this|it|that)\b[^?]*{name}",
)
"""How questions ask whether a subject is there; other yes-or-no questions ask for traits."""


def released_rows(
    path: str | Path,
    images: str | Path,
    *,
    seed: int,
    counts: dict[str, int],
    box_frame: str = "image",
    size: int = 512,
    side: str = "long",
    image_format: str = "jpeg",
    targets: bool = False,
    name: str = "released",
    templates: dict | None = None,
    report: Callable[[str], None] = print,
) -> IndexedRows:
    """Rows of a released file, in an order drawn from the seed.

    Args:
        path: JSON or JSON lines, see :mod:`data_gen.sources.released`.
        images: folder to which the file's image paths are relative.
        seed: of the order and of phrasings.
        counts: task -> number of rows, for all three tasks; no more than the file has.
        box_frame: what boxes of numbers up to 1 are relative to, one of :data:`FRAMES`; larger
            numbers are pixels.
        size: largest length of the bounded side of every image, in pixels.
        side: which side ``size`` bounds: ``long`` or ``short``.
        image_format: how images are stored, ``jpeg`` or ``png``.
        targets: add a column ``target``, the answer to imitate, which only RAP's rows have.
        name: begins the rows' ids.
        templates: from :func:`data_gen.tasks.prompts.load_prompts`, for the answers' formats.
        report: is given a line that says how many rows are used and why others are not.

    Raises:
        SourceError: nothing usable, more rows asked for than there are, or an impossible setting.
    """
    check_images(size, side, image_format)
    check_counts(counts, (OCT, VLT, ICT), name)
    if box_frame not in FRAMES:
        raise SourceError(f"box_frame must be {' or '.join(FRAMES)}, not {box_frame!r}")
    folder = Path(images)
    if not folder.is_dir():
        raise SourceError(f"{images} is no folder; give the one that holds the images")
    entries, places, skipped, files = _entries(path, folder, targets)
    line = f"{name}: {len(entries)} rows used{skipped.clause()}"
    report(line)
    for task, n in counts.items():
        if n > len(places[task]):
            raise SourceError(
                f"{path}: {len(places[task])} usable rows of {task}, {n} asked for; "
                f"lower counts ({line})"
            )
    for task, found in places.items():
        random.Random(f"{name}-{seed}-{task}").shuffle(found)
    templates = templates or load_prompts()

    def make(task: str, i: int) -> dict | Skipped:
        place = places[task][i]
        row_id = f"{name}-{seed}-{task}-{i}"
        try:
            row = _row(
                random.Random(row_id),
                row_id,
                entries[place],
                files,
                size,
                side,
                box_frame,
                templates,
            )
        except (PhotoError, Defect) as reason:
            return Skipped(str(reason))
        row["source"] = f"{name}: {Path(path).name} row {place}"
        return row | ({"target": entries[place].target} if targets else {})

    return IndexedRows(
        dict(counts),
        make,
        order=interleaved,
        skipped=skipped,
        columns={"target": Value("string")} if targets else {},
        fingerprint=fingerprint_of(file_digest([path]), str(templates)),
        image_format=image_format,
    )


def _entries(
    path: str | Path, folder: Path, targets: bool
) -> tuple[dict[int, "Entry"], dict[str, array], SkippedItems, dict[str, Path]]:
    """Usable entries by their place in the file, the places by task, the skipped rest, and where
    the images are."""
    entries: dict[int, Entry] = {}
    places: dict[str, array] = defaultdict(lambda: array("i"))
    skipped = SkippedItems()
    for place, (_, item) in enumerate(json_items(path)):
        try:
            entry = read_entry(item)
            if targets and entry.target is None:
                raise Defect("row without an answer to imitate")
        except Defect as reason:
            skipped.add(str(reason), f"row {place}")
            continue
        entries[place] = entry
    files, lost = find_pictures(
        folder, (image for entry in entries.values() for image in entry.images)
    )
    for place, entry in list(entries.items()):
        missing = next((image for image in entry.images if image in lost), None)
        if missing is not None:
            skipped.add(lost[missing], f"row {place}: {printable(missing)}")
            del entries[place]
            continue
        places[entry.task].append(place)
    return entries, places, skipped, files


def _row(
    rng: random.Random,
    row_id: str,
    entry: "Entry",
    found: dict[str, Path],
    size: int,
    side: str,
    frame: str,
    templates: dict,
) -> dict:
    files = [found[image] for image in entry.images]
    images = [open_photo(file, size, side) for file in files]
    box = entry.box and _box(entry.box, files[-1], frame)
    words = templates[entry.task]
    style = draw_caption_style(rng) if entry.task == ICT else None
    end = [
        entry.texts[-1].strip(),
        rng.choice(words["caption_styles"][style]) if style else "",
        rng.choice(words["suffix"]),
    ]
    texts = [*entry.texts[:-1], " ".join(part for part in end if part)]
    parts: list[dict] = []
    for i, text in enumerate(texts):
        if i:
            parts.append({"type": "image", "text": None})
        if text.strip():
            parts.append({"type": "text", "text": text})
    return {
        "id": row_id,
        "task": entry.task,
        "prompt": [{"role": "user", "content": parts}],
        "images": images,
        "answer": entry.answer,
        "box": box and list(box),
        "names": list(entry.names),
        "absent_names": list(entry.absent_names),
        "source": "",
    }


def _box(box: Box, file: Path, frame: str) -> Box:
    """The released box in 0-1 of its image."""
    with open_picture(file) as header:
        width, height = header.size
        if orientation(header) != 1:
            raise Defect("image turned by EXIF, so that its box is uncertain")
    if max(box) <= 1 and frame == "square":
        whole = max(width, height)
        x1, y1, x2, y2 = (v * whole for v in box)
        box = padded((x1, y1, x2, y2), (width - whole) / 2, (height - whole) / 2)
    elif max(box) <= 1:
        x1, y1, x2, y2 = box
        box = x1 * width, y1 * height, x2 * width, y2 * height
    if min(box) < -TOLERANCE or box[2] > width + TOLERANCE or box[3] > height + TOLERANCE:
        raise Defect("box outside its image")
    box = relative(cropped(box, (0, 0, width, height)), (width, height))
    if not (box[0] < box[2] and box[1] < box[3]):
        raise Defect("inverted or empty box")
    return box


class Defect(InputError):
    """A released row cannot be used. The message is the reason, without what is peculiar to the
    row, so that its like can be counted."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A released row.

    Args:
        task: one of the contract's three.
        images: paths of images, references first, the query last.
        texts: texts before the first image, between images, and after the last one.
        answer, names, absent_names: as in the row contract.
        box: four numbers as released, or ``None``.
        target: the answer to imitate, or ``None``.
    """

    task: str
    images: tuple[str, ...]
    texts: tuple[str, ...]
    answer: str | None = None
    box: Box | None = None
    names: tuple[str, ...] = ()
    absent_names: tuple[str, ...] = ()
    target: str | None = None


def read_entry(item: Any) -> Entry:
    """Read a row of RePIC or RAP.

    Raises:
        Defect: what is wrong with it.
    """
    if not isinstance(item, dict):
        raise Defect("row that is no object")
    if "conversations" in item:
        return _rap(item)
    if "problem" in item and "solution" in item:
        return _repic(item)
    raise Defect("row of unknown schema")


def tags(text: str) -> list[str]:
    """Names that a text writes as ``<name>``, in order, each once."""
    found = dict.fromkeys(name.strip() for name in TAG.findall(text))
    return [name for name in found if name and name.lower() != "image"]


def _repic(item: dict) -> Entry:
    given = item.get("image")
    given = given if isinstance(given, list) else [given]
    images = tuple(image for image in given if is_text(image))
    if not images or len(images) < len(given):
        raise Defect("row without an image")
    problem, solution = item["problem"], item["solution"]
    if not is_text(problem):
        raise Defect("problem that is no text")
    texts = tuple(problem.split("<image>"))
    if len(texts) == 1:
        texts = ("",) * len(images) + texts  # RePIC's own training puts all images first
    if len(texts) != len(images) + 1:
        raise Defect("another number of images than of placeholders")
    method = item.get("accu_reward_method")
    if method == "yes_no":
        if not isinstance(solution, str) or solution.strip(" .\n").lower() not in ("yes", "no"):
            raise Defect("solution that is neither yes nor no")
        if len(images) < 2:
            raise Defect("yes or no about a single image")
        return Entry(OCT, images, texts, answer=solution.strip(" .\n").lower())
    if method == "iou":
        return Entry(VLT, images, texts, box=_numbers(solution))
    if method in ("yes_no_name", "yes_no_name_multi"):
        written = solution if isinstance(solution, list) else [solution]
        if not written or not all(map(is_text, written)):
            raise Defect("solution that is no name")
        names = _distinct([name.strip().strip("<>") for name in written])
        given = tags(problem)
        if not set(names) <= set(given):
            raise Defect("name that the problem does not give")
        given = _distinct(given)
        return Entry(
            ICT,
            images,
            texts,
            names=names,
            absent_names=tuple(name for name in given if name not in names),
        )
    raise Defect("unknown accu_reward_method")


def _numbers(solution: Any) -> Box:
    if isinstance(solution, str):
        match = NUMBERS.search(solution)
        solution = [float(v) for v in match.groups()] if match else None
    if (
        not isinstance(solution, list)
        or len(solution) != 4
        or not all(type(v) in (int, float) and abs(v) < 1e6 for v in solution)
    ):
        raise Defect("solution that is no box")
    if solution[0] >= solution[2] or solution[1] >= solution[3]:
        raise Defect("inverted or empty box")
    x1, y1, x2, y2 = map(float, solution)
    return x1, y1, x2, y2


def _distinct(names: list[str]) -> tuple[str, ...]:
    if any(map(name_problem, names)):
        raise Defect("solution that is no name")
    if len(set(map(name_key, names))) < len(names):
        raise Defect("name that is given twice")
    return tuple(names)


def _rap(item: dict) -> Entry:
    image, extra = item.get("image"), item.get("extra")
    if not is_text(image):
        raise Defect("row without an image")
    if not isinstance(extra, dict) or not extra:
        raise Defect("row without a reference")
    question, answer = _exchange(item["conversations"])
    references = [_reference(path, about) for path, about in extra.items()]
    names = _distinct([name for _, name, _ in references])
    asked = tags(question)
    if not set(asked) <= set(names):
        raise Defect("name without a reference")
    introductions = [
        f"{i}. <{name}>: {info}\n" if info else f"{i}. <{name}>\n"
        for i, (_, name, info) in enumerate(references, start=1)
    ]
    images = (*(path for path, _, _ in references), image)
    texts = ("", *introductions, question)
    numbers, yes_no = NUMBERS.search(answer), YES_NO.match(answer)
    if numbers:
        if len(asked) != 1:
            raise Defect("box of no name, or of several")
        return Entry(VLT, images, texts, box=_numbers(answer), target=answer)
    if yes_no:
        if len(asked) != 1 or not any(
            re.search(form.format(name=re.escape(f"<{asked[0]}>")), question, re.I)
            for form in PRESENCE
        ):
            raise Defect("yes or no about a trait")
        return Entry(OCT, images, texts, answer=yes_no[1].lower(), target=answer)
    called = tags(answer)
    if not set(called) <= set(names):
        raise Defect("answer with a name without a reference")
    if not called:
        raise Defect("answer without a name")
    return Entry(
        ICT,
        images,
        texts,
        names=tuple(n for n in names if n in called),
        absent_names=tuple(n for n in names if n not in called),
        target=answer,
    )


def _exchange(turns: Any) -> tuple[str, str]:
    """The first question, without its placeholder, and its answer."""
    if (
        not isinstance(turns, list)
        or len(turns) < 2
        or not all(isinstance(t, dict) and is_text(t.get("value")) for t in turns[:2])
        or [t.get("from") for t in turns[:2]] != ["human", "gpt"]
    ):
        raise Defect("conversation that does not go human, gpt")
    question = turns[0]["value"].replace("<image>", "").strip()
    if not question:
        raise Defect("question without words")
    return question, turns[1]["value"].strip()


def _reference(path: Any, about: Any) -> tuple[str, str, str | None]:
    if not isinstance(about, dict) or not is_text(about.get("name")) or not is_text(path):
        raise Defect("reference without a name")
    name, info = about["name"], about.get("info")
    return path, name.strip().strip("<>"), info.strip() if is_text(info) else None
