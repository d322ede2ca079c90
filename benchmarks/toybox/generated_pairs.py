"""Check generated toy pairs: do both halves show the attributes that were asked for?"""

from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from benchmarks.metrics.intervals import estimate, ratio
from data_gen.files.errors import SourceError
from data_gen.files.skipped import SkippedItems
from data_gen.sources.image_pairs import half_boxes
from data_gen.sources.pair_parquet import light_rows, pair_image, parquet_files
from data_gen.toybox.identity import ATTRIBUTES, Identity, is_held_out
from data_gen.toybox.models.attribute_classifier import (
    AttributeClassifier,
    classifier_accuracy,
    classify_toys,
)
from data_gen.toybox.pairs import item_words, read_item


@dataclass
class ClassifiedPair:
    """A pair: the toy that was asked for, both halves, and the attributes recognised in each."""

    asked: Identity
    halves: tuple[Image.Image, Image.Image]
    read: tuple[dict[str, str], dict[str, str]]

    @property
    def agrees(self) -> bool:
        """Whether both halves show the same six attributes."""
        return self.read[0] == self.read[1]


def classify_pairs(path: str | Path, model: AttributeClassifier) -> list[ClassifiedPair]:
    """Read all pairs of a set in Subjects200K's schema whose items are toys.

    Raises:
        SourceError: there is none.
    """
    asked, images = [], []
    for file in parquet_files(path):
        for place, row in light_rows(file, SkippedItems()):
            identity = read_item(row["description"].get("item") or "")
            image = pair_image(place)
            boxes = half_boxes(*image.size)
            if identity and boxes:
                asked.append(identity)
                images.append(tuple(image.crop(box) for box in boxes))
    if not asked:
        raise SourceError(
            f"{path}: no pair whose item is a toy; make some with python "
            f"byname generate --config configs/data/diffusion_toy.yaml"
        )
    size = model.shape.image_px
    shown = np.stack(
        [
            np.asarray(half.resize((size, size), Image.Resampling.BICUBIC))
            for pair in images
            for half in pair
        ]
    )
    read = classify_toys(model, torch.from_numpy(shown).permute(0, 3, 1, 2).float() / 127.5 - 1)
    return [
        ClassifiedPair(a, p, (left, right))
        for a, p, left, right in zip(asked, images, read[::2], read[1::2], strict=True)
    ]


def report(pairs: list[ClassifiedPair]) -> dict:
    """Shares over halves and pairs, the main ones with 95 % bootstrap intervals over pairs.

    ``attributes``: of the six, the share that halves show as asked; ``attributes that agree``: the
    share in which both halves read the same; ``pairs that agree``: all six do, whichever toy that
    is; ``pairs as asked``: both halves read as the toy that was asked for.
    """
    right = np.array(
        [
            [
                sum(half[name] == getattr(pair.asked, name) for half in pair.read) / 2
                for name in ATTRIBUTES
            ]
            for pair in pairs
        ]
    )
    alike = [[pair.read[0][name] == pair.read[1][name] for name in ATTRIBUTES] for pair in pairs]
    unseen = [is_held_out(pair.asked) for pair in pairs]
    return {
        "pairs": len(pairs),
        "attributes": asdict(estimate(ratio(right.mean(1)))),
        "attributes of held-out toys": asdict(estimate(ratio(right[unseen].mean(1))))
        if any(unseen)
        else None,
        "attributes that agree": asdict(estimate(ratio(np.mean(alike, 1)))),
        "pairs that agree": asdict(estimate(ratio([pair.agrees for pair in pairs]))),
        "pairs as asked": asdict(estimate(ratio(right.min(1) == 1))),
        "each attribute": classifier_accuracy(
            [half for pair in pairs for half in pair.read],
            [pair.asked for pair in pairs for _ in range(2)],
        ),
    }


def draw_sheet(pairs: list[ClassifiedPair], path: Path, columns: int = 4, rows: int = 4) -> None:
    """An image of the first pairs, each with what was asked for, and below it what is read
    otherwise."""
    scale, gap, line = 3, 16, 18
    side = scale * pairs[0].halves[0].height
    width, height = 2 * side + gap, side + 3 * line + gap
    font = ImageFont.truetype(
        str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), 13
    )
    sheet = Image.new("RGB", (columns * width + gap, rows * height + gap), "white")
    draw = ImageDraw.Draw(sheet)
    for k, pair in enumerate(pairs[: columns * rows]):
        x, y = gap + k % columns * width, gap + k // columns * height
        for i, half in enumerate(pair.halves):
            sheet.paste(half.resize((side, side), Image.Resampling.NEAREST), (x + i * side, y))
        first, second = item_words(pair.asked).split(" and ")
        draw.text((x, y + side + 2), first, "#1f2328", font)
        draw.text((x, y + side + 2 + line), f"and {second}", "#1f2328", font)
        wrong = sorted(
            {
                f"{half[name]}"
                for half in pair.read
                for name in ATTRIBUTES
                if half[name] != getattr(pair.asked, name)
            }
        )
        if wrong:
            draw.text((x, y + side + 2 + 2 * line), f"read as {', '.join(wrong)}", "#c62828", font)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)
