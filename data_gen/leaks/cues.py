"""What can be known of a row without comparing its references with its query.

Each row gives numbers (how many images and how large, how long names and the owner's words are),
facts of its image files (compression, margins, blocks, sharpness), the words of its prompt, and its
query image. Names and the owner's words are taken out of the words: what an owner says of a
reference may rightly be compared with the query.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from data_gen.files.files import digest
from data_gen.rows.contract import TRUTH, encode_image, image_bytes, open_image

Encode = Callable[[Sequence[Image.Image]], np.ndarray]
"""N images -> (N, D) float."""

BATCH = 64
"""Query images that are decoded at a time."""

THUMBNAIL_PX = 8

COUNTS = (
    "images",
    "references",
    "subjects in the query",
    "owner's words",
    "references with them",
    "characters of names",
    "longest name",
    "mean reference side",
    "smallest reference side",
    "largest reference side",
    "query width",
    "query height",
)
"""What the numbers of :attr:`Cues.counts` are."""

FILES = (
    "bytes per pixel",
    "is JPEG",
    "white left",
    "white right",
    "white top",
    "white bottom",
    "8-pixel blocks",
    "sharpness",
)
"""Facts of an image file; :attr:`Cues.files` has them of the query, then how it differs in each
from the mean of its references."""

_SUBJECTS = re.compile(r"\bT(\d+)\b")
_SOURCE = re.compile(r"[^:]*: (?P<shown>.*) \| (?P<seen>.*?)(?: \([^()]*\))?")


@dataclass
class Cues:
    """One row.

    Attributes:
        task: of the row.
        answer: ``yes``, ``no`` or whatever the task answers; ``None`` where answers are free.
        expected: per reference, in the order of the prompt, whether its name is expected.
        names: per reference: length of its name and of the owner's words.
        box: of the truth, or ``None``.
        counts, files: numbers as in :data:`COUNTS` and twice :data:`FILES`.
        words: the prompt without names and owner's words.
        query: (D,) its image as the encoder sees it; empty without an encoder or an image.
        shown, seen: who the references and the query show, as far as the row says: folds keep
            rows of one together.
    """

    task: str
    answer: str | None
    expected: list[bool]
    names: list[tuple[int, int]]
    box: list[float] | None
    counts: list[float]
    files: list[float]
    words: str
    query: np.ndarray
    shown: str
    seen: str


def cues_of(rows: Iterable[dict], encode: Encode | None = None) -> Iterator[Cues]:
    """The cues of rows, in their order; rows with an image that cannot be decoded are left out.

    Args:
        rows: as they are stored or as a generator makes them.
        encode: query images -> vectors; ``None`` leaves query images out.
    """
    waiting: list[Cues] = []
    queries: list[Image.Image | None] = []
    for row in rows:
        images = [encode_image(image) for image in row["images"] or []]
        try:
            opened = [_decoded(image) for image in images]
        except Exception:  # pillow's decoders raise many kinds; --inspect says which and where
            continue
        found, query = _cues(row, images, opened)
        waiting.append(found)
        queries.append(query)
        if len(waiting) == BATCH:
            yield from _encoded(waiting, queries, encode)
            waiting, queries = [], []
    yield from _encoded(waiting, queries, encode)


def thumbnails(images: Sequence[Image.Image]) -> np.ndarray:
    """An encoder without weights: 8 x 8 pixels, 192 numbers in 0-1."""
    small = [i.convert("RGB").resize((THUMBNAIL_PX, THUMBNAIL_PX)) for i in images]
    return np.stack([np.asarray(i, np.float32).ravel() / 255 for i in small])


def _encoded(found: list[Cues], queries: list, encode: Encode | None) -> list[Cues]:
    have = [i for i, query in enumerate(queries) if query is not None]
    if encode and have:
        vectors = encode([queries[i] for i in have])
        for i, vector in zip(have, vectors, strict=True):
            found[i].query = vector
    return found


def _cues(
    row: dict, images: list[dict], opened: list[Image.Image]
) -> tuple[Cues, Image.Image | None]:
    names = [*row["names"], *row["absent_names"]]
    words, infos, order = _read_prompt(row["prompt"], names)
    sides = [side for image in opened[:-1] for side in image.size] or [0]
    width, height = opened[-1].size if opened else (0, 0)
    subjects = _SUBJECTS.search(row["source"] or "")
    facts = [_file_facts(s, o) for s, o in zip(images, opened, strict=True)]
    query = facts[-1] if facts else np.zeros(len(FILES))
    others = np.mean(facts[:-1], axis=0) if len(facts) > 1 else query
    shown, seen = _identities(row, images)
    truth = TRUTH.get(row["task"])
    found = Cues(
        task=row["task"],
        answer=row["answer"] if truth and truth.answers else None,
        expected=[name in row["names"] for name in order],
        names=[(len(name), infos.get(name, 0)) for name in order],
        box=row["box"],
        counts=[
            len(images),
            len(names),
            int(subjects[1]) if subjects else 0,
            sum(infos.values()),
            sum(n > 0 for n in infos.values()),
            sum(map(len, names)),
            max(map(len, names), default=0),
            float(np.mean(sides)),
            min(sides),
            max(sides),
            width,
            height,
        ],
        files=[*query, *(query - others)],
        words=words,
        query=np.zeros(0, np.float32),
        shown=shown,
        seen=seen,
    )
    return found, opened[-1] if opened else None


def _decoded(image: dict) -> Image.Image:
    with open_image(image) as opened:
        opened.load()
        return opened


def _read_prompt(prompt: list[dict], names: list[str]) -> tuple[str, dict[str, int], list[str]]:
    """The words without names and owner's words; name -> characters of the owner's words; names in
    the order in which the prompt introduces them."""
    said, infos, order = [], {}, []
    for message in prompt:
        content = message["content"] or []
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        pictures = sum(part["type"] == "image" for part in content)
        passed = 0
        for part in content:
            if part["type"] == "image":
                passed += 1
                continue
            text = part["text"] or ""
            introduced = [name for name in names if f"<{name}>" in text and name not in order]
            order += sorted(introduced, key=lambda name: text.index(f"<{name}>"))
            if introduced and passed < pictures:
                # "This is <bo>. It is a small dog.": the owner's words follow the first sentence.
                first, more = _split_introduction(text, introduced[0])
                infos[introduced[0]] = len(more.strip())
                text = first
            for name in names:
                text = text.replace(f"<{name}>", "NAME")
            said.append(re.sub(r'"[^"]*"', "DESCRIBED", text))
        said.append("\n")
    order += [name for name in names if name not in order]
    return " ".join(said), infos, order


def _split_introduction(text: str, name: str) -> tuple[str, str]:
    after = text.index(f"<{name}>") + len(name) + 2
    end = re.search(r"[.!?:\n]", text[after:])
    cut = after + end.end() if end else len(text)
    return text[:cut], text[cut:]


def _file_facts(stored: dict, image: Image.Image) -> np.ndarray:
    """The numbers of :data:`FILES`."""
    grey = np.asarray(image.convert("L"), np.float32)
    height, width = grey.shape
    white = grey >= 250

    def margin(lines: np.ndarray) -> float:
        """Share of lines, from the first on, that are all white."""
        return float(np.cumprod(lines.all(axis=1)).mean())

    step = np.abs(np.diff(grey, axis=1)).mean(axis=0) if width > 1 else np.zeros(1)
    seams = step[7::8]
    blocks = float(seams.mean() - step.mean()) if len(seams) else 0.0
    return np.array(
        [
            len(image_bytes(stored)) / (width * height),
            float(image_bytes(stored)[:2] == b"\xff\xd8"),
            margin(white.T),
            margin(white.T[::-1]),
            margin(white),
            margin(white[::-1]),
            blocks,
            float(step.mean()),
        ]
    )


def _identities(row: dict, images: list[dict]) -> tuple[str, str]:
    """Who the first reference and the query show: as the row's source says, where it does, else by
    the images themselves."""
    match = _SOURCE.fullmatch(row["source"] or "")
    if match:
        return _subject(match["shown"].split(" + ")[0]), _subject(match["seen"].split(" + ")[0])
    if not images:
        return row["id"], row["id"]
    return (
        str(digest(image_bytes(images[0]))),
        str(digest(image_bytes(images[-1]))),
    )


def _subject(where: str) -> str:
    """The subject of a view: ``dog/02.jpg`` -> ``dog``; a half of a pair -> the pair."""
    where = where.removeprefix("composite ")
    return re.sub(r"(?: left| right)$", "", where.rsplit("/", 1)[0])
