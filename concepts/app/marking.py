"""What the page shows of an answer: names coloured, reasons as a list, boxes on the image.

Everything that a model or a user wrote is escaped.
"""

import html
import re
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from concepts.methods.protocol import Evidence
from data_gen.images.boxes import Box
from data_gen.rows.contact_sheet import FONTS, writable
from rewards.names import name_key, names_written
from rewards.parsing import answer_in_place

COLOURS = ("#1f6feb", "#bc4c00", "#1a7f37", "#8250df", "#bf3989", "#9a6700")
"""Of those who are there, in turn; dark enough for white letters and for a white page."""

MAX_TEXT = 4000
"""Characters of an answer that are shown."""

SHOWN_PX = 400
"""Long side, about, to which smaller images are enlarged before boxes are drawn."""

_TAG = re.compile(r"<([^<>]{1,80})>")


def answer_html(text: str, there: Sequence[str], known: Sequence[str]) -> str:
    """An answer with its names coloured: those who are there each in a colour of its own, other
    concepts of the user's, which are not there, struck through.

    Args:
        text: what the model wrote.
        there: names of the concepts that are there.
        known: all names of the user's.
    """
    colours = colours_of(there)
    keys = {name_key(name): name for name in known}
    shown, out, at = text[:MAX_TEXT], [], 0
    for start, end, key in _places(shown, keys):
        out.append(html.escape(shown[at:start]))
        name, words = keys[key], html.escape(shown[start:end].strip("<>"))
        if name in colours:
            out.append(f'<mark style="background:{colours[name]}">{words}</mark>')
        else:
            out.append(f'<mark class="absent" title="not found in the picture">{words}</mark>')
        at = end
    out.append(html.escape(shown[at:]))
    if len(text) > MAX_TEXT:
        out.append(f" … {len(text) - MAX_TEXT:,} more characters")
    body = "".join(out).strip() or "(the model wrote nothing)"
    return f'<div class="answer">{body}</div>'


def who_html(concepts: Sequence[Evidence]) -> str:
    """Who is there and who is not, and why, as a list; nobody is said in words."""
    there = [one for one in concepts if one.used]
    colours = colours_of([one.name for one in there])
    lines = []
    if not there:
        lines.append('<p class="nobody">Nobody and nothing of yours is in this picture.</p>')
    for one in concepts:
        name = html.escape(one.name)
        if one.used:
            name = f'<mark style="background:{colours[one.name]}">{name}</mark>'
        verdict = "there" if one.used else "not there"
        lines.append(f"<li>{name} <b>{verdict}</b>{html.escape(reasons(one))}</li>")
    items = "".join(line for line in lines if line.startswith("<li>"))
    words = "".join(line for line in lines if not line.startswith("<li>"))
    return f'<div class="who">{words}{f"<ul>{items}</ul>" if items else ""}</div>'


def reasons(one: Evidence) -> str:
    """Why a concept counts as there or not: ``: similarity 0.81, p 0.97``."""
    why = []
    if one.similarity is not None:
        why.append(f"similarity {one.similarity:.2f}")
    if one.p is not None:
        why.append(f"p {one.p:.2f}")
    if one.used and not why:
        why.append("named in the question")
    return f": {', '.join(why)}" if why else ""


def with_boxes(image: Image.Image, boxes: Sequence[tuple[str, Box]]) -> Image.Image:
    """The image, enlarged where it is small, with a box for each name in the colour of the name,
    which is written above it where the font has its letters.

    Args:
        boxes: name and x1 y1 x2 y2 in 0-1 of the image.
    """
    colours = colours_of([name for name, _ in boxes])
    drawn = image.convert("RGB")
    times = max(1, round(SHOWN_PX / max(drawn.size)))
    drawn = drawn.resize((drawn.width * times, drawn.height * times), Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(drawn)
    width = max(2, max(drawn.size) // 200)
    font = ImageFont.truetype(str(FONTS / "DejaVuSans-Bold.ttf"), max(10, max(drawn.size) // 40))
    for i, (name, (x1, y1, x2, y2)) in enumerate(boxes):
        edges = (x1 * drawn.width, y1 * drawn.height, x2 * drawn.width, y2 * drawn.height)
        edges = tuple(edge + 2 * width * i for edge in edges)  # two in one place are both seen
        left, right = sorted((edges[0], edges[2]))
        top, bottom = sorted((edges[1], edges[3]))
        pen.rectangle((left, top, right, bottom), outline=colours[name], width=width)
        words = name[:40]
        if writable(words) != words:
            continue
        x = max(0, min(left, drawn.width - pen.textlength(words, font) - 6))
        y = max(0, top - font.size - 4)
        pen.rectangle((x, y, x + pen.textlength(words, font) + 6, y + font.size + 4), colours[name])
        pen.text((x + 3, y + 1), words, "white", font)
    return drawn


def colours_of(names: Sequence[str]) -> dict[str, str]:
    """Name -> its colour."""
    return {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(dict.fromkeys(names))}


def _places(text: str, keys: dict[str, str]) -> list[tuple[int, int, str]]:
    """Where an answer writes which name: in tags, and as whole words where it counts as written."""
    text = answer_in_place(text)
    found = [
        (tag.start(), tag.end(), name_key(tag[1]))
        for tag in _TAG.finditer(text)
        if name_key(tag[1]) in keys
    ]
    for name in names_written(text, keys.values()):
        for word in re.finditer(rf"(?<![\w<]){re.escape(name)}(?![\w>])", text, re.IGNORECASE):
            found.append((word.start(), word.end(), name_key(name)))
    found.sort()
    apart: list[tuple[int, int, str]] = []
    for place in found:
        if not apart or place[0] >= apart[-1][1]:
            apart.append(place)
    return apart
