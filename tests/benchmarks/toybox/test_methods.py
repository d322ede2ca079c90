"""The benchmark of methods: questions about the toys of one user, and scores over toys."""

import json
from dataclasses import replace

import numpy as np
import pytest
import yaml

from benchmarks.harness.evaluation import EvaluateSettings, evaluate
from benchmarks.metrics.intervals import ratio, value
from benchmarks.toybox.methods import (
    CAPTIONS,
    COLUMNS,
    KEPT,
    OWN_KINDS,
    SETS,
    MethodsBenchmark,
    MethodsBenchmarkSettings,
    over_toys,
)
from concepts.methods.protocol import Reply
from data_gen.files.errors import InputError
from data_gen.files.settings import read_settings
from data_gen.images.photos import open_photo
from data_gen.toybox.curriculum.knowledge import TRAITS, trait
from data_gen.toybox.identity import ATTRIBUTES, Identity, half_of, is_held_out
from tests.places import ROOT

SMALL = {"toys": 4, "photos": 2, "reference_px": 24, "query_px": 32, "negatives": 6}


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    cache = str(tmp_path_factory.mktemp("toys"))
    return MethodsBenchmark(MethodsBenchmarkSettings(questions=16, cache=cache, **SMALL))


def differences(a, b):
    return sum(getattr(a, x) != getattr(b, x) for x in ATTRIBUTES)


def there(question):
    return [Identity(**toy) for toy in question.truth["toys"]]


def test_every_set_asks_of_every_toy_in_turn_and_only_some_hand_it_over(benchmark):
    assert list(benchmark.sets) == list(SETS)
    names = list(benchmark.toys)
    for name, questions in benchmark.sets.items():
        times = {"recognition": 8, "own_photos": len(OWN_KINDS)}.get(name, 4)
        assert [q.truth["toy"] for q in questions] == names * times
        assert len({q.id for q in questions}) == len(questions)
        given = [q.references for q in questions]
        if name in benchmark.retrieval_sets:
            assert given == [None] * 16
        else:
            assert [[r.name for r in of] for of in given] == [[n] for n in names * times]


def test_half_of_the_toys_asked_about_are_there_and_half_of_the_others_are_hard(benchmark):
    questions = benchmark.sets["recognition"]
    assert [q.answer for q in questions].count("yes") == 16
    assert [q.truth["kind"] for q in questions].count("hard") == 8


def test_the_owners_photos_set_the_threshold_and_the_questions_do_not(benchmark, tmp_path):
    questions = benchmark.sets["own_photos"]
    assert [q.answer for q in questions].count("yes") == len(questions) / 2
    photos = {
        name: [open_photo(benchmark.database.image_path(i), 32) for i in concept.images]
        for name, concept in benchmark.database.concepts().items()
    }
    pool = [image.tobytes() for image in benchmark.negatives()]
    for q in questions:
        first, second = (image.tobytes() for image in photos[q.truth["toy"]])
        others = [one[0].tobytes() for name, one in photos.items() if name != q.truth["toy"]]
        shown = {"yes": [second], "easy": others, "random": [*pool[::2], *others]}
        assert q.image.tobytes() in shown.get(q.truth["kind"], [*pool[1::2], *others])
        assert q.image.tobytes() != first, "the reference itself"

    def score(own, asked):
        likely = {"own_photos": own, "recognition": asked}
        replies = {
            name: [(q, Reply(q.id, "no", 1, None, ())) for q in benchmark.sets[name]]
            for name in likely
        }
        given = {
            name: [[yes if q.answer == "yes" else no] for q in benchmark.sets[name]]
            for name, (yes, no) in likely.items()
        }
        return {key: value(m) for key, m in benchmark.score(replies, given).items()}

    sure = score((0.9, 0.7), (0.95, 0.75))
    assert sure["own_photos/threshold"] == pytest.approx(0.8)
    assert sure["recognition/accuracy_owned"] == sure["recognition/negative_hard_owned"] == 1
    assert sure["recognition/accuracy"] == 0.5, "what it wrote stays what it wrote"
    shifted = score((0.9, 0.7), (0.6, 0.4))  # other questions move no threshold
    assert shifted["own_photos/threshold"] == pytest.approx(0.8)
    assert shifted["recognition/accuracy_owned"] == 0.5 and shifted["recognition/auroc"] == 1
    one = MethodsBenchmark(
        MethodsBenchmarkSettings(questions=4, cache=str(tmp_path), **{**SMALL, "photos": 1})
    )
    assert "own_photos" not in one.sets


def test_captions_expect_who_is_there(benchmark):
    for name, n in CAPTIONS.items():
        for q in benchmark.sets[name]:
            assert {benchmark.toys[called] for called in q.names} == set(there(q))
            assert len(q.names) == n and q.k == max(2, n) and q.truth["toy"] in q.names
    owned = list(benchmark.toys.values())
    for q in (*benchmark.sets["nobody"], *benchmark.sets["nobody_hard"]):
        assert q.names == () and not set(there(q)) & set(owned)
    for q in benchmark.sets["nobody_hard"]:
        (shown,) = there(q)
        assert differences(shown, benchmark.toys[q.truth["toy"]]) == 1
        assert half_of(shown) == "test"


def test_what_methods_learn_from_is_never_asked_about(benchmark, monkeypatch):
    shown = []
    monkeypatch.setattr(
        "benchmarks.toybox.methods.compose",
        lambda rng, toys, size: shown.extend(toys) or type("Drawn", (), {"image": None}),
    )
    fresh = MethodsBenchmark.__new__(MethodsBenchmark)
    fresh.settings, fresh.toys = replace(benchmark.settings, negatives=200), benchmark.toys
    assert len(fresh.negatives()) == len(shown) == 200
    assert not any(is_held_out(toy) and half_of(toy) == "test" for toy in shown)
    owned = list(benchmark.toys.values())
    hard = zip(shown[1::2], owned * 25, strict=True)
    assert all(differences(a, b) == 1 for a, b in hard) and not set(shown) & set(owned)

    shown.clear()
    easy = MethodsBenchmark.__new__(MethodsBenchmark)
    easy.settings, easy.toys = replace(fresh.settings, hard_share=0.0), benchmark.toys
    assert len(easy.negatives()) == 200
    assert not any(differences(a, b) == 1 for a in shown for b in owned)


def test_a_question_of_a_trait_has_the_other_toys_trait_for_its_wrong_option(benchmark):
    for q in (*benchmark.sets["visual"], *benchmark.sets["text"]):
        toy = benchmark.toys[q.truth["toy"]]
        assert q.options[q.correct] in [trait(toy, which) for which in TRAITS]
        assert q.options[1 - q.correct] not in q.options[q.correct]
        assert q.text.endswith(f", {q.options[0]} or {q.options[1]}?")
    assert all(q.image is None for q in benchmark.sets["text"])
    assert all(q.image is not None for q in benchmark.sets["visual"])


def test_a_prompt_shows_references_with_their_words_then_the_image(benchmark):
    query = benchmark.sets["visual"][0].query
    (turn,) = benchmark.write(query, query.references)
    kinds = [part["type"] for part in turn["content"]]
    assert kinds == ["image", "text", "image", "text"]
    assert query.references[0].info in turn["content"][1]["text"]
    (turn,) = benchmark.write(benchmark.sets["text"][0].query, ())
    assert [part["type"] for part in turn["content"]] == ["text"]


def test_intervals_are_over_toys():
    found = over_toys(ratio([1, 0, 1, 1], [1, 1, 1, 0]), ["a", "b", "a", "b"])
    ((top, bottom),) = found
    assert top.tolist() == [2, 1] and bottom.tolist() == [2, 1]
    assert value(found) == value(ratio([1, 0, 1, 1], [1, 1, 1, 0]))


def test_perfect_replies_score_one_and_who_names_everybody_does_not(benchmark):
    def score(say):
        replies = {
            name: [(q, Reply(q.id, say(name, q), 1, [32, 32], ())) for q in questions]
            for name, questions in benchmark.sets.items()
            if name not in ("boxes", "list")
        }
        likely = {
            name: [[0.9 if q.answer == "yes" else 0.1] for q in benchmark.sets[name]]
            for name in ("recognition", "own_photos")
        }
        return {key: value(m) for key, m in benchmark.score(replies, likely).items()}

    def truly(name, q):
        if q.answer:
            return q.answer
        return q.options[q.correct] if q.options else " ".join(f"<{n}>" for n in q.names)

    found = score(truly)
    asked = [key for key in COLUMNS.values() if key in found and "attribute" not in key]
    assert {key: found[key] for key in asked} == dict.fromkeys(asked, 1.0) and len(asked) == 13
    everybody = score(lambda name, q: " ".join(f"<{n}>" for n in benchmark.toys) + " yes")
    assert everybody["captions_1/recall"] == 1 and everybody["captions_1/precision"] == 0.25
    assert everybody["nobody/names_nothing"] == 0 and everybody["recognition/negative_hard"] == 0


def test_the_table_has_a_line_for_each_system_with_what_it_cost(policy_dir, tmp_path):
    """The config's own systems of two methods, with a tiny policy."""
    config = yaml.safe_load((ROOT / "configs/benchmarks/methods.yaml").read_text())
    systems = {
        label: {**config["systems"][label], "policy": str(policy_dir)}
        for label in ("untouched", "in-context, wrong reference", "MyVLM heads, reference shown")
    }
    (tmp_path / "config.yaml").write_text(
        yaml.safe_dump(
            {
                **{key: config[key] for key in ("benchmark", "seed")},
                **SMALL,
                "questions": 8,
                "sets": ["recognition", "own_photos", "captions_1", "text"],
                "cache": str(tmp_path / "toys"),
                "out": str(tmp_path / "out"),
                "max_new_tokens": {"captions": 2, "recognition": 2, "text": 2},
                "resamples": 20,
                "systems": systems,
            }
        )
    )
    settings, own = read_settings(
        ["--config", str(tmp_path / "config.yaml")],
        EvaluateSettings,
        choose=lambda values: MethodsBenchmarkSettings,
    )
    result = evaluate(settings, MethodsBenchmark(own))
    asked = {f"{name}/{key}" for name in own.sets for key in KEPT[name]}
    assert asked <= set(result["metrics"])
    assert result["metrics"]["text/choice"]["rows"] == 4
    assert result["metrics"]["own_photos/threshold"]["rows"] == 1
    assert (
        "| *recognition, the owner's photos* | 4 |" in (tmp_path / "out/evaluation.md").read_text()
    )
    (costs,) = result["learned"].values()
    assert [cost["name"] for cost in costs] == list(MethodsBenchmark(own).toys)
    assert all(seconds > 0 for seconds in result["seconds_per_query"].values())
    text = (tmp_path / "out" / "evaluation.md").read_text()
    assert "| system | weighted |" in text and "s to learn a concept" in text
    assert "intervals over toys" in text
    kept = (tmp_path / "out" / "predictions" / "untouched" / "captions_1.jsonl").read_text()
    assert all(json.loads(line)["concepts"] == [] for line in kept.splitlines())
    assert np.isfinite(result["metrics"]["recognition/auroc"]["values"]["untouched"]["value"])


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"toys": 2}, "toys, photos and negatives must be"),
        ({"hard_share": 1.5}, "hard_share is 1.5"),
        ({"questions": 3}, "each of 12 toys needs one"),
        ({"sets": ["boxs"]}, "there is no 'boxs'"),
    ],
)
def test_settings_that_cannot_be(wrong, said):
    with pytest.raises(InputError, match=said):
        MethodsBenchmarkSettings(**wrong)
