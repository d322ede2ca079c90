"""Prompt lengths that are measured without decoding an image."""

from datasets import Dataset

from data_gen.rows import FEATURES
from rl.policy.loading import load_processor
from rl.policy.prompt_length import image_sizes, prompt_tokens
from tests.tiny import tiny_rows


def test_prompt_tokens_are_those_of_the_processor(policy_path, tmp_path):
    processor = load_processor(policy_path)
    rows = tiny_rows(6, text_only=1)
    for i, row in enumerate(rows):  # sizes that are enlarged, kept, reduced, and not square
        row["images"] = [
            im.resize(((20, 64, 200)[i % 3], (30, 64, 90)[i % 3])) for im in row["images"]
        ]
    rows = Dataset.from_list(rows, features=FEATURES)
    counted = prompt_tokens(rows, processor)
    for row, n in zip(rows, counted, strict=True):
        text = processor.apply_chat_template(row["prompt"], add_generation_prompt=True)
        whole = processor(text=[text], images=[row["images"]] if row["images"] else None)
        assert len(whole["input_ids"][0]) == n


def test_sizes_are_read_where_the_images_lie(tmp_path):
    """No copy of them in the cache, of which a set of photos would fill the disk."""
    rows = tiny_rows(6, text_only=1)
    for i, row in enumerate(rows):
        row["images"] = [image.resize((20 + i, 30)) for image in row["images"]]
    Dataset.from_list(rows, features=FEATURES).to_parquet(tmp_path / "rows.parquet")
    stored = Dataset.from_parquet(str(tmp_path / "rows.parquet"), cache_dir=str(tmp_path / "cache"))
    files = sorted((tmp_path / "cache").rglob("*"))
    picked = stored.select([4, 1, 0, 5])
    assert image_sizes(picked) == [[i.size for i in rows[n]["images"]] for n in (4, 1, 0, 5)]
    assert sorted((tmp_path / "cache").rglob("*")) == files
