"""Mined negatives: nearest of the category, never the same subject, found again from disk."""

import json

import numpy as np
import pytest
from PIL import Image

from benchmarks.mined_negatives import KINDS, mined_rows
from data_gen.files.errors import ImageError, SourceError
from data_gen.files.skipped import SkippedItems
from data_gen.generators import open_source
from data_gen.images.encoders import Encoder
from data_gen.negatives.embedding import Embedded, embed
from data_gen.negatives.mining import Mining, mine, write_mined
from data_gen.negatives.table import read_neighbours
from data_gen.rows import OCT, read_rows
from data_gen.sources.subjects200k import subjects200k_rows
from data_gen.tasks.subjects import Subject, View
from launch.generate import main as generate
from launch.tools.mine_negatives import main as negatives
from tests.concepts.tiny_encoders import save_open_clip
from tests.data_gen.pair_rows import row, write


def subjects(categories: list[str | None], labels: list[str | None] | None = None) -> list[Subject]:
    return [
        Subject(f"t{i}", (), category, label=labels[i] if labels else None)
        for i, category in enumerate(categories)
    ]


def embedded(vectors) -> Embedded:
    vectors = np.array(vectors, np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(lengths > 0, lengths, 1)
    return Embedded([f"t{i}" for i in range(len(vectors))], unit, np.full(len(vectors), np.nan))


def at(*degrees: float) -> Embedded:
    return embedded([(np.cos(np.radians(d)), np.sin(np.radians(d))) for d in degrees])


def test_the_nearest_of_the_category_come_first():
    found = mine(subjects(["dog", "dog", "cat", "Dog ", "cat"]), at(0, 50, 10, 30, 90), Mining())
    assert found.nearest == {
        "t0": ["t3", "t1"],
        "t1": ["t3", "t0"],
        "t2": ["t4"],
        "t3": ["t1", "t0"],
        "t4": ["t2"],
    }
    assert found.measured["nearest"]["mean"] > found.measured["random"]["mean"]


def test_without_categories_all_may_be_neighbours():
    found = mine(subjects([None, "dog", "cat"]), at(0, 50, 30), Mining(same_category=False))
    assert found.nearest["t0"] == ["t2", "t1"]
    alone = mine(subjects([None, "dog", "dog"]), at(0, 50, 30), Mining())
    assert alone.skipped.counts == {"no category": 1}


def test_near_duplicates_are_reported_and_never_neighbours():
    found = mine(subjects(["dog"] * 4), at(0, 1, 40, 200), Mining(near_duplicate=0.99))
    assert [(a, b) for a, b, _ in found.duplicates] == [("t0", "t1")]
    assert "t1" not in found.nearest["t0"] and "t0" not in found.nearest["t1"]
    alone = mine(subjects(["dog"] * 2), at(0, 0), Mining(near_duplicate=0.99))
    assert not alone.nearest and alone.skipped.counts == {"none but what may be the same": 2}


def test_subjects_of_one_label_are_no_negatives_of_each_other():
    found = mine(subjects(["dog"] * 3, ["rex", "rex", "bo"]), at(0, 20, 40), Mining())
    assert found.nearest == {"t0": ["t2"], "t1": ["t2"], "t2": ["t1", "t0"]}


def test_every_neighbour_is_as_brute_force_finds_it():
    vectors = np.random.default_rng(0).normal(size=(60, 8))
    kinds = [f"k{i % 3}" for i in range(60)]
    given = embedded(vectors)
    found = mine(subjects(kinds), given, Mining(neighbours=4, near_duplicate=1.0))
    close = given.vectors @ given.vectors.T
    for i in range(60):
        others = [j for j in range(60) if j != i and kinds[j] == kinds[i]]
        best = sorted(others, key=lambda j: -close[i, j])[:4]
        assert found.nearest[f"t{i}"] == [f"t{j}" for j in best]


def test_a_table_without_any_neighbour_is_an_error(tmp_path):
    found = mine(subjects(["dog", "cat"]), at(0, 90), Mining())
    with pytest.raises(SourceError, match="no subject has a neighbour; .*alone in its category"):
        write_mined(found, tmp_path / "table.parquet", {})
    with pytest.raises(SourceError, match="neighbours must be"):
        Mining(neighbours=9, candidates=8)


# ---- vectors ----


def coloured(name: str, *colours: str) -> Subject:
    def opened(colour: str):
        if colour == "damaged":
            raise ImageError(name, "damaged")
        return Image.new("RGB", (10, 10), colour)

    return Subject(
        name,
        tuple(
            View(f"{name}/{k}", lambda c=c: opened(c), (0.0, 0.0, 0.5, 1.0))
            for k, c in enumerate(colours)
        ),
        "toy",
    )


def test_a_subject_is_the_mean_of_its_views_and_vectors_are_kept(tmp_path):
    asked = []

    def encode(images):
        asked.extend(image.size for image in images)
        found = np.array([np.asarray(p, np.float32)[0, 0] for p in images])
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    encoder = Encoder("colour", 3, "f00", encode)
    given = [
        coloured("a", "red", "lime"),
        coloured("b", "blue"),
        coloured("c", "damaged"),
        coloured("d", "red", "red", "red"),
    ]
    skipped = SkippedItems()
    found = embed(given, encoder, tmp_path, "s", skipped)
    assert np.allclose(found.vectors, [[0.5**0.5, 0.5**0.5, 0], [0, 0, 1], [0, 0, 0], [1, 0, 0]])
    assert np.isnan(found.within[1])
    assert np.allclose(found.within[[0, 3]], [0, 1], atol=1e-6)
    assert skipped.counts == {"damaged": 1}
    assert asked == [(5, 10)] * 6  # what the boxes frame
    embed(given, encoder, tmp_path, "s", skipped)
    assert len(asked) == 6  # read back
    embed(given, encoder, tmp_path, "other images", skipped)
    assert len(asked) == 12


# ---- the command ----


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return save_open_clip(tmp_path_factory.mktemp("clip"))


def config(tmp_path, encoder, source: dict, **more) -> list[str]:
    path = tmp_path / "config.yaml"
    path.write_text(
        json.dumps(
            {
                "source": source,
                "encoder": str(encoder),
                "out": str(tmp_path / "table.parquet"),
                "cache": str(tmp_path / "vectors"),
                **more,
            }
        )
    )
    return ["negatives", "--config", str(path)]


def test_a_table_of_pairs_is_what_their_rows_read(tmp_path, encoder, monkeypatch, capsys):
    kinds = ["mug", "vase"]
    pairs = [
        row(
            i,
            description={
                "item": f"Item {i} {kinds[i % 2]}",
                "category": kinds[i % 2],
                "description_valid": True,
            },
        )
        for i in range(8)
    ]
    write(tmp_path / "pairs/part.parquet", pairs)
    source = {"kind": "subjects200k", "path": str(tmp_path / "pairs"), "inset": 0, "size": 24}
    monkeypatch.setattr(
        "sys.argv", config(tmp_path, encoder, source, mining={"near_duplicate": 1.0})
    )
    negatives()
    assert "subjects200k: 8 pairs used" in capsys.readouterr().out
    report = json.loads((tmp_path / "table.json").read_text())
    assert report["subjects"] == 8 and report["cosines"]["nearest"]["n"] == 8
    subjects = open_source(source).source.subjects
    for i, near in read_neighbours(tmp_path / "table.parquet", subjects).items():
        assert len(near) == 3 and all((i - j) % 2 == 0 for j in near)
    made = subjects200k_rows(
        tmp_path / "pairs",
        seed=0,
        counts={OCT: 8},
        size=24,
        inset=0,
        negatives="nearest",
        neighbours=tmp_path / "table.parquet",
        hard_share=1.0,
        report=lambda line: None,
    )
    said = [made.make(OCT, i) for i in range(8)]
    assert all("(nearest)" in r["source"] for r in said if r["answer"] == "no")
    generate(
        [
            "--config",
            "configs/data/subjects200k.yaml",
            "--path",
            str(tmp_path / "pairs"),
            "--out",
            str(tmp_path / "rows"),
            "--negatives",
            "nearest",
            "--size",
            "24",
            "--neighbours",
            str(tmp_path / "table.parquet"),
            "--counts",
            "{object_consistency: 4}",
        ]
    )
    assert len(read_rows(tmp_path / "rows")) == 4


def test_the_same_questions_with_three_kinds_of_no():
    opened = open_source({"kind": "toys", "count": 60, "size": 32})
    source = opened.source
    kinds = [source.subjects[i].category for i in range(60)]
    nearest = {i: [j for j in range(60) if j != i and kinds[j] == kinds[i]][:1] for i in range(60)}
    rows = mined_rows(source, {i: near for i, near in nearest.items() if near}, 20, 0, 32)
    assert set(rows) == set(KINDS) and all(len(r) == 20 for r in rows.values())
    for kind in KINDS:
        assert sum(r["answer"] == "yes" for r in rows[kind]) == 10
    how = {
        kind: {r["source"].rsplit("(")[-1] for r in rows[kind] if r["answer"] == "no"}
        for kind in KINDS
    }
    assert "nearest)" in how["mined"] and "hard)" in how["category"]
    assert how["random"] == {"other)"}
    subjects = [[r["source"].split("|")[0].split("/")[0] for r in rows[kind]] for kind in KINDS]
    assert subjects[0] == subjects[1] == subjects[2]


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ({"kind": "magic"}, "kind must be one of subjects200k"),
        ({"kind": "toys"}, "'count' is missing"),
        ({"kind": "toys", "count": 2, "colour": 1}, "unknown key 'colour'"),
        ({"kind": "folders", "root": "/nowhere"}, "/nowhere is no directory"),
        ({"kind": "subjects200k", "path": "/nowhere.parquet"}, "no parquet file"),
    ],
)
def test_it_refuses_with_one_sentence(tmp_path, encoder, monkeypatch, source, sentence):
    monkeypatch.setattr("sys.argv", config(tmp_path, encoder, source))
    with pytest.raises(SystemExit, match=sentence):
        negatives()
