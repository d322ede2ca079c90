"""RAP and the finders: crops, categories as classes, the whole image, a database that is edited."""

from dataclasses import replace

import pytest
from PIL import Image

from concepts.concept import Concept
from concepts.database import Database
from concepts.methods import finding
from concepts.methods.finding import (
    LiveFinder,
    ReferenceFinder,
    RetrievalSettings,
    settings_digest,
)
from concepts.methods.protocol import Query, Reference
from concepts.methods.rap import RAP
from data_gen.files.errors import InputError
from data_gen.files.skipped import SkippedItems
from data_gen.rows import ICT
from tests.concepts.tiny_encoders import save_dinov2

COLOURS = {"bo": "red", "mia": "blue", "kim": "green"}
REGION = (0.0, 0.0, 0.5, 1.0)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return str(save_dinov2(tmp_path_factory.mktemp("dinov2")))


@pytest.fixture
def database(tmp_path):
    found = Database(tmp_path / "database.json")
    for name, colour in COLOURS.items():
        Image.new("RGB", (40, 40), colour).save(tmp_path / f"{name}.png")
        found.add(Concept(name, (f"{name}.png",), f"<{name}> is mine.", f"{colour} plate"))
    return found


@pytest.fixture
def settings(encoder, tmp_path):
    return RetrievalSettings(encoder=encoder, regions=None, cache=str(tmp_path / "cache"))


@pytest.fixture
def regions(monkeypatch):
    """Regions that a detector would find; tests change them. Gives the configs it was made of."""
    made, boxes = [], [REGION]
    monkeypatch.setattr(
        finding, "load_proposer", lambda config: made.append(config) or (lambda image: boxes)
    )
    return made, boxes


def ask(left, right, text="Describe it.", k=2):
    image = Image.new("RGB", (80, 40), right)
    image.paste(left, (0, 0, 40, 40))
    return Query(f"{left} {right} {text}", ICT, text, image, references=None, k=k)


def names(found):
    return [one.name for one in found]


def test_an_edit_counts_at_the_next_query(database, settings):
    finder = LiveFinder(database, settings)
    assert names(finder.find(ask("red", "red")))[0] == "bo"
    database.rename("bo", "ben")
    assert names(finder.find(ask("red", "red")))[0] == "ben"
    assert finder.owned["ben"].info == "<ben> is mine." and "bo" not in finder.owned
    other = Database(database.path)  # as another process would
    other.remove("ben")
    assert "ben" not in names(finder.find(ask("red", "red", k=4)))
    Image.new("RGB", (40, 40), "red").save(database.root / "eve.png")
    other.add(Concept("eve", ("eve.png",)))
    assert names(finder.find(ask("red", "red")))[0] == "eve"
    assert set(finder.owned) == {"mia", "kim", "eve"} and len(finder.owned) == 3


def test_the_categories_of_the_database_are_the_classes_of_a_detector(database, settings, regions):
    detector = {"kind": "transformers", "model": "m"}
    LiveFinder(database, replace(settings, regions=detector))
    LiveFinder(database, replace(settings, regions={**detector, "labels": ["cat"]}))
    owned = {"bo": Reference("bo", database.image_path("bo.png"))}
    ReferenceFinder(owned, replace(settings, regions=detector), SkippedItems(), ["toy"])
    labels = [config["labels"] for config in regions[0]]
    assert labels == [["red plate", "blue plate", "green plate"], ["cat"], ["toy"]]


@pytest.mark.parametrize(("whole", "seen"), [("always", 2), ("fallback", 1), ("never", 1)])
def test_regions_and_the_whole_image(database, settings, regions, whole, seen):
    changed = replace(settings, regions={"kind": "windows"}, whole=whole, per_region=1)
    found = LiveFinder(database, changed).find(ask("blue", "red"))
    assert found[0].name == "mia" and found[0].box == REGION
    assert len({one.box for one in found}) <= seen


def test_without_a_detection_only_names_are_found_unless_there_is_a_fallback(
    database, settings, regions
):
    regions[1].clear()
    query = ask("blue", "blue", "Is <kim> here?")
    for whole, expected in (("never", ["kim"]), ("fallback", ["kim", "mia"])):
        changed = replace(settings, regions={"kind": "windows"}, whole=whole)
        assert names(LiveFinder(database, changed).find(query)) == expected


def test_one_region_adds_so_many_concepts(database, settings, regions):
    for per_region in (1, 2, 3):
        changed = replace(
            settings, regions={"kind": "windows"}, whole="never", per_region=per_region
        )
        assert len(LiveFinder(database, changed).find(ask("blue", "red", k=3))) == per_region


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"whole": "sometimes"}, "must be one of always, fallback, never, not 'sometimes'"),
        ({"whole": "never"}, "there are no regions: nothing would be looked up"),
        ({"per_region": 0}, "per_region must be 1 or more, not 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, changes, sentence):
    with pytest.raises(InputError, match=sentence):
        replace(settings, **changes)


def test_settings_that_came_later_leave_earlier_digests_as_they_were(settings):
    assert "whole" not in settings_digest(settings) and "per_region" not in settings_digest(
        settings
    )
    assert settings_digest(settings) != settings_digest(replace(settings, per_region=3))
    assert '"verify": null' in settings_digest(settings), "as when it was a setting"


def test_learning_is_encoding(database, settings):
    finder = LiveFinder(database, settings)
    method = RAP(list, list, finder=finder, database=database)
    concepts = list(database.concepts().values())
    costs = method.learn(concepts)
    dim = finder.encode()
    assert [(c.name, c.n_bytes, c.n_parameters) for c in costs] == [
        (name, 4 * dim, 0) for name in COLOURS
    ]
    assert costs[0].seconds > 0 and method.learn([]) == []
