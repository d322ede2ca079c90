"""Subjects200K: which pairs are used, and what rows claim of them."""

import io
import json
import random
import tracemalloc
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from data_gen.files.errors import SourceError
from data_gen.images.boxes import absolute
from data_gen.negatives.table import write_neighbours
from data_gen.rows import ICT, OCT, VLT, check_row
from data_gen.rows.building import build_rows
from data_gen.rows.indexed import IndexedRows, Skipped
from data_gen.rows.reading import stored_rows
from data_gen.sources import pair_parquet as pair_files
from data_gen.sources.image_pairs import Pairs
from data_gen.sources.subjects200k import read_pairs, subjects200k_rows, thresholds
from tests.data_gen.pair_rows import FULL, SAMPLE, colour, needs_sample, pair, row, write


def indexed(path, counts=None, **settings) -> IndexedRows:
    settings = {"seed": 0, "size": 24, "inset": 0, "report": lambda line: None} | settings
    return subjects200k_rows(path, counts=counts or {OCT: 8}, **settings)


def made(*args, **settings) -> list[dict]:
    return list(indexed(*args, **settings))


def number(where: str, group: int = 4) -> int:
    """The row of the only file that a view is of."""
    _, g, r = where.split(" ")[0].split(":")
    return int(g) * group + int(r)


def views_of(row: dict) -> tuple[list[str], list[str]]:
    shown, seen = row["source"].removeprefix("subjects200k: ").split(" (")[0].split(" | ")
    return shown.split(" + "), seen.removeprefix("composite ").split(" + ")


def test_a_category_that_is_given_counts_and_the_item_becomes_the_info(tmp_path):
    path = write(
        tmp_path / "a.parquet",
        [
            row(0, description={"item": "Paintings of a cat", "category": "art"}),
            row(1, description={"item": "Old vase", "category": None}),
        ],
    )
    pairs = Pairs(path, 0, 24, "long")
    read_pairs(pairs, thresholds(None))
    assert [(t.category, t.info) for t in pairs] == [
        ("art", "These are paintings of a cat."),
        ("vase", "It is an old vase."),
    ]


def test_descriptions_whose_keys_vary(tmp_path):
    write(tmp_path / "a.parquet", [row(0), row(1, description={"item": None, "category": None})])
    write(tmp_path / "b.parquet", [row(2, description={"instance": "Red mug", "text1": "x"})])
    write(
        tmp_path / "c.parquet",
        [
            row(
                3,
                description=json.dumps({"item": "tin robot"}),
                quality_assessment=json.dumps(FULL),
            ),
            row(4, description="no JSON", quality_assessment=json.dumps(FULL)),
        ],
    )
    pairs = Pairs(tmp_path, 0, 24, "long")
    assert not read_pairs(pairs, thresholds(None))
    assert [t.category for t in pairs] == ["vase", None, "mug", "robot", None]
    for made_row in made(tmp_path, {OCT: 20, VLT: 6, ICT: 12}):
        check_row(made_row)


# ---- what is used and what is not ----


def test_the_filter_counts_what_it_leaves_out(tmp_path):
    low = FULL | {"objectConsistency": 4}
    rows = [
        row(0),
        row(1),
        row(2, quality_assessment=low),
        row(3, quality_assessment=None),
        row(4, quality_assessment=FULL | {"imageQuality": None}),
        row(5, collection="collection_9"),
        row(6, description={"item": "x", "description_valid": False}),
    ]
    path, lines = write(tmp_path / "a.parquet", rows), []
    skipped = indexed(path, collections=["collection_1"], report=lines.append).skipped
    assert lines == [
        "subjects200k: 2 pairs used; skipped 5: 2 not assessed, 1 objectConsistency "
        "below 5, 1 of another collection, 1 description not valid"
    ]
    assert skipped.counts == {
        "not assessed": 2,
        "objectConsistency below 5": 1,
        "of another collection": 1,
        "description not valid": 1,
    }
    indexed(path, quality={"objectConsistency": 3}, keep_unassessed=True, report=lines.append)
    assert lines[1] == "subjects200k: 6 pairs used; skipped 1: 1 description not valid"
    indexed(path, limit=2, report=lines.append)
    assert lines[2] == "subjects200k: 2 pairs used"


def test_damaged_rows_and_files_are_counted_and_the_rest_is_used(tmp_path):
    rows = [row(i) for i in range(12)]
    rows[3]["image"]["bytes"] = rows[3]["image"]["bytes"][:60]
    rows[5]["image"]["bytes"] = None
    rows[7]["image"]["bytes"] = pair(7, 32, 30)
    write(tmp_path / "a.parquet", rows)
    (tmp_path / "b.parquet").write_bytes(b"PAR1 or not")
    rows = indexed(tmp_path, {OCT: 60, ICT: 60})
    assert rows.skipped.counts == {"unreadable parquet file": 1}
    skipped = Counter()
    for made_row in (rows.make(task, i) for task in (OCT, ICT) for i in range(60)):
        if isinstance(made_row, Skipped):
            skipped[made_row.reason] += 1
        else:
            check_row(made_row)
            used = {number(where) for views in views_of(made_row) for where in views}
            assert not {3, 5, 7} & used
    assert set(skipped) == {"truncated", "no image in the row", "not two squares side by side"}
    assert sum(skipped.values()) < 80


def test_text_that_is_not_utf8_costs_its_row_only(tmp_path):
    table = pa.Table.from_pylist([row(0), row(1), row(2)])
    items = pa.array([b"red vase", b"\xff\xfe", b"mug"]).cast(pa.binary())
    bad = pa.Array.from_buffers(pa.string(), 3, items.buffers())
    table = table.set_column(
        table.column_names.index("description"),
        "description",
        pa.StructArray.from_arrays([bad], ["item"]),
    )
    pq.write_table(table, tmp_path / "a.parquet")
    pairs = Pairs(tmp_path, 0, 24, "long")
    assert read_pairs(pairs, thresholds(None)).counts == {"text that is not UTF-8": 1}
    assert [t.category for t in pairs] == ["vase", "mug"]


@pytest.mark.parametrize(
    ("change", "settings", "sentence"),
    [
        (
            lambda p: p.unlink(),
            {},
            "no parquet file there; give a file, a folder of them, or a hub id",
        ),
        (lambda p: write(p, [{"image": b"", "text": "x"}]), {}, "column 'description' is missing"),
        (
            lambda p: write(p, [row(0, quality_assessment=None)]),
            {},
            "0 pairs used; skipped 1: 1 not",
        ),
        (lambda p: None, {"quality": {"beauty": 3}}, "quality: beauty: 3; give compositeStructure"),
        (
            lambda p: None,
            {"negatives": "nearest"},
            "negatives: nearest and a table in 'neighbours'",
        ),
        (lambda p: None, {"negatives": "random"}, "negatives must be one of category, nearest"),
        (lambda p: None, {"size": 8}, "size must be a whole number of pixels from 16"),
        (lambda p: None, {"hard_share": 7}, "hard_share must be from 0 to 1"),
        (lambda p: None, {"counts": {"dance": 1}}, "there is no 'dance'"),
    ],
)
def test_what_is_impossible_is_said_in_one_sentence(tmp_path, change, settings, sentence):
    path = write(tmp_path / "set" / "a.parquet", [row(0), row(1)])
    change(path)
    with pytest.raises(SourceError, match=sentence):
        made(path.parent, **settings)


def test_a_row_group_that_memory_may_not_hold_is_refused(tmp_path, monkeypatch):
    path = write(tmp_path / "a.parquet", [row(0), row(1)])
    monkeypatch.setattr(pair_files, "MAX_GROUP_BYTES", 100)
    with pytest.raises(SourceError, match="a.parquet: row group 0 holds .* row groups of 100 rows"):
        made(path)


# ---- rows ----


def test_yes_comes_from_one_pair_and_no_from_two(tmp_path):
    path = write(tmp_path / "a.parquet", [row(i) for i in range(9)])
    for made_row in made(path, {OCT: 60}):
        (shown,), (seen,) = views_of(made_row)
        same = number(shown) == number(seen)
        assert made_row["answer"] == ("yes" if same else "no") and shown != seen
        for image, where in zip(made_row["images"], (shown, seen), strict=True):
            assert image.getcolors() == [(24 * 24, colour(number(where)))]


def test_one_source_gives_all_tasks(tmp_path):
    path = write(tmp_path / "a.parquet", [row(i) for i in range(9)])
    rows = made(path, {OCT: 6, VLT: 6, ICT: 6})
    assert Counter(made_row["task"] for made_row in rows) == {OCT: 6, VLT: 6, ICT: 6}
    for made_row in rows:
        check_row(made_row)
    query = rows[[r["task"] for r in rows].index(VLT)]
    panel = query["images"][1].crop(
        tuple(round(v) for v in absolute(query["box"], query["images"][1].size))
    )
    assert [c for _, c in panel.getcolors()] == [colour(number(views_of(query)[0][0]))]


def test_hard_negatives_by_category_and_by_neighbour_table(tmp_path):
    kinds = ["vase", "vase", "mug", "mug", "hat", "hat"]
    path = write(
        tmp_path / "a.parquet",
        [
            row(i, description={"item": f"{i} thing", "category": kind})
            for i, kind in enumerate(kinds)
        ],
    )
    for made_row in made(path, {OCT: 40}, hard_share=1.0):
        shown, seen = (number(where) for (where,) in views_of(made_row))
        assert kinds[shown] == kinds[seen]

    def key(i):
        return f"a.parquet:{i // 4}:{i % 4}"

    write_neighbours(tmp_path / "near", {key(i): [key((i + 3) % 6)] for i in range(6)})
    rows = made(path, {OCT: 40}, hard_share=1.0, negatives="nearest", neighbours=tmp_path / "near")
    for made_row in rows:
        shown, seen = (number(where) for (where,) in views_of(made_row))
        assert seen in (shown, (shown + 3) % 6, (shown - 3) % 6)


def test_pairs_of_the_same_item_are_never_told_apart(tmp_path):
    path = write(
        tmp_path / "a.parquet", [row(i, description={"item": f"phone {i % 3}"}) for i in range(9)]
    )
    for made_row in made(path, {OCT: 60}):
        shown, seen = (number(where) for (where,) in views_of(made_row))
        assert shown == seen or shown % 3 != seen % 3


# ---- memory ----


def test_what_is_held_of_a_pair_is_a_few_numbers(tmp_path):
    """Light columns only, whatever the pictures weigh, and shared where texts repeat."""
    blob = random.Random(0).randbytes(40_000)
    path = write(
        tmp_path / "a.parquet",
        [row(i % 7, image={"bytes": blob, "path": None}) for i in range(2000)],
        group=100,
    )
    tracemalloc.start()
    pairs = Pairs(path, 0, 24, "long")
    read_pairs(pairs, thresholds(None))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(pairs) == 2000 and held / 2000 < 60


# ---- the real thing ----


@pytest.mark.shared
@needs_sample
def test_three_real_pairs_give_rows_of_every_task():
    lines = []
    rows = made(SAMPLE, {OCT: 12, VLT: 6, ICT: 12}, size=128, inset=1, report=lines.append)
    assert lines == ["subjects200k: 3 pairs used"]
    for made_row in rows:
        check_row(made_row)
    assert Counter(r["answer"] for r in rows) == {"yes": 6, "no": 6, None: 18}


@pytest.mark.parametrize(("image_format", "form"), [(None, "JPEG"), ("png", "PNG")])
def test_photos_are_stored_as_jpeg_unless_asked_otherwise(tmp_path, image_format, form):
    few = write(tmp_path / "a.parquet", [row(i) for i in range(3)])
    rows = indexed(few, {OCT: 2}, **({"image_format": image_format} if image_format else {}))
    build_rows(rows, tmp_path / "rows", seed=0, generator="subjects200k")
    stored = next(stored_rows(tmp_path / "rows/data/train-00000.parquet"))["images"]
    assert {Image.open(io.BytesIO(image["bytes"])).format for image in stored} == {form}
    exact = rows.make(OCT, 0)["images"][0]
    with Image.open(io.BytesIO(stored[0]["bytes"])) as kept:
        assert np.abs(np.asarray(kept, float) - np.asarray(exact, float)).max() <= (
            0 if form == "PNG" else 3
        )
    with pytest.raises(SourceError, match="image_format must be png or jpeg, not 'gif'"):
        indexed(few, image_format="gif")
