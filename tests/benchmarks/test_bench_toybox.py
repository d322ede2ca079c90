import json
import random

import pytest

from benchmarks.harness.predictions import Prediction, row_digest
from benchmarks.metrics.intervals import value
from benchmarks.toybox import benchmark as toybox
from benchmarks.toybox import owned as toybox_found
from data_gen.toybox.curriculum.perception import LIST_ASK, profile
from data_gen.toybox.draw import Placed
from data_gen.toybox.identity import Identity, draw_identity, half_of, is_held_out
from data_gen.toybox.language import _one_sentence
from data_gen.toybox.rows import toybox_row
from rewards.parsing import prompt_text

SETTINGS = {"reference_px": 24, "query_px": 32}


@pytest.fixture(scope="module")
def retrieval(tmp_path_factory):
    """Twelve toys in a database, found by the encoder that needs no download."""
    return toybox.Retrieval(toys=12, seed=3, regions=None,
                            cache=str(tmp_path_factory.mktemp("found")))


@pytest.fixture(scope="module")
def rows(retrieval):
    settings = toybox.toybox_settings(SETTINGS)
    return {name: toybox.build_set(name, 12, 5, settings, retrieval) for name in toybox.SETS}


def oracle(row: dict) -> Prediction:
    """The right answer; captions say of each toy all there is."""
    if row["answer"]:
        text = row["answer"]
    elif row["box"]:
        text = json.dumps({"bbox_2d": [v * 100 for v in row["box"]]})
    else:
        names = [*row["names"], *[None] * 4]  # which toy has which name is not scored
        text = " ".join(
            _one_sentence(Placed(Identity(**toy), 0.5, 0.5, 0.5, 0.0), name, "plain")
            for toy, name in zip(row["toys"], names, strict=False))
    return Prediction(row["id"], text, 120, [100.0, 100.0])


def test_the_truth_scores_full_marks(rows):
    found = toybox.score(rows, {n: [oracle(r) for r in of_set] for n, of_set in rows.items()})
    for key, metric in found.items():
        if not key.endswith("/retrieved"):  # the encoder's doing, not the policy's
            assert value(metric) == pytest.approx(120 if key.endswith("/tokens") else 1), key
    assert set(toybox.HEADLINES) <= set(found)
    assert {key.split("/")[0] for key in found} == {*toybox.SETS, *toybox.POOLS}


def test_silence_scores_nothing(rows):
    silent = {n: [Prediction(r["id"], "", 0, [1, 1]) for r in of_set] for n, of_set in rows.items()}
    found = toybox.score(rows, silent)
    assert value(found["naming_2/f1"]) == value(found["oct/accuracy"]) == 0
    assert value(found["vlt/mean_iou"]) == value(found["captions/at_floor"]) == 0
    assert value(found["naming_absent/names_nothing"]) == 1


def test_naming_everything_shown_does_not_pay(rows):
    def parrot(row):
        return Prediction(row["id"], " ".join(f"<{n}>" for n in row["names"] + row["absent_names"]),
                          120)

    captions = {n: r for n, r in rows.items() if n.startswith("naming")}
    found = toybox.score(captions, {n: [parrot(r) for r in rs] for n, rs in captions.items()})
    assert value(found["naming_1/recall"]) == 1 and value(found["naming_1/precision"]) <= 0.5
    assert value(found["naming_absent/names_nothing"]) == 0
    # Absent concepts count against the pool.
    assert value(found["naming_all/precision"]) < value(found["naming_4/precision"])


def test_what_the_sets_hold(rows):
    for m in (1, 2, 4):
        for row in rows[f"naming_{m}"]:
            assert len(row["names"]) == m == len(row["toys"])
            assert len(row["absent_names"]) in (1, 2)
            assert len(row["images"]) == m + len(row["absent_names"]) + 1
    assert all(not r["names"] and r["absent_names"] for r in rows["naming_absent"])
    for name in ("description", "list", "naming_none"):
        assert all(not r["names"] and len(r["images"]) == 1 for r in rows[name])
    assert sum(r["answer"] == "yes" for r in rows["oct"]) == 6
    assert {r["source"] for r in rows["oct"]} == {"toybox:same", "toybox:easy", "toybox:hard"}


def test_without_words_only_pictures_tell_who_is_who(rows):
    for name, some in (("naming_looks", {1, 2}), ("naming_looks_4", {4})):
        assert {len(row["names"]) for row in rows[name]} == some
        for row in rows[name]:
            told = prompt_text(row["prompt"])
            assert not any(Identity(**toy).description in told for toy in row["toys"])
    assert all(Identity(**toy).description in prompt_text(row["prompt"])
               for row in rows["naming_4"] for toy in row["toys"])


def test_references_that_were_found(rows, retrieval, monkeypatch):
    owned = toybox_found.draw_toys(12, 3)
    for m in (1, 2, 4):
        for row in rows[f"found_{m}"]:
            due = {name for name in row["names"]}
            assert {json.dumps(vars(owned[name])) for name in due} == {
                json.dumps(toy) for toy in row["toys"]}, "every toy in the picture is due"
            shown = len(row["images"]) - 1
            assert shown == max(2, m) == row["found"] + len(row["absent_names"])
            told = prompt_text(row["prompt"])
            assert sum(toy.description in told for toy in owned.values()) >= shown, (
                "with what the owner says of each")
            assert row["found"] <= m
    # Found once for all: nothing is loaded the second time, in whichever process.
    monkeypatch.setattr(toybox_found, "load_encoder", None)
    again = toybox.build_set("found_2", 12, 5, toybox.toybox_settings(SETTINGS), retrieval)
    assert [row_digest(r) for r in again] == [row_digest(r) for r in rows["found_2"]]


def test_halves_have_rows_and_databases_of_their_own(retrieval):
    for half in ("validation", "test"):
        settings = toybox.toybox_settings(SETTINGS, half)
        for name in ("found_2", "naming_wrong", "oct"):
            for row in toybox.build_set(name, 3, 5, settings, retrieval):
                assert half in row["id"]
                assert all(half_of(Identity(**toy)) == half for toy in row.get("toys", []))
    with pytest.raises(ValueError, match="split must be one of heldout, validation, test"):
        toybox.toybox_settings(SETTINGS, "train")


def test_references_cannot_be_found_nowhere():
    with pytest.raises(ValueError, match="found_1 needs `retrieval`"):
        toybox.build_set("found_1", 1, 5, toybox.toybox_settings(SETTINGS))
    with pytest.raises(ValueError, match="toys is 3; found_4 needs 4"):
        toybox.build_set("found_4", 1, 5, toybox.toybox_settings(SETTINGS),
                         toybox.Retrieval(toys=3))


def test_near_twins_differ_in_one_attribute(rows):
    for row in rows["naming_wrong"]:
        assert not row["names"] and len(row["absent_names"]) == len(row["toys"])
    rng = random.Random(1)
    for toy in (draw_identity(rng, held_out=True) for _ in range(10)):
        (twin,) = toybox._near_twins(rng, [toy])
        assert sum(vars(toy)[a] != vars(twin)[a] for a in vars(toy)) == 1 and is_held_out(twin)


def test_lists_tell_number_and_place(rows):
    """A list in the words that the base was taught, then with a toy left out, then reversed."""
    def score(text_of):
        found = toybox.score({"list": rows["list"]}, {"list": [
            Prediction(r["id"], text_of([Identity(**t) for t in r["toys"]]), 9)
            for r in rows["list"]]})
        return value(found["list/counted"]), value(found["list/placed"])

    def listed(toys):
        return "; ".join(f"{profile(toy)} [1, 2, 3, 4]" for toy in toys)

    assert score(listed) == (1, 1)
    assert score(lambda toys: listed(toys[1:]))[0] == 0
    counted, placed = score(lambda toys: listed(toys[::-1]))
    assert counted == 1 and placed < 1
    assert score(lambda toys: "no toys") == (0, 0)
    assert {len(r["toys"]) for r in rows["list"]} == {1, 2, 3, 4}
    assert all(r["prompt"][0]["content"][-1]["text"] == LIST_ASK for r in rows["list"])


def test_all_toys_are_held_out(rows):
    toys = [Identity(**toy) for of_set in rows.values() for row in of_set
            for toy in row.get("toys", [])]
    assert len(toys) > 80 and all(map(is_held_out, toys))


def test_names_stand_beside_their_own_toys(rows):
    """Each name's reference picture shows a toy, in the order of the names in the prompt."""
    for row in rows["naming_2"]:
        said = "".join(part["text"] or "" for part in row["prompt"][0]["content"])
        order = sorted(row["names"] + row["absent_names"], key=lambda n: said.index(f"<{n}>"))
        assert len(order) == len(row["images"]) - 1


def test_a_small_benchmark_begins_a_large_one_and_seeds_differ():
    settings = toybox.toybox_settings({"reference_px": 16, "query_px": 16})
    small = toybox.build_set("naming_1", 3, 5, settings)
    large = toybox.build_set("naming_1", 5, 5, settings)
    assert [row_digest(r) for r in small] == [row_digest(r) for r in large[:3]]
    other = toybox.build_set("naming_1", 3, 6, settings)
    assert not {row_digest(r) for r in small} & {row_digest(r) for r in other}


def test_rows_are_not_those_of_training():
    settings = toybox.toybox_settings({"reference_px": 16, "query_px": 16})
    held_out = {row_digest(r) for r in toybox.build_set("oct", 4, 5, settings)}
    settings.split = "train"
    assert not held_out & {row_digest(toybox_row("object_consistency", i, 5, settings))
                           for i in range(4)}


def test_refusals():
    with pytest.raises(ValueError, match="no set 'oct2'"):
        toybox.build_set("oct2", 1, 0, toybox.toybox_settings())
    with pytest.raises(ValueError, match="no setting hard_share"):
        toybox.toybox_settings({"hard_share": 0})


def test_any_text_is_scored(rows):
    rng = random.Random(0)
    alphabet = "<>/[]{}, .yesno019abc\u202e\ud800\x00é小"
    junk = {n: [Prediction(r["id"], "".join(rng.choices(alphabet, k=200)), 7, [9.0, 9.0])
                for r in of_set] for n, of_set in rows.items()}
    for key, metric in toybox.score(rows, junk).items():
        number = value(metric)
        assert number != number or number >= 0, key
