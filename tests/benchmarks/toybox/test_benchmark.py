"""The held-out toybox: what its sets hold, and what answers are worth."""

import json
import random

import pytest

from benchmarks.harness.predictions import query_digest
from benchmarks.metrics.intervals import value
from benchmarks.toybox.benchmark import (
    ABSENT,
    NAMED,
    OPEN,
    PARTS,
    POOLS,
    SETS,
    Toybox,
    ToyboxBenchmarkSettings,
    _hard_negatives,
    toybox_set,
)
from concepts.methods.protocol import Evidence, Reply
from data_gen.files.errors import InputError
from data_gen.toybox.curriculum.perception import LIST_ASK, profile
from data_gen.toybox.draw import Placed
from data_gen.toybox.identity import Identity, draw_identity, half_of, is_held_out
from data_gen.toybox.language import _one_sentence
from data_gen.toybox.rows import toybox_row
from rewards.parsing import prompt_text


def toybox(sets, count=12, seed=5, **settings):
    """The benchmark with ``count`` questions in each of ``sets``, small images, twelve toys."""
    settings = {"reference_px": 24, "query_px": 32, "toys": 12, "toys_seed": 3, **settings}
    return Toybox(
        ToyboxBenchmarkSettings(
            size="s", sizes={"s": dict.fromkeys(sets, count)}, seed=seed, **settings
        )
    )


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    return toybox(SETS, cache=str(tmp_path_factory.mktemp("databases")))


@pytest.fixture(scope="module")
def sets(benchmark):
    return benchmark.sets


def scored(benchmark, reply_to, sets=None):
    """The metrics of a system that answers each question with ``reply_to(question)``."""
    chosen = sets or benchmark.sets
    return benchmark.score({name: [(q, reply_to(q)) for q in chosen[name]] for name in chosen}, {})


def right_answer(question) -> Reply:
    """Captions say of each toy all there is."""
    if question.answer:
        text = question.answer
    elif question.box:
        text = json.dumps({"bbox_2d": [v * 100 for v in question.box]})
    else:
        names = question.truth.get("toy_names", [None] * 4)
        text = " ".join(
            _one_sentence(Placed(Identity(**toy), 0.5, 0.5, 0.5, 0.0), name, "plain")
            for toy, name in zip(question.truth["toys"], names, strict=False)
        )
    return Reply(question.id, text, 120, [100.0, 100.0])


def test_the_truth_scores_full_marks(benchmark):
    found = scored(benchmark, right_answer)
    marks = {"tokens": 120, "on_another_toy": 0, "on_no_toy": 0, "named_twice": 0}
    for key, metric in found.items():
        assert value(metric) == pytest.approx(marks.get(key.split("/")[1], 1)), key
    assert set(benchmark.headlines) <= set(found)
    scored_sets = {key.split("/")[0] for key in found}
    # Few questions: some parts of naming_mixed have none.
    assert {*SETS, *POOLS} <= scored_sets <= {*SETS, *POOLS, *PARTS} == set(benchmark.titles)


def test_silence_scores_nothing(benchmark):
    found = scored(benchmark, lambda q: Reply(q.id, "", 0, [1, 1]))
    assert value(found["naming_2/f1"]) == value(found["oct/accuracy"]) == 0
    assert value(found["vlt/mean_iou"]) == value(found["captions/at_floor"]) == 0
    assert value(found["naming_absent/names_nothing"]) == 1


def test_naming_everything_shown_does_not_pay(benchmark, sets):
    captions = {name: of for name, of in sets.items() if name.startswith("naming")}
    found = scored(
        benchmark,
        lambda q: Reply(q.id, " ".join(f"<{n}>" for n in q.names + q.absent_names), 120),
        captions,
    )
    assert value(found["naming_1/recall"]) == 1 and value(found["naming_1/precision"]) <= 0.5
    assert value(found["naming_absent/names_nothing"]) == 0
    # Absent concepts count against the pool.
    assert value(found["naming_all/precision"]) < value(found["naming_4/precision"])


def described(question, names) -> Reply:
    """The toys from left to right, each under one of ``names``."""
    text = " ".join(
        _one_sentence(Placed(Identity(**toy), 0.5, 0.5, 0.5, 0.0), name, "plain")
        for toy, name in zip(question.truth["toys"], names, strict=True)
    )
    return Reply(question.id, text, 60)


def test_the_right_names_on_the_wrong_toys(benchmark, sets):
    """F1 does not see it; the scores of places do."""
    chosen = {name: sets[name] for name in ("naming_2", "naming_4", "naming_open_1", "owned_2")}
    for name, of in chosen.items():
        assert all(sorted(filter(None, q.truth["toy_names"])) == sorted(q.names) for q in of), name

    def moved(q):
        return described(q, [*q.truth["toy_names"][1:], *q.truth["toy_names"][:1]])

    found = {key: value(metric) for key, metric in scored(benchmark, moved, chosen).items()}
    for name in chosen:
        assert found[f"{name}/f1"] == 1 and found[f"{name}/f1_on_toy"] == 0
        assert found[f"{name}/on_another_toy"] == 1 and found[f"{name}/named_twice"] == 0

    def repeated(q):
        return described(q, [q.truth["toy_names"][0]] * 4)

    found = scored(benchmark, repeated, {"naming_4": sets["naming_4"]})
    assert value(found["naming_4/f1"]) == 2 / 5
    assert value(found["naming_4/f1_on_toy"]) == 2 / 8, "one hit, three extra, three missed"
    assert (
        value(found["naming_4/on_own_toy"]) == 1 / 4 and value(found["naming_4/named_twice"]) == 1
    )


def test_silence_is_told_apart_by_the_number_of_references():
    """A policy that names somebody wherever there are two references or more."""
    counting = toybox(["naming_absent", "naming_mixed"], 80, reference_px=16, query_px=16)

    def reply(q):
        given = q.names + q.absent_names
        return Reply(q.id, f"<{given[0]}>" if len(given) > 1 else "", 9)

    found = scored(counting, reply)
    silence = {r: value(found[f"naming_absent_{r}refs/names_nothing"]) for r in (1, 2, 3, 4)}
    assert silence == {1: 1, 2: 0, 3: 0, 4: 0}
    assert value(found["naming_mixed_1refs/names_nothing"]) == 1
    assert value(found["naming_mixed_3refs/names_nothing"]) == 0
    # Captions that should name somebody are scored by R, T and K.
    assert value(found["naming_mixed_1given/recall"]) == 0
    assert {"naming_mixed_2given/f1", "naming_mixed_3toys/f1", "naming_mixed_2expected/f1"} <= set(
        found
    )


def test_unlisted_toys_stand_beside_those_that_have_references():
    sets = toybox([*OPEN, "naming_mixed", ABSENT], 60, reference_px=16, query_px=16).sets
    for name, k in OPEN.items():
        for q in sets[name]:
            assert len(q.names) == k and 1 <= len(q.truth["toys"]) - k <= 2
            assert len(q.absent_names) in (1, 2)
    mixed = sets["naming_mixed"]
    assert (
        {len(q.references) for q in mixed} == {len(q.truth["toys"]) for q in mixed} == {1, 2, 3, 4}
    )
    assert 18 < sum(not q.names for q in mixed) < 42
    assert {len(q.references) for q in sets[ABSENT]} == {1, 2, 3, 4}
    assert {len(q.truth["toys"]) for q in sets[ABSENT]} == {1, 2, 3, 4}


def test_naming_what_was_retrieved_in_error_does_not_pay(benchmark, sets):
    def parrot(used):
        def reply(q):
            concepts = (Evidence(q.names[0], 0.9), Evidence("wrong toy", 0.8, used=used))
            return Reply(q.id, f"<{q.names[0]}> and wrong toy", 120, concepts=concepts)

        return value(scored(benchmark, reply, {"owned_1": sets["owned_1"]})["owned_1/precision"])

    # Named without a tag, "wrong toy" is known to be a name from the evidence alone, whether
    # verification kept it or not.
    assert parrot(used=True) == parrot(used=False) == 0.5


def test_what_the_sets_hold(sets):
    for m in (1, 2, 4):
        for q in sets[f"naming_{m}"]:
            assert len(q.names) == m == len(q.truth["toys"])
            assert len(q.absent_names) in (1, 2)
            assert len(q.references) == m + len(q.absent_names) and q.image is not None
    assert all(not q.names and q.absent_names for q in sets[ABSENT])
    for name in ("description", "list", "naming_none"):
        assert all(not q.names and q.references == () and q.image for q in sets[name])
    assert sum(q.answer == "yes" for q in sets["oct"]) == 6
    assert {q.source for q in sets["oct"]} == {"toybox:same", "toybox:easy", "toybox:hard"}


def test_without_words_only_images_show_what_the_references_look_like(sets):
    for name, some in (("naming_image_only", {1, 2}), ("naming_image_only_4", {4})):
        assert {len(q.names) for q in sets[name]} == some
        for q in sets[name]:
            words = prompt_text(q.prompt)
            assert not any(Identity(**toy).description in words for toy in q.truth["toys"])
    assert all(
        Identity(**toy).description in prompt_text(q.prompt)
        for q in sets["naming_4"]
        for toy in q.truth["toys"]
    )


def test_halves_have_questions_of_their_own():
    for half in ("validation", "test"):
        for of in toybox(("naming_wrong", "oct"), 3, split=half).sets.values():
            for q in of:
                assert half in q.id
                assert all(half_of(Identity(**toy)) == half for toy in q.truth.get("toys", []))
    with pytest.raises(InputError, match="split must be one of heldout, validation, test"):
        ToyboxBenchmarkSettings(split="train")


def test_hard_negatives_differ_in_one_attribute(sets):
    for q in sets["naming_wrong"]:
        assert not q.names and len(q.absent_names) == len(q.truth["toys"])
    rng = random.Random(1)
    for toy in (draw_identity(rng, held_out=True) for _ in range(10)):
        (other,) = _hard_negatives(rng, [toy])
        assert sum(vars(toy)[a] != vars(other)[a] for a in vars(toy)) == 1 and is_held_out(other)


def test_lists_give_number_and_place(benchmark, sets):
    """A list in the words that the base was taught, then without one toy, then reversed."""

    def score(text_of):
        found = scored(
            benchmark,
            lambda q: Reply(q.id, text_of([Identity(**t) for t in q.truth["toys"]]), 9),
            {"list": sets["list"]},
        )
        return value(found["list/counted"]), value(found["list/placed"])

    def listed(toys):
        return "; ".join(f"{profile(toy)} [1, 2, 3, 4]" for toy in toys)

    assert score(listed) == (1, 1)
    assert score(lambda toys: listed(toys[1:]))[0] == 0
    counted, placed = score(lambda toys: listed(toys[::-1]))
    assert counted == 1 and placed < 1
    assert score(lambda toys: "no toys") == (0, 0)
    assert {len(q.truth["toys"]) for q in sets["list"]} == {1, 2, 3, 4}
    assert all(q.prompt[0]["content"][-1]["text"] == LIST_ASK for q in sets["list"])


def test_all_toys_are_held_out(sets):
    toys = [Identity(**toy) for of in sets.values() for q in of for toy in q.truth.get("toys", [])]
    assert len(toys) > 80 and all(map(is_held_out, toys))


def test_names_stand_beside_their_own_toys(sets):
    """Each name's reference image shows a toy, in the order of the names in the prompt."""
    for q in sets["naming_2"]:
        words = "".join(part["text"] or "" for part in q.prompt[0]["content"])
        order = sorted(q.names + q.absent_names, key=lambda n: words.index(f"<{n}>"))
        assert order == [reference.name for reference in q.references]


def test_a_small_benchmark_begins_a_large_one_and_seeds_differ():
    def digests(count, seed=5):
        (questions,) = toybox(["naming_1"], count, seed, reference_px=16, query_px=16).sets.values()
        return [query_digest(q) for q in questions]

    small = digests(3)
    assert small == digests(5)[:3]
    assert not set(small) & set(digests(3, seed=6))
    limited = Toybox(
        ToyboxBenchmarkSettings(
            size="s", sizes={"s": {"oct": 4, "naming_1": 2}}, reference_px=16, query_px=16
        ),
        limit=3,
    )
    assert {name: len(of) for name, of in limited.sets.items()} == {"oct": 3, "naming_1": 2}


def test_rows_are_not_those_of_training():
    settings = ToyboxBenchmarkSettings(reference_px=16, query_px=16).rows

    def pixels(rows):
        return {row["images"][-1].tobytes() for row in rows}

    held_out = pixels(toybox_set("oct", 4, 5, settings))
    settings.split = "train"
    assert not held_out & pixels(toybox_row("object_consistency", i, 5, settings) for i in range(4))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"size": "huge"}, "size 'huge' is none of the config's: tiny"),
        ({"sizes": {}}, "it has no `sizes`"),
        ({"sizes": {"tiny": {"oct2": 1}}}, "no set 'oct2'; the benchmark has oct, vlt"),
        ({"sizes": {"tiny": {"oct": -1}}}, "must be a number of questions"),
        ({"sizes": {"tiny": {"oct": 0}}}, "asks for nothing"),
        ({"sizes": {"tiny": None}}, "asks for nothing"),
    ],
)
def test_refusals(settings, sentence):
    with pytest.raises(InputError, match=sentence):
        Toybox(
            ToyboxBenchmarkSettings(**{"size": "tiny", "sizes": {"tiny": {"oct": 1}}, **settings})
        )


def test_there_are_no_true_captions(benchmark):
    with pytest.raises(InputError, match="no true captions"):
        benchmark.true_captions("captions.json")


def test_every_set_has_a_limit_and_only_captions_have_names(benchmark):
    assert {benchmark.group(name) for name in SETS} == set(benchmark.limits)
    assert {name for name in SETS if benchmark.group(name) != "captions"} == {"oct", "vlt"}
    assert set(benchmark.caption_sets) == set(SETS) - {"oct", "vlt", "list"}
    assert set(NAMED) < set(benchmark.caption_sets)


def test_any_text_is_scored(benchmark):
    rng = random.Random(0)
    alphabet = "<>/[]{}, .yesno019abc\u202e\ud800\x00é小"
    found = scored(
        benchmark, lambda q: Reply(q.id, "".join(rng.choices(alphabet, k=200)), 7, [9.0, 9.0])
    )
    for key, metric in found.items():
        number = value(metric)
        assert number != number or number >= 0, key
