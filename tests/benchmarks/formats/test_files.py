"""Published JSON files, the paths in them, and their databases."""

import json

import pytest

from benchmarks.formats.files import find_image, read_database, read_json
from data_gen.files.errors import InputError
from data_gen.files.skipped import SkippedItems


def test_paths_stay_in_their_folder(tmp_path):
    (tmp_path / "in").mkdir()
    for place in ("out.png", "in/a.png"):
        (tmp_path / place).write_text("x")
    inside = str(tmp_path / "in")
    assert find_image("./x/y/a.png", {"": inside}) == tmp_path / "in" / "a.png"
    assert find_image("./x/a.png", {"./x": inside}) == tmp_path / "in" / "a.png"
    # Behind a beginning that fits, the path counts as it stands.
    assert find_image("./x/y/a.png", {"x": inside}) is None
    for path in ("../out.png", "x/../../out.png", "/etc/passwd", "a\0.png", "", "y" * 400):
        assert find_image(path, {"": inside, "x": inside}) is None


def test_of_a_repeated_key_the_first_value_counts(tmp_path):
    (tmp_path / "q.json").write_text('{"a": 1, "b": 2, "a": 3}')
    skipped = SkippedItems()
    assert read_json(tmp_path / "q.json", skipped) == {"a": 1, "b": 2}
    assert skipped.places("key that stands there twice") == ["a"] and skipped.total == 1


def test_a_published_database_keeps_its_paths_and_names_what_is_wrong(tmp_path):
    path = tmp_path / "database.json"
    bo = {"name": "bo", "image": "./data/db/bo.png", "info": "<bo> is round."}
    path.write_text(
        json.dumps(
            {
                "path_to_concept": {},
                "concept_dict": {
                    "<bo>": bo,
                    "<mia>": {"name": "mia", "image": "./data/db/mia.png"},
                    "<BO>": {**bo, "name": "BO"},
                    "<x>": None,
                    "kim": bo,
                },
            }
        )
    )
    concepts, skipped = read_database(path)
    assert list(concepts) == ["bo", "mia"]
    assert concepts["bo"].images == ("./data/db/bo.png",), "whether or not it is on disk"
    assert concepts["bo"].info == "<bo> is round." and not concepts["mia"].info
    assert {reason: skipped.places(reason) for reason in skipped.counts} == {
        "another has the same name": ["<BO>"],
        "the entry is no JSON object": ["<x>"],
        "the key is no tag such as <bo>": ["kim"],
    }

    path.write_text(path.read_text().replace('"<mia>"', '"<bo>"'))
    concepts, skipped = read_database(path)
    assert list(concepts) == ["bo"] and concepts["bo"].images == ("./data/db/bo.png",)
    assert skipped.places("given twice, of which the first counts") == ["<bo>"]

    for content, sentence in (
        ("[]", "database.json"),
        ('{"a": ', "database.json"),
        ('{"concept_dict": {"<x>": 1}}', "no usable concept; skipped 1"),
    ):
        path.write_text(content)
        with pytest.raises(InputError, match=sentence):
            read_database(path)
    with pytest.raises(InputError, match="nowhere.json"):
        read_database(tmp_path / "nowhere.json")
