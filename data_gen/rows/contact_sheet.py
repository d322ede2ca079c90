"""Draw rows on a contact sheet that a person can judge at a glance.

Rows stand in sections by task, each row a cell: references and query side by side, names under
their references, the true box on the query, and under them the question and the expected answer.
Green is right, red is wrong.

Names are drawn with DejaVu Sans, which matplotlib brings. It has no Hangul, kana, Devanagari, Thai
or Chinese characters: the first two are written in Latin letters after their Unicode names, in
[brackets], the others as code points. Lines are not wrapped: a cell that would be too wide gets
smaller images and shorter lines.
"""

import re
import unicodedata
from bisect import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby, islice, zip_longest
from pathlib import Path

import matplotlib
from datasets import Dataset
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont

from data_gen.rows.contract import open_image

CELL_WIDTH = 560
TEXT_WIDTH = 412
"""Most pixels that text may claim for a cell; four such cells are as wide as three full ones."""

MAX_TEXT = 400
"""Characters of a piece of text that are looked at: no cell has room for more."""

MAX_PIECES = 60
"""Pieces of a line that are looked at, such as names."""

IMAGE_HEIGHT = 150
SECTION = 34
MARGIN = 28
GAP = 10
QUERY_GAP = 22
LINE = 20

INK, GREY, RULE = "#1f2328", "#6e7781", "#d8dee4"
GREEN, RED, BOX = "#1a7f37", "#c62828", "#ff2d78"

FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"

Words = list[tuple[str, str]]
"""Pieces of a line of text, each with its colour."""


@dataclass
class Cell:
    """A row as it is drawn. Images are in reading order, the query last."""

    task: str
    row_id: str
    images: list[Image.Image]
    captions: Words
    lines: list[Words] = field(default_factory=list)
    box: list[float] | None = None


def contact_sheet(
    rows: Iterable[dict],
    out_png: str | Path,
    *,
    limit: int = 24,
    columns: int = 3,
    names: bool = True,
) -> Path:
    """Draw rows into one PNG. The same rows give the same bytes.

    Args:
        rows: a row set (``read_rows``), a list, or an iterator of rows. From a set or a list the
            first rows of each task are taken, from an iterator the first ``limit`` rows.
        out_png: where to write.
        limit: most rows shown.
        columns: how many of the widest cells fit side by side.
        names: write the names under the references.

    Returns:
        ``out_png``.

    Raises:
        ValueError: no row.
    """
    cells = [_cell(row, names) for row in _picked(rows, limit)]
    if not cells:
        raise ValueError("no row to draw a contact sheet of")
    width = MARGIN + columns * (CELL_WIDTH + MARGIN)
    places: list[tuple[Cell, int, int, int]] = []
    sections: list[tuple[str, int]] = []
    y = MARGIN
    for task, group in groupby(cells, key=lambda cell: cell.task):
        section = list(group)
        sections.append((task, y))
        y += SECTION
        room = max(map(_width, section))
        across = (width - MARGIN) // (room + MARGIN)
        for start in range(0, len(section), across):
            band = section[start : start + across]
            places += [(cell, MARGIN + i * (room + MARGIN), y, room) for i, cell in enumerate(band)]
            y += max(map(_height, band)) + MARGIN
    sheet = Image.new("RGB", (max(x + room for _, x, _, room in places) + MARGIN, y), "white")
    draw = ImageDraw.Draw(sheet)
    for task, y in sections:
        draw.text(
            (MARGIN, y), writable(task.replace("_", " ")), fill=INK, font=_font(16, bold=True)
        )
        draw.line((MARGIN, y + 24, sheet.width - MARGIN, y + 24), fill=RULE)
    for cell, x, y, room in places:
        _draw_cell(sheet, draw, cell, x, y, room)
    sheet.save(out_png, format="PNG", optimize=True)
    return Path(out_png)


def writable(text: str) -> str:
    """The beginning of ``text`` on one line; words the font lacks become Latin, ``[gim]``, or
    ``U+592A U+4E00``."""
    text = text[:MAX_TEXT]
    return re.sub(r"[^\s<>.,:;!?'\"()\[\]{}]+", lambda m: _spelt(m.group()), " ".join(text.split()))


def _spelt(word: str) -> str:
    if all(ord(char) in _glyphs() and char.isprintable() for char in word):
        return word
    names = [unicodedata.name(char, "?") for char in word]
    if all(re.match(r"HANGUL SYLLABLE|(HIRAGANA|KATAKANA) LETTER", name) for name in names):
        return f"[{''.join(name.split()[-1] for name in names).lower()}]"
    return " ".join(f"U+{ord(char):04X}" for char in word[:2]) + (" …" if len(word) > 2 else "")


@cache
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(FONTS / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"), size)


@cache
def _glyphs() -> frozenset[int]:
    return frozenset(FT2Font(str(FONTS / "DejaVuSans.ttf")).get_charmap())


def _picked(rows: Iterable[dict], limit: int) -> list[dict]:
    """Up to ``limit`` rows, grouped by task; where rows can be counted, of each task as many."""
    tasks: list[str]
    if isinstance(rows, Dataset):  # gives a column without decoding images
        tasks = list(rows["task"])
    else:
        rows = rows if isinstance(rows, Sequence) else list(islice(rows, limit))
        tasks = [row["task"] for row in rows]
    by_task = {task: [i for i, t in enumerate(tasks) if t == task] for task in dict.fromkeys(tasks)}
    turns = [i for turn in zip_longest(*by_task.values()) for i in turn if i is not None][:limit]
    order = list(by_task)
    return [rows[i] for i in sorted(turns, key=lambda i: (order.index(tasks[i]), i))]


def _cell(row: dict, with_names: bool) -> Cell:
    images = [_image(image) for image in row["images"] or []]
    called, question = _read_prompt(row["prompt"], max(0, len(images) - 1))
    absent = set(row["absent_names"]) | ({*called} if row["answer"] == "no" else set())
    captions = [
        (f"<{name}>" if name and with_names else "", RED if name in absent else GREEN)
        for name in called
    ]
    captions.append(("query", GREY))
    cell = Cell(row["task"], row["id"], images, captions, box=row["box"])
    cell.lines.append([(question, GREY)])
    if row["answer"] is not None:
        colour = GREEN if row["answer"] == "yes" else RED
        cell.lines.append([("answer", INK), (row["answer"], colour)])
    if row["box"] is not None:
        cell.lines.append([("box", INK), (" ".join(f"{v:.2f}" for v in row["box"]), BOX)])
    if row["names"] or row["absent_names"]:
        line = [("names", INK)]
        line += [(f"<{name}>", GREEN) for name in row["names"]] or [("none", INK)]
        if row["absent_names"]:
            line += [("· absent", INK), *((f"<{name}>", RED) for name in row["absent_names"])]
        cell.lines.append(line)
    return cell


def _image(image: Image.Image | dict) -> Image.Image:
    if isinstance(image, dict):  # as stored: {"bytes", "path"}
        with open_image(image) as opened:
            return opened.convert("RGB")
    return image.convert("RGB")


def _read_prompt(prompt: list[dict], references: int) -> tuple[list[str | None], str]:
    """The name of each reference (the first ``<name>`` after its image), and the last text."""
    parts = [part for message in prompt for part in message["content"] or []]
    after: list[str] = []
    for part in parts:
        if part["type"] == "image":
            after.append("")
        elif after:
            after[-1] += part["text"]
    found = [re.search(r"<([^<>]+)>", text) for text in after[:references]]
    texts = [part["text"] for part in parts if part["type"] == "text"]
    return [match.group(1) if match else None for match in found], texts[-1] if texts else ""


def _fitted(images: list[Image.Image]) -> tuple[list[tuple[int, int]], int]:
    """Width and height of each image as drawn, and the height that all share."""
    shapes = [p.width / p.height for p in images]
    free = CELL_WIDTH - GAP * max(0, len(images) - 2) - QUERY_GAP
    height = min(IMAGE_HEIGHT, max(1, int(free / sum(shapes)))) if shapes else 0
    return [(max(1, round(shape * height)), height) for shape in shapes], height


def _width(cell: Cell) -> int:
    """Width of the cell in pixels: as its content needs, within bounds."""
    wide = sum(w for w, _ in _fitted(cell.images)[0]) + GAP * len(cell.images) + QUERY_GAP
    lines = [
        sum(_font(13).getlength(writable(t) + " ") for t, _ in line[:MAX_PIECES])
        for line in cell.lines
    ]
    return min(CELL_WIDTH, max(wide, min(TEXT_WIDTH, round(max(lines)))))


def _height(cell: Cell) -> int:
    return LINE + _fitted(cell.images)[1] + LINE + LINE * len(cell.lines)


def _draw_cell(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, cell: Cell, x: int, y: int, room: int
) -> None:
    _write(draw, [(cell.row_id, GREY)], x, y, room, 11)
    y += LINE - 3
    sizes, height = _fitted(cell.images)
    left = x
    for i, (image, (width, _)) in enumerate(zip(cell.images, sizes, strict=True)):
        is_query = i == len(cell.images) - 1
        if is_query and i:
            left += QUERY_GAP - GAP
        small = width >= 2 * image.width  # show the pixels there are
        kind = Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS
        sheet.paste(image.resize((width, height), kind), (left, y))
        draw.rectangle((left, y, left + width - 1, y + height - 1), outline=RULE)
        if is_query and cell.box:
            x1, y1, x2, y2 = (v * s for v, s in zip(cell.box, (width, height) * 2, strict=True))
            draw.rectangle((left + x1 - 2, y + y1 - 2, left + x2 + 2, y + y2 + 2), outline="white")
            draw.rectangle(
                (left + x1 - 1, y + y1 - 1, left + x2 + 1, y + y2 + 1), outline=BOX, width=2
            )
        _write(draw, [cell.captions[i]], left, y + height + 3, width + GAP - 2, 12)
        left += width + GAP
    y += height + LINE + 4
    for line in cell.lines:
        _write(draw, line, x, y, room, 13)
        y += LINE


def _write(
    draw: ImageDraw.ImageDraw, words: Words, x: float, y: int, room: float, size: int
) -> None:
    """Write pieces of text with spaces between, cut with … after ``room`` pixels."""
    font = _font(size)
    for text, colour in words[:MAX_PIECES]:
        text = writable(text)
        if font.getlength(text) > room:
            fits = bisect(range(len(text)), room, key=lambda n: font.getlength(text[:n] + "…"))
            text = text[: max(0, fits - 1)] + "…"
        draw.text((x, y), text, fill=colour, font=font)
        step = font.getlength(text) + font.getlength(" ")
        x, room = x + step, room - step
        if room <= 0:
            return
