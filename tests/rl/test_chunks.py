import torch

from rl.chunks import collate, load_chunks, save_chunks, split


def _batch() -> dict:
    """4 rows, P = 4, C = 3; rows 0-1 have two images of 4 patches, rows 2-3 one of 8."""
    prompt_mask = torch.tensor([[0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 1, 1], [0, 1, 1, 1]])
    completion_mask = torch.tensor([[1, 0, 0], [1, 1, 0], [1, 1, 1], [1, 0, 0]])
    ids = torch.arange(1, 17).view(4, 4)
    mm = torch.cat([prompt_mask, torch.zeros(4, 3, dtype=torch.long)], dim=1)
    return {
        "prompt_ids": ids * prompt_mask,
        "prompt_mask": prompt_mask,
        "completion_ids": torch.arange(101, 113).view(4, 3) * completion_mask,
        "completion_mask": completion_mask,
        "advantages": torch.tensor([0.1, 0.2, 0.3, 0.4]),
        "num_items_in_batch": torch.tensor(7),
        "ref_per_token_logps": torch.arange(-12.0, 0).view(4, 3) * completion_mask,
        "mm_token_type_ids": mm,
        "num_images": [2, 2, 1, 1],
        "image_grid_thw": torch.tensor([[1, 2, 2]] * 4 + [[1, 2, 4]] * 2),
        "pixel_values": torch.arange(32.0).view(32, 1),
    }


def _same(a, b):
    assert a.keys() == b.keys()
    for key in a:
        if isinstance(a[key], torch.Tensor):
            assert torch.equal(a[key], b[key]), key
        else:
            assert a[key] == b[key]


def test_splitting_and_collating_gives_the_batch_back():
    for rows in (1, 2, 4):
        _same(collate(split(_batch(), rows), 0, trim=False), _batch())
        _same(collate(split(_batch(), rows), 0), _batch())  # nothing to trim in the whole


def test_a_part_is_padded_to_its_own_longest_row():
    batch, chunks = _batch(), split(_batch(), 2)
    part = collate(chunks[:1], 0)
    assert part["prompt_ids"].tolist() == [[3, 4], [7, 8]]
    assert part["completion_ids"].tolist() == [[101, 0], [104, 105]]
    assert torch.equal(part["ref_per_token_logps"], batch["ref_per_token_logps"][:2, :2])
    assert part["mm_token_type_ids"].tolist() == [[1, 1, 0, 0]] * 2
    assert part["pixel_values"].size(0) == 16 and part["num_images"] == [2, 2]
    assert part["num_items_in_batch"] == 7
    assert "pixel_values" in chunks[0] and len(chunks[0]["pixel_values"]) == 2


def test_chunks_of_rounds_of_other_widths_are_collated():
    narrow = collate(split(_batch(), 2)[:1], 0)
    batch = collate([*split(narrow, 2), *split(_batch(), 2)[1:]], 0)
    _same(batch, _batch())


def test_rows_without_images():
    batch = {
        k: v
        for k, v in _batch().items()
        if k not in ("num_images", "image_grid_thw", "pixel_values", "mm_token_type_ids")
    }
    _same(collate(split(batch, 1), 0), batch)


def test_saved_chunks_come_back_equal(tmp_path):
    batches = [split(_batch(), 1), split(_batch(), 2)]
    save_chunks(batches, tmp_path / "chunks.safetensors")
    again = load_chunks(tmp_path / "chunks.safetensors", torch.device("cpu"))
    assert [len(chunks) for chunks in again] == [4, 2]
    for chunks, loaded in zip(batches, again, strict=True):
        _same(collate(chunks, 0), {k: collate(loaded, 0)[k] for k in collate(chunks, 0)})


def test_advantages_of_single_tokens_are_cut_and_padded_as_completions_are():
    batch = {**_batch(), "advantages": torch.arange(12.0).view(4, 3), "other_mass": torch.ones(4)}
    part = collate(split(batch, 2)[:1], 0)
    assert part["advantages"].tolist() == [[0, 1], [3, 4]]
    assert part["other_mass"].tolist() == [1, 1]
    narrow = split(part, 2)
    again = collate([*narrow, *split(batch, 2)[1:]], 0)
    assert again["advantages"].tolist() == [[0, 1, 0], [3, 4, 0], [6, 7, 8], [9, 10, 11]]
