"""Draw a contact sheet of a set of pairs: the first ones, each with its item and its scores."""

import textwrap
from itertools import islice
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont

from data_gen.files.skipped import SkippedItems
from data_gen.sources.pair_parquet import light_rows, pair_image, parquet_files

SHOWN = 24
COLUMNS = 4
WIDTH, GAP, LINE = 320, 12, 16


def pair_sheet(folder: Path, path: str | Path) -> None:
    """Draw the first pairs of the set in ``folder`` to ``path``, a PNG."""
    rows = (row for file in parquet_files(folder) for row in light_rows(file, SkippedItems()))
    cells = [(pair_image(place), row) for place, row in islice(rows, SHOWN)]
    font = ImageFont.truetype(
        str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), 12
    )
    height = max(WIDTH * image.height // image.width for image, _ in cells) + 4 * LINE + GAP
    lines = -(-len(cells) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * (WIDTH + GAP) + GAP, lines * height + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for k, (image, row) in enumerate(cells):
        x, y = GAP + k % COLUMNS * (WIDTH + GAP), GAP + k // COLUMNS * height
        small = image.resize((WIDTH, WIDTH * image.height // image.width), Image.Resampling.LANCZOS)
        sheet.paste(small, (x, y))
        text = row["description"].get("item") or ""
        scores = [v for v in row["quality_assessment"].values() if v is not None]
        for n, line in enumerate(
            [*textwrap.wrap(text, 48)[:2], " ".join(map(str, scores)) or "not assessed"]
        ):
            draw.text((x, y + small.height + 2 + n * LINE), line, "#1f2328", font)
    sheet.save(path, "PNG")
