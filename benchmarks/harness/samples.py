"""Samples for the report: images, truth, and what each system replied, in one JSON file.

The samples are the first of each set, not chosen. The file holds everything that a page needs,
so pages are drawn without any code of the benchmarks.
"""

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import asdict

from PIL import Image

from benchmarks.metrics.localization import answered_box
from benchmarks.metrics.multiple_choice import answered_option
from concepts.methods.protocol import Reply
from data_gen.images.photos import to_rgb
from rewards.names import find_names
from rewards.parsing import answer_in_place, answer_part, yes_or_no
from rewards.preference import TASK as PREFERENCE
from rewards.preference import read_chain
from rewards.visual_localization import iou

_SIDE = 256  # pixels; larger images are shrunk
_TAG = re.compile(r"<[^<>]*>")


def sample(row: dict, title: str, outputs: dict[str, Reply], question: str = "") -> dict:
    """One row with what each system replied to it.

    Args:
        row: as in the row contract, images decoded, perhaps with ``options`` and ``correct``.
        title: of its set.
        outputs: system label -> reply.
        question: the words that are asked, without options; default: what the prompt says after
            its last image.

    Returns:
        ``id``, ``title``, ``prompt`` (parts: text, or image as a data URI), ``question``,
        ``options`` (empty where there is no choice) and ``correct`` (place of the right one),
        ``answer``, ``box``, ``names``, ``absent_names``, and ``outputs``: label -> ``text``,
        ``n_tokens``, ``chosen`` (place of the option that was answered), ``box`` (0-1 or null),
        ``iou``, ``right`` (true, false; null for captions without names), ``marks``
        ([start, end, "right" | "wrong"] of names in the text) and ``missed`` (names). Of a
        preference row ``profiles``, the true ones, and for each output ``chain``, what
        :func:`rewards.preference.read_chain` reads.
    """
    images = iter(row["images"])
    prompt = [
        {"image": _data_uri(next(images))} if part["type"] == "image" else {"text": part["text"]}
        for message in row["prompt"]
        for part in message["content"]
    ]
    return {
        "id": row["id"],
        "title": title,
        "prompt": prompt,
        "question": question or _last_words(row["prompt"]),
        "options": row.get("options") or [],
        "correct": row.get("correct"),
        "answer": row["answer"],
        "box": row["box"],
        "names": row["names"],
        "absent_names": row["absent_names"],
        "profiles": row.get("profiles"),
        "outputs": {label: _output(row, prediction) for label, prediction in outputs.items()},
    }


def name_marks(text: str, expected: Sequence[str], absent: Sequence[str]) -> list[list]:
    """Where names stand in a caption: [start, end, kind], in order, not overlapping.

    For colouring only; what counts is :func:`rewards.names.find_names`, asked here about each tag
    and, for names it found bare, about the whole text.
    """
    listed, text = {*expected, *absent}, answer_in_place(text)
    marks = []
    for tag in _TAG.finditer(text):
        found = find_names(tag[0], listed)
        if found.written or found.unlisted:
            right = bool(found.written & set(expected)) and not found.unlisted
            marks.append([*tag.span(), "right" if right else "wrong"])
    bare = _TAG.sub(lambda tag: "\0" * len(tag[0]), text)
    for name in sorted(find_names(bare, listed).written, key=len, reverse=True):
        for match in re.finditer(rf"(?<!\w){re.escape(name)}(?!\w)", bare, re.IGNORECASE):
            if not any(a < match.end() and match.start() < b for a, b, _ in marks):
                marks.append([*match.span(), "right" if name in expected else "wrong"])
    return sorted(marks)


def _last_words(prompt: list[dict]) -> str:
    """What a conversation's last message says after its last image."""
    words: list[str] = []
    for part in prompt[-1]["content"]:
        words = [] if part["type"] == "image" else [*words, part["text"]]
    return "\n".join(words).strip()


def _output(row: dict, prediction: Reply) -> dict:
    text = prediction.text
    out = {
        "text": text,
        "n_tokens": prediction.n_tokens,
        "chosen": None,
        "box": None,
        "iou": None,
        "right": None,
        "marks": [],
        "missed": [],
    }
    if row["box"] is not None:
        box = answered_box(text, prediction.box_frame)
        out["box"] = list(box) if box else None
        out["iou"] = iou(box, row["box"]) if box else 0.0
        out["right"] = out["iou"] >= 0.5
    elif row["task"] == PREFERENCE:
        chain = read_chain(text)
        out["chain"] = asdict(chain)
        out["right"] = chain.answer == row["answer"]
    elif row.get("options"):
        out["chosen"] = answered_option(text, row["options"])
        out["right"] = out["chosen"] == row["correct"]
    elif row["answer"] is not None:
        out["right"] = yes_or_no(answer_part(text)) == row["answer"]
    else:
        expected, absent = row["names"], row["absent_names"]
        found = find_names(answer_part(text), {*expected, *absent})
        written = found.written - (found.closed & set(expected))
        out["marks"] = name_marks(text, expected, absent)
        out["missed"] = [name for name in expected if name not in written]
        if expected or absent:
            out["right"] = written == set(expected) and not found.unlisted
    return out


def _data_uri(image: Image.Image) -> str:
    image = to_rgb(image)  # pixels alone: a photo says where it was taken
    image.thumbnail((_SIDE, _SIDE))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
