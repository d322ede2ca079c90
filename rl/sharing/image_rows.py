"""Which images belong to which rows of a batch, where a processor puts all in one tensor."""

from typing import Any

import torch
from trl.trainer.utils import split_pixel_values_by_grid

FIELDS = {"pixel_values", "image_grid_thw"}
"""What a processor returns for images, those of all rows in one tensor each."""


def images_per_row(input_ids, fields: dict, config) -> list[int]:
    """How many images each of the B rows has, read from its image tokens.

    Args:
        input_ids: (B, P) or (B, P + C).
        fields: ``pixel_values`` and, for patches, ``image_grid_thw`` of all rows in order.
        config: the model's, for the image token and, for patches, the merge size.
    """
    if fields.get("pixel_values") is None:
        return [0] * input_ids.size(0)
    tokens = (input_ids == config.image_token_id).sum(1).tolist()
    grid = fields.get("image_grid_thw")
    if grid is None:
        each = sum(tokens) // fields["pixel_values"].size(0)
        return [n // each for n in tokens]
    sizes = iter((grid.prod(-1) // config.vision_config.spatial_merge_size**2).tolist())
    counts = []
    for n in tokens:
        counts.append(0)
        while n > 0:
            n -= next(sizes)
            counts[-1] += 1
    return counts


def take_rows(fields: dict, rows: list[int], counts: list[int]) -> dict:
    """The fields of some of B rows.

    Args:
        fields: of all B rows; image fields hold the images of all rows, one after the other.
        rows: which rows to take, in this order.
        counts: images per row.
    """
    taken = {}
    for key, value in _by_row(fields, counts).items():
        value = torch.cat([value[row] for row in rows]) if key in FIELDS else value[rows]
        if key not in FIELDS or value.size(0):
            taken[key] = value
    return taken


def images_of_rows(fields: dict, counts: list[int]) -> list:
    """Per row, an object that is equal (``==``) for rows with the same images."""
    pixels = _by_row(fields, counts).get("pixel_values")
    return [None] * len(counts) if pixels is None else [_Pixels(part) for part in pixels]


class _Pixels:
    """A tensor that is compared as a whole."""

    def __init__(self, values: torch.Tensor):
        self.values = values

    def __eq__(self, other):
        return isinstance(other, _Pixels) and torch.equal(self.values, other.values)


def _by_row(fields: dict, counts: list[int]) -> dict:
    given = {key: value for key, value in fields.items() if value is not None}
    batch: Any = {**given, "num_images": counts}
    parts = split_pixel_values_by_grid(batch)
    del parts["num_images"]
    return parts
