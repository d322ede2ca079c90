"""Turn image pairs into subjects: the two halves of a composite, and the category in its text."""

import re
from array import array
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from PIL import Image

from data_gen.files.errors import ImageError
from data_gen.images.photos import fitted
from data_gen.sources.pair_parquet import Place, pair_image
from data_gen.sources.photo_folders import printable
from data_gen.tasks.subjects import Subject, View, kind_sentence

CACHED_PAIRS = 16
"""Decoded pairs held in memory: 25 MB at 512 px."""

MAX_MARGIN = 1 / 8
"""Widest white margin of a pair, as a share of its height."""

PARTS = re.compile(r"(?:pair|set|collection|bunch|piece|group|type|kind) of (?:an? |the )?", re.I)
"""Words before the subject itself: ``a pair of sneakers``."""

AFTER = re.compile(
    r"[(\[;:–—]|\s(?:of|in|on|by|with|from|for|at|to|into|under|over|near|inside|made|featuring|having"
    r"|wearing|holding|that|which|who|whose|where|as|against|-)\s",
    re.I,
)
"""Where a description of the subject begins: ``beverage | in glass or bottle``."""


class Pairs(Sequence[Subject]):
    """Pairs as subjects, built on access: of each, memory holds a few numbers and the item's text.

    Args:
        root: file or folder to which the paths of their files are relative.
        inset: lines cut off at every edge of both halves, in pixels.
        size: largest length of the bounded side of a half, in pixels.
        side: which side ``size`` bounds: ``long`` or ``short``.
    """

    def __init__(self, root: str | Path, inset: int, size: int, side: str):
        self.root = Path(root)
        self.files: list[Path] = []
        self.file, self.group, self.row = array("H"), array("I"), array("I")
        self.items: list[tuple[str | None, str | None]] = []
        self.texts: dict[tuple, tuple] = {}
        self.inset, self.size, self.side = inset, size, side
        self.halves = lru_cache(CACHED_PAIRS)(self._halves)

    def add(self, place: Place, item: str | None, category: str | None) -> None:
        """Add a pair."""
        if not self.files or self.files[-1] != place.file:
            self.files.append(place.file)
        self.file.append(len(self.files) - 1)
        self.group.append(place.group)
        self.row.append(place.row)
        self.items.append(self.texts.setdefault((item, category), (item, category)))

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, i: int) -> Subject:
        item, category = self.items[i]
        file, group, row = self.files[self.file[i]], self.group[i], self.row[i]
        name = file.relative_to(self.root) if file != self.root else file.name
        key = f"{printable(name)}:{group}:{row}"
        views = tuple(
            View(f"{key} {name}", lambda half=half: self._open(i, half))
            for half, name in enumerate(("left", "right"))
        )
        return Subject(
            key,
            views,
            category,
            item and _sentence(item),
            label=item,
            block=(self.file[i] << 32) + group,
        )

    def _open(self, i: int, half: int) -> Image.Image:
        image = self.halves(i)[half]
        size = fitted(*image.size, self.size, self.side)
        return image.resize(size, Image.Resampling.LANCZOS) if size != image.size else image

    def _halves(self, i: int) -> list[Image.Image]:
        image = pair_image(Place(self.files[self.file[i]], self.group[i], self.row[i]))
        boxes = half_boxes(*image.size, self.inset)
        if boxes is None:
            raise ImageError(self[i].key, "not two squares side by side")
        return [image.crop(box) for box in boxes]


def half_boxes(width: int, height: int, inset: int = 0) -> list[tuple[int, int, int, int]] | None:
    """The two halves of a pair.

    The halves are squares of one size with the same margin around and between them, so that the
    image's size determines both: 1048x528 holds squares of 512 with margins of 8, 2096x1056 or
    2048x1024 squares of 1024 with margins of 16 or none.

    Returns:
        ``x1 y1 x2 y2`` in pixels of the left and the right half, less ``inset`` at every edge;
        ``None`` for an image of other proportions.
    """
    margin = 2 * height - width
    side = height - 2 * margin
    if not 0 <= margin <= MAX_MARGIN * height or side <= 2 * inset:
        return None
    return [
        (x + inset, margin + inset, x + side - inset, margin + side - inset)
        for x in (margin, 2 * margin + side)
    ]


def category_of(item: str) -> str | None:
    """The word of an item's text that says what it is: ``Painting of a harbor by Monet`` is a
    painting, ``Crisp, golden beverage in glass or bottle`` a beverage. By a rule of thumb: the last
    word before any description of the subject, in the singular.

    Returns:
        One word in lower case, or ``None`` where there is none.
    """
    head = _head(item)
    return _singular(head) if head else None


def _head(item: str) -> str | None:
    text = AFTER.split(PARTS.sub("", item.strip(), count=1), 1)[0]
    first, *rest = (part.strip() for part in text.split(","))
    # "Crisp, golden beverage" is a list of adjectives, "vintage typewriter, black" is not.
    phrase = rest[-1] if rest and rest[-1] and len(first.split()) == 1 else first
    words = re.findall(r"[^\W\d_][^\W_]*(?:['’-][^\W_]+)*", phrase.lower())
    return words[-1] if words else None


def _singular(word: str) -> str:
    if re.search(r"(ss|us|is|glasses|pants|jeans|shorts|scissors)$", word) or len(word) < 4:
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    return re.sub(r"(?<=[sxz])es$|(?<=[cs]h)es$|s$", "", word)


def _sentence(item: str) -> str:
    """The item's text as a sentence about the subject."""
    kind = item if item[:2].isupper() else item[0].lower() + item[1:]
    return kind_sentence(kind.rstrip("."), _head(item))
