"""Lay out and paste several images into one composite."""

from collections.abc import Sequence

from PIL import Image

from data_gen.images.boxes import Size
from data_gen.images.photos import fitted


def composite(photos: Sequence[Image.Image], size: int, side: str = "long") -> Image.Image:
    """Photos side by side, or one above the other where that keeps them larger, with a white seam
    between them. The bounded ``side`` of the composite (``long`` or ``short``) is at most ``size``
    pixels."""
    whole, places = panels([photo.size for photo in photos], size, side)
    canvas = Image.new("RGB", whole, "white")
    for photo, (x1, y1, x2, y2) in zip(photos, places, strict=True):
        canvas.paste(photo.resize((x2 - x1, y2 - y1), Image.Resampling.LANCZOS), (x1, y1))
    return canvas


def panels(
    sizes: Sequence[Size], size: int, side: str = "long"
) -> tuple[Size, list[tuple[int, int, int, int]]]:
    """Lay out photos of these sizes as :func:`composite` does.

    Returns:
        Width and height of the composite, and each photo's box in it, in whole pixels.
    """

    def layout(across: bool) -> tuple[list[float], Size]:
        lengths = [w / h if across else h / w for w, h in sizes]
        breadth = min(h if across else w for w, h in sizes)
        whole = round(sum(lengths) * breadth)
        return lengths, fitted(*((whole, breadth) if across else (breadth, whole)), size, side)

    options = [layout(across)[1] for across in (True, False)]
    across = options[0][0] * options[0][1] >= options[1][0] * options[1][1]
    lengths, (width, height) = layout(across)
    seam = max(1, max(width, height) // 128)
    scale = (width if across else height) / sum(lengths)
    places, start = [], 0.0
    for i, length in enumerate(lengths):
        first, last = round(start), round(start + length * scale)
        last = max(first + 1, last - (seam if i + 1 < len(lengths) else 0))
        places.append((first, 0, last, height) if across else (0, first, width, last))
        start += length * scale
    return (width, height), places
