"""Toybox questions whose references a system finds among the toys that the user owns."""

import json

import pytest

from benchmarks.toybox import owned
from benchmarks.toybox.benchmark import Toybox, ToyboxBenchmarkSettings
from benchmarks.toybox.owned import OWNED, owned_questions
from concepts.importers import draw_toys
from concepts.methods.finding import ReferenceFinder, RetrievalSettings
from concepts.methods.in_context import InContext
from data_gen.files.errors import InputError
from data_gen.images.photos import open_photo
from data_gen.toybox.identity import Identity, half_of
from rewards.parsing import prompt_text

SMALL = {"reference_px": 24, "query_px": 32, "toys": 12, "toys_seed": 3}


def opened(reference):
    return open_photo(reference.image, SMALL["query_px"])


def toybox(cache, sets=OWNED, count=6, **settings):
    return Toybox(
        ToyboxBenchmarkSettings(
            size="s",
            sizes={"s": dict.fromkeys(sets, count)},
            seed=5,
            cache=str(cache),
            **SMALL | settings,
        )
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("databases")


@pytest.fixture(scope="module")
def benchmark(cache):
    return toybox(cache)


def test_every_toy_in_the_image_is_expected(benchmark):
    toys = draw_toys(12, 3)
    assert set(benchmark.owned) == set(toys)
    for name, m in OWNED.items():
        for q in benchmark.sets[name]:
            assert len(q.names) == m and q.k == max(2, m) and q.references is None
            assert {json.dumps(vars(toys[n])) for n in q.names} == {
                json.dumps(toy) for toy in q.truth["toys"]
            }


def test_retrieved_references_stand_in_the_prompt_with_their_owners_words(benchmark, tmp_path):
    """Twelve toys in a database, found by the encoder that needs no download."""
    toys = draw_toys(12, 3)
    finder = ReferenceFinder(
        benchmark.owned,
        RetrievalSettings(encoder="toybox_clip", regions=None, cache=str(tmp_path)),
        benchmark.skipped,
    )
    asked = InContext(list, benchmark.write, finder=finder, size=benchmark.size)
    for questions in benchmark.sets.values():
        for q in questions[:3]:
            (row,), (concepts,) = asked.rows([asked.open(q.query)])
            assert len(row["images"]) - 1 == len(concepts) == q.k
            assert row["images"][-1] is q.image
            words = prompt_text(row["prompt"])
            for image, one in zip(row["images"], concepts, strict=False):
                assert f"<{one.name}>" in words and toys[one.name].description in words
                assert image.tobytes() == opened(benchmark.owned[one.name]).tobytes()
                assert one.used and -1 <= one.similarity <= 1 and one.p is None
            # The words are drawn once: asked again, the question reads the same.
            (again,), _ = asked.rows([asked.open(q.query)])
            assert again["prompt"] == row["prompt"]


def test_the_database_is_made_once(benchmark, cache, monkeypatch):
    monkeypatch.setattr(owned, "toybox_database", None)
    assert toybox(cache).owned == benchmark.owned
    with pytest.raises(TypeError):  # another one
        toybox(cache, toys_seed=4)
    assert not list(cache.glob("*.[0-9]*")), "nothing half made is left"


def test_halves_have_databases_of_their_own(cache):
    names = {}
    for half in ("validation", "test"):
        found = toybox(cache, ["owned_2"], 3, split=half)
        for q in found.sets["owned_2"]:
            assert half in q.id
            assert all(half_of(Identity(**toy)) == half for toy in q.truth["toys"])
        names[half] = {reference.info for reference in found.owned.values()}
    assert not names["validation"] & names["test"]


def test_a_database_smaller_than_an_image_is_refused(cache):
    with pytest.raises(InputError, match="toys is 3; owned_4 needs 4"):
        owned_questions("owned_4", 1, 5, ToyboxBenchmarkSettings().rows, 3, 0)
    with pytest.raises(InputError, match="toys is 3; owned_4 needs 4"):
        toybox(cache, ["owned_4"], 1, toys=3)
