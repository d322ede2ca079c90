"""Mixtures: proportions, caps, seeds; and the shipped ones, on tiny data made here."""

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data_gen.files.errors import SourceError
from data_gen.files.skipped import SkippedItems
from data_gen.generators import GENERATORS
from data_gen.negatives.table import write_neighbours
from data_gen.rows import ICT, OCT, VLT, check_row, read_rows
from data_gen.rows.contract import open_image
from data_gen.rows.indexed import IndexedRows, Skipped
from data_gen.sources.mixture import deal, mixture_rows
from launch.generate import main
from tests.data_gen.pair_rows import row as pair_row
from tests.data_gen.pair_rows import write as write_pairs
from tests.data_gen.sources.test_detection import coco
from tests.places import ROOT

CONFIGS = ROOT / "configs" / "data"

TOYBOX = {"generator": "toybox", "shares": {OCT: 1, ICT: 1}}


def numbers(counts, seed, given) -> IndexedRows:
    """A generator whose rows tell who made them."""

    def make(task, i):
        if i == given.get("skip"):
            return Skipped("odd")
        return {
            "id": f"n-{seed}-{task}-{i}",
            "task": task,
            "seed": seed,
            "images": [Image.new("RGB", (8, 8))],
        }

    skipped = SkippedItems()
    skipped.add("bad", None, given.get("bad", 0))
    return IndexedRows(
        counts,
        make,
        skipped=skipped,
        fingerprint="n",
        image_format=given.get("image_format", "png"),
        columns=dict.fromkeys(given.get("columns", ())),
    )


STUB = {
    "numbers": SimpleNamespace(rows=numbers, settings={"skip", "bad", "columns", "image_format"})
}


def stubs(counts, seed=0, **sources):
    return mixture_rows(
        counts,
        seed,
        {name: {"generator": "numbers", **source} for name, source in sources.items()},
        STUB,
    )


# ---- whose turn it is ----


weights = st.lists(st.floats(0.05, 1), min_size=1, max_size=5)


@settings(max_examples=100, deadline=None)
@given(weights, st.integers(0, 300))
def test_any_beginning_has_the_proportions(shares, n):
    named = {str(i): share for i, share in enumerate(shares)}
    turns = deal(named, dict.fromkeys(named), n, OCT)
    for length in (n // 3, n):
        made = Counter(turns[i].source for i in range(length))
        for name, share in named.items():
            assert abs(made[name] - length * share / sum(shares)) < len(shares)
    for name in named:
        own = [turns[i].index for i in range(n) if turns[i].source == name]
        assert own == list(range(turns.count(name)))


@given(st.integers(0, 60))
def test_a_larger_set_begins_with_the_smaller_one(n):
    shares, caps = {"a": 0.7, "b": 0.2, "c": 0.1}, {"a": 20, "b": None, "c": 9}
    few, many = (deal(shares, caps, length, OCT) for length in (n, 80))
    assert [few[i] for i in range(n)] == [many[i] for i in range(n)]


def test_others_make_up_for_a_cap():
    turns = deal({"a": 3, "b": 1, "c": 0}, {"a": 10, "b": None, "c": None}, 50, OCT)
    assert (turns.count("a"), turns.count("b"), turns.count("c")) == (10, 40, 0)
    with pytest.raises(SourceError, match=f"ask for 50 rows of {OCT}, shares and caps give 15"):
        deal({"a": 3, "b": 1}, {"a": 10, "b": 5}, 50, OCT)


# ---- the set ----


def test_every_source_has_ids_and_seeds_of_its_own():
    made = stubs(
        {OCT: 20, ICT: 10},
        a={"shares": {OCT: 1, ICT: 1}},
        b={"shares": {OCT: 3}},
        c={"shares": {OCT: 1}, "seed": 7},
    )
    rows = list(made)
    assert len({row["id"] for row in rows}) == 30
    by_source = Counter((row["id"].split(":")[0], row["task"]) for row in rows)
    assert by_source == {("a", OCT): 4, ("b", OCT): 12, ("c", OCT): 4, ("a", ICT): 10}
    seeds = {row["id"].split(":")[0]: row["seed"] for row in rows}
    assert seeds["c"] == 7 and len(set(seeds.values())) == 3


def test_pictures_are_stored_as_each_source_has_it():
    made = stubs({OCT: 8}, a={"shares": {OCT: 1}, "image_format": "jpeg"}, b={"shares": {OCT: 1}})
    forms = {(row["id"][0], open_image(row["images"][0]).format) for row in made}
    assert forms == {("a", "JPEG"), ("b", "PNG")}


def test_what_sources_skip_is_counted_by_source():
    made = stubs({OCT: 8}, a={"shares": {OCT: 1}, "skip": 1, "bad": 3}, b={"shares": {OCT: 1}})
    assert made.skipped.counts == {"a: bad": 3, "b: bad": 0}
    assert sum(isinstance(made.make(OCT, i), Skipped) for i in range(8)) == 1


def test_a_source_without_rows_is_not_even_opened():
    made = mixture_rows(
        {OCT: 4},
        0,
        {
            "toys": TOYBOX,
            "gone": {
                "generator": "detection",
                "shares": {VLT: 1},
                "annotations": "x",
                "images": "y",
            },
        },
        GENERATORS,
    )
    assert len(list(made)) == 4


@pytest.mark.parametrize(
    ("sources", "sentence"),
    [
        (None, "'sources' must name at least one source"),
        ({"a": 3}, "source 'a': must be settings, not 3"),
        ({"a": TOYBOX | {"generator": "magic"}}, "source 'a': generator must be one of toybox"),
        ({"a": TOYBOX | {"hard_shared": 1}}, "source 'a': unknown key 'hard_shared'"),
        ({"a": {"generator": "toybox"}}, "source 'a': shares must give tasks weights"),
        ({"a": TOYBOX | {"shares": {OCT: -1}}}, "source 'a': shares must give tasks weights"),
        ({"a": TOYBOX | {"caps": {OCT: 0.5}}}, "source 'a': caps must give tasks whole numbers"),
        ({"a": TOYBOX | {"caps": {OCT: 2}}}, "ask for 4 rows of object_consistency, .* give 2"),
        (
            {"a": {"generator": "folders", "shares": {OCT: 1}}},
            "source 'a': folders: 'root' is missing",
        ),
        (
            {"a": {"generator": "folders", "shares": {OCT: 1}, "root": "nowhere"}},
            "source 'a': root: nowhere is no directory",
        ),
        ({"a": TOYBOX, "b": TOYBOX | {"targets": True}}, "source 'b' has the further columns"),
    ],
)
def test_what_is_wrong_is_said_with_its_source(sources, sentence):
    with pytest.raises(SourceError, match=sentence):
        mixture_rows({OCT: 4}, 0, sources, {k: v for k, v in GENERATORS.items() if k != "mixture"})


# ---- the shipped mixtures ----


@pytest.fixture
def data(tmp_path) -> Path:
    """Tiny stand-ins for all that the shipped mixtures read."""
    write_pairs(tmp_path / "pairs" / "a.parquet", [pair_row(i) for i in range(12)])
    coco(tmp_path / "coco", scenes=6)
    refs = [{"ann_id": i, "sentences": [f"thing number {i}"]} for i in range(18)]
    (tmp_path / "refs.json").write_text(json.dumps(refs))
    keys = [f"a.parquet:{i // 4}:{i % 4}" for i in range(12)]
    write_neighbours(
        tmp_path / "near.parquet", {key: [keys[(i + 1) % 12]] for i, key in enumerate(keys)}
    )
    return tmp_path


@pytest.mark.parametrize(
    ("name", "multi", "absent"), [("repic_2k", 0.05, 0.0), ("personal_20k", None, 0.5)]
)
def test_the_shipped_mixtures_in_miniature(data, name, multi, absent):
    config = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    whole = sum(config["counts"].values())
    assert whole == {"repic_2k": 2000, "personal_20k": 20_000}[name]
    for source in config["sources"].values():
        source |= {
            key: str(value)
            for key, value in {
                "path": data / "pairs",
                "annotations": data / "coco" / "coco.json",
                "images": data / "coco" / "images",
                "references": data / "refs.json",
                "neighbours": data / "near.parquet",
            }.items()
            if key in source
        }
        source |= {"size": 48} | ({"min_side": 16} if "images" in source else {})
    config["counts"] = {task: n * 400 // whole for task, n in config["counts"].items()}
    config["out"] = str(data / "set")
    (data / "config.yaml").write_text(yaml.safe_dump(config))
    main(["--config", str(data / "config.yaml")])
    rows = list(read_rows(data / "set"))
    for row in rows:
        check_row(row)
    tasks = Counter(row["task"] for row in rows)
    assert tasks == config["counts"]
    captions = [row for row in rows if row["task"] == ICT]
    if name == "repic_2k":
        assert len(captions) / len(rows) == pytest.approx(0.31, abs=0.01)
        assert not any(row["absent_names"] for row in rows)
        several = sum(len(row["names"]) > 1 for row in rows) / len(rows)
        assert several == pytest.approx(multi, abs=0.025)
        assert all("told" in row["source"] for row in rows if row["task"] == VLT)
    else:
        assert sum(not row["names"] for row in captions) / len(captions) == pytest.approx(
            absent, abs=0.07
        )
        assert sum("(nearest)" in row["source"] for row in rows) > 20
