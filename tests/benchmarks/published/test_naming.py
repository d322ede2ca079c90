"""Naming: published files become questions with their references; what is wrong is named."""

import json
from pathlib import Path

import pytest

from benchmarks.published.naming import Naming, NamingSettings
from data_gen.files.errors import InputError
from tests.benchmarks.published_files import asked, make_files, save
from tests.places import SHARED


@pytest.fixture
def files(tmp_path):
    return make_files(tmp_path)


def naming(root, images, queries="queries.json", **settings):
    return Naming(
        NamingSettings(
            path=str(root / queries),
            database=str(root / "database.json"),
            images=images,
            **settings,
        )
    )


def test_the_true_references_are_handed_over(files):
    found = naming(*files)
    assert len(found.all_questions) == 8 and not found.skipped
    first = found.all_questions[0]
    assert first.names == ("bo",) and first.references[0].info == "<bo> is round."
    assert [Path(image).name for image in (first.references[0].image, first.image)] == [
        "bo.png",
        "bo_0.png",
    ]
    (row, *_), unopened = asked(found, found.all_questions, size=20)
    words = [part["text"] for part in row["prompt"][1]["content"]]
    assert words[0] is None and "<bo>" in words[1] and words[2] is None and first.text in words[3]
    assert row["prompt"][0]["role"] == "system" and not unopened
    assert row["images"][1].size == (20, 15)


def test_several_concepts_and_several_questions_about_one_image(files):
    root, images = files
    save(
        root / "four.json",
        {
            "./data/bo_0.png": [
                ["<bo>", "<mia>", "<kim>", "<tom>"],
                ["<bo>", "<mia>"],
                ["<bo>", "<mia>"],
            ],
            "./data/mia_0.png": ["<mia>", "<MIA>"],
            "./data/kim_0.png": "<kim>",
        },
    )
    found = naming(root, images, "four.json")
    questions = found.all_questions
    assert [len(q.names) for q in questions] == [4, 2, 1]
    assert [q.k for q in questions] == [4, 2, 2], "how many a system may retrieve"
    assert len(asked(found, questions)[0][0]["images"]) == 5
    assert len({q.id for q in questions}) == 3
    assert found.skipped.places("image with the same names again") == ["./data/bo_0.png"]
    assert found.skipped.total == 2


def test_what_is_missing_or_wrong_is_named(files):
    root, images = files
    database = json.loads((root / "database.json").read_text())
    database["concept_dict"] |= {"<x>": None, "<gone>": {"image": "./data/gone.png"}}
    save(root / "database.json", database)
    save(
        root / "queries.json",
        {
            "./data/bo_0.png": ["<bo>"],
            "./data/bo_9.png": ["<bo>"],
            "./data/mia_0.png": ["<eve>"],
            "./data/mia_1.png": [],
            "./data/kim_0.png": [None],
            "./data/kim_1.png": ["<gone>"],
            "./data/torn.png": ["<tom>"],
            "../../../etc/passwd": ["<tom>"],
        },
    )
    found = naming(root, images)
    skipped = found.skipped
    assert [q.names for q in found.all_questions] == [("bo",), ("tom",)]
    assert skipped.places("image missing on disk") == ["./data/bo_9.png", "../../../etc/passwd"]
    assert skipped.places("name that the database lacks") == ["./data/mia_0.png: eve"]
    assert skipped["image without names"] == 2
    assert skipped["reference image missing on disk"] == 1
    assert skipped.places("database: reference image missing on disk") == ["gone"]
    assert skipped.places("database: the entry is no JSON object")[0] == "<x>"
    rows, unopened = asked(found, found.all_questions)
    assert len(rows) == 1 and len(unopened) == 1


def test_all_concepts_of_the_benchmark_can_be_retrieved(files):
    root, images = files
    save(root / "queries.json", {"./data/bo_0.png": ["<bo>"]})
    owned = naming(root, images).owned
    assert set(owned) == {"bo", "mia", "kim", "tom"}
    assert owned["mia"].info == "<mia> is round." and Path(owned["mia"].image).is_file()


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="no sample data beside the repository")
def test_the_sample_queries():
    repic = SHARED / "repic"
    found = Naming(
        NamingSettings(
            path=str(repic / "queries_dreambooth.json"),
            database=str(repic / "database_dreambooth.json"),
            images={"./data/dreambooth": str(SHARED / "dreambooth")},
            reference_images=str(SHARED / "dreambooth" / "{name}" / "00.jpg"),
        )
    )
    assert len(found.all_questions) == 128
    assert found.skipped.counts == {"query that is its own reference": 30}
    with pytest.raises(InputError, match="82 image missing on disk"):
        Naming(NamingSettings(path=str(repic / "queries_2_concepts.json"), images=str(SHARED)))
