"""Which images belong to which rows."""

from types import SimpleNamespace

import torch

from rl.sharing.image_rows import images_of_rows, images_per_row, take_rows

PATCHES = SimpleNamespace(image_token_id=9, vision_config=SimpleNamespace(spatial_merge_size=2))


def batch() -> tuple[torch.Tensor, dict]:
    """Rows with 2, 0 and 1 images of 4, 8 and 4 patches: 1, 2 and 1 tokens."""
    ids = torch.tensor([[9, 5, 9, 9], [5, 5, 5, 5], [5, 9, 5, 5]])
    grid = torch.tensor([[1, 2, 2], [1, 2, 4], [1, 2, 2]])
    pixels = torch.cat([torch.full((n, 3), float(i)) for i, n in enumerate((4, 8, 4))])
    return ids, {"pixel_values": pixels, "image_grid_thw": grid, "mm_token_type_ids": ids == 9}


def test_images_are_counted_by_their_tokens():
    ids, fields = batch()
    assert images_per_row(ids, fields, PATCHES) == [2, 0, 1]
    assert images_per_row(ids, {}, PATCHES) == [0, 0, 0]
    whole = {"pixel_values": torch.zeros(3, 3, 8, 8)}  # a family with images of one size
    fixed = torch.tensor([[9, 9, 9, 9], [5, 5, 5, 5], [9, 9, 5, 5]])
    assert images_per_row(fixed, whole, PATCHES) == [2, 0, 1]


def test_rows_are_taken_with_their_images():
    _, fields = batch()
    taken = take_rows(fields, [2, 0], [2, 0, 1])
    assert taken["image_grid_thw"].tolist() == [[1, 2, 2], [1, 2, 2], [1, 2, 4]]
    assert taken["pixel_values"][:, 0].tolist() == [2.0] * 4 + [0.0] * 4 + [1.0] * 8
    assert taken["mm_token_type_ids"].size(0) == 2
    assert set(take_rows(fields, [1], [2, 0, 1])) == {"mm_token_type_ids"}


def test_rows_with_the_same_images_are_told_by_their_pixels():
    _, fields = batch()
    first, none, last = images_of_rows(fields, [2, 0, 1])
    again = images_of_rows(fields, [2, 0, 1])[0]
    assert first == again and first != last and first != none
    assert images_of_rows({}, [0, 0]) == [None, None]
