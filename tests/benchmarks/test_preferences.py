"""The preference benchmark: what its sets ask, and how chains are scored."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from benchmarks.harness.evaluation import EvaluateSettings
from benchmarks.harness.samples import sample
from benchmarks.metrics.intervals import value
from benchmarks.preferences import (
    CONTROLS,
    SETS,
    PreferenceBenchmarkSettings,
    Preferences,
    answer_of,
    five_terms,
    nearest,
)
from benchmarks.registry import benchmark_class
from benchmarks.report.sample_cards import gallery
from concepts.methods.protocol import Reply
from data_gen.files.errors import InputError
from data_gen.preferences.chains import chain
from data_gen.preferences.users import Profile, Taste, is_unseen
from data_gen.rows.contract import check_row

N = 6


@pytest.fixture(scope="module")
def benchmark():
    few = {"full": {"questions": N, "reading": 3}}
    settings = PreferenceBenchmarkSettings(sizes=few, picture_px=32)
    return Preferences(settings)


def true_chain(question):
    """The right chain: candidates that are wholly liked and wholly disliked have its scores."""
    taste = Taste(*(Profile(*terms) for terms in question.truth["profiles"]))
    looks = (taste.liked, taste.disliked)
    return chain(taste, looks if question.answer == "A" else looks[::-1])


def told(benchmark, say):
    """All sets, with a reply to each question."""
    return {
        name: [(q, Reply(q.id, say(q, name), 1)) for q in questions]
        for name, questions in benchmark.sets.items()
    }


def scores(benchmark, say):
    return {key: value(of) for key, of in benchmark.score(told(benchmark, say), {}).items()}


def test_it_is_registered_and_every_set_is_asked_in_both_orders_and_under_every_control(benchmark):
    assert benchmark_class("preferences") is Preferences
    unseen = [name for name in SETS if name.startswith("unseen")]
    wanted = {
        *SETS,
        *(f"{name}_exchanged" for name in SETS),
        *(f"{name}_{control}" for name in unseen for control in CONTROLS),
        "reading",
    }
    assert set(benchmark.sets) == wanted == set(benchmark.titles) - {"seen", "unseen"}
    assert len({q.id for of in benchmark.sets.values() for q in of}) == N * (len(wanted) - 1) + 3
    assert EvaluateSettings(benchmark="preferences").out == "runs/evaluation/preferences"


def test_seen_and_unseen_users_are_what_their_sets_say(benchmark):
    for name in SETS:
        for question in benchmark.sets[name]:
            for terms in question.truth["profiles"]:
                assert is_unseen(Profile(*terms)) == name.startswith("unseen")


def pictures(question):
    shown = [r.image for r in question.references]
    return [image.tobytes() for image in (*shown, question.image) if image is not None]


def test_a_control_changes_one_part(benchmark):
    name = "unseen_several"
    for i, question in enumerate(benchmark.sets[name]):
        liked, disliked, (a, b) = (lambda p: (p[:2], p[2:4], p[4:]))(pictures(question))
        of = {
            control: benchmark.sets[f"{name}_{control}"][i] for control in (*CONTROLS, "exchanged")
        }
        assert pictures(of["exchanged"]) == [*liked, *disliked, b, a]
        assert pictures(of["opposite"]) == [*disliked, *liked, a, b]
        assert pictures(of["none"]) == [a, b]
        assert pictures(of["liked"]) == [*liked, a, b]
        assert pictures(of["blind"]) == []
        other = {"A": "B", "B": "A"}[question.answer]
        answers = {control: q.answer for control, q in of.items()}
        assert answers == {"exchanged": other, "opposite": other} | dict.fromkeys(
            ("none", "liked", "blind"), question.answer
        )
        assert of["opposite"].truth["profiles"] == question.truth["profiles"][::-1]
        for asked in of.values():
            parts = [part for message in asked.prompt for part in message["content"]]
            assert sum(part["type"] == "image" for part in parts) == len(pictures(asked))


def test_who_knows_the_user_is_right_in_everything(benchmark):
    def say(question, name):
        return ", ".join(question.truth["look"]) if name == "reading" else true_chain(question)

    found = scores(benchmark, say)
    for name in SETS:
        for key in ("right", "answered", "format", "profile", "profile_colour", "agreement"):
            assert found[f"{name}/{key}"] == 1.0
    assert found["seen/right"] == found["unseen/right"] == 1.0
    assert found["unseen_one_opposite/flipped"] == found["unseen_one_opposite/right"] == 1.0
    assert found["reading/terms"] == found["reading/medium"] == 1.0
    assert 0.0 <= found["unseen_one/nearest"] <= 1.0


def test_who_always_answers_a_is_right_in_half_and_agrees_with_nothing(benchmark):
    found = scores(benchmark, lambda question, name: "<answer>A</answer>")
    for name in SETS:
        assert found[f"{name}/right"] == 0.5 and found[f"{name}/answered"] == 1.0
        assert found[f"{name}/agreement"] == found[f"{name}/format"] == 0.0
        assert found[f"{name}/profile"] == 0.0
    assert found["unseen_one_opposite/flipped"] == 0.0


def test_who_looks_at_the_candidates_alone_agrees_and_never_flips(benchmark):
    def say(question, name):
        a, b = (pictures(question) or [b"a", b"b"])[-2:] if name != "reading" else (b"", b"")
        return f"<answer>{'A' if a < b else 'B'}</answer>"

    found = scores(benchmark, say)
    assert found["unseen_one/agreement"] == 1.0
    of = [
        found[f"unseen_{n}{order}/right"]
        for n in ("one", "several")
        for order in ("", "_exchanged")
    ]
    assert found["unseen/right"] == pytest.approx(sum(of) / 4)
    assert found["unseen_one_opposite/flipped"] == 0.0
    assert found["unseen_one_opposite/right"] == 1 - found["unseen_one/right"]


def test_terms_count_in_any_case(benchmark):
    def say(question, name):
        return ", ".join(question.truth["look"]).upper() if name == "reading" else ""

    assert scores(benchmark, say)["reading/terms"] == 1.0


def test_pictures_of_a_history_are_no_concepts_that_can_be_learned(benchmark):
    with pytest.raises(InputError, match="nothing can be learned"):
        benchmark.concepts()


def test_silence_is_wrong_and_disagrees(benchmark):
    found = scores(benchmark, lambda question, name: "")
    assert found["seen_one/right"] == found["seen_one/agreement"] == 0.0
    assert found["seen_one/answered"] == found["reading/terms"] == 0.0
    assert np.isnan(found["unseen_one_opposite/flipped"])


@pytest.mark.parametrize(
    ("text", "answer"),
    [("A", "A"), ("B.", "B"), ("Image B", None), ("", None), ("<answer>Image B</answer>", "B")]
    + [("<answer>A</answer><answer>B</answer>", None), ("A cat", None)],
)
def test_what_counts_as_an_answer(text, answer):
    assert answer_of(text) == answer


def test_terms_of_a_picture_are_read_with_labels_and_without():
    plain = "cartoon, golden, oil paint, muted, minimal"
    labelled = (
        "art style: cartoon; colour: golden; medium: oil paint; saturation: muted; detail: minimal"
    )
    assert five_terms(plain) == five_terms(labelled) == plain.split(", ")
    assert five_terms("cartoon") == ["cartoon", "", "", "", ""] and len(five_terms("," * 9)) == 5


def test_the_baseline_takes_the_candidate_on_the_liked_side():
    liked, disliked = np.array([[1.0, 0.0], [0.8, 0.2]]), np.array([[0.0, 1.0]])
    a, b = np.array([[0.9, 0.1]]), np.array([[0.3, 0.9]])
    assert nearest(np.concatenate([liked, disliked, a, b]), 2, 1) == "A"
    assert nearest(np.concatenate([liked, disliked, b, a]), 2, 1) == "B"
    assert nearest(np.concatenate([disliked, liked, a, b]), 1, 2) == "B"


def test_a_page_shows_history_profiles_scores_and_answer(benchmark):
    question = benchmark.sets["unseen_one"][0]
    row = {
        "id": question.id,
        "task": question.task,
        "prompt": question.prompt,
        "images": [*(r.image for r in question.references), question.image],
        "answer": question.answer,
        "box": None,
        "names": [],
        "absent_names": [],
        "source": question.source,
        "profiles": question.truth["profiles"],
    }
    check_row(row)
    liked = question.truth["profiles"][0]
    good = Reply("x", true_chain(question), 9)
    bad = Reply("x", good.text.replace(liked[0], "<script>", 1), 9)
    made = sample(row, "users", {"sft": good, "<b>": bad})
    assert made["outputs"]["sft"]["right"] and made["outputs"]["sft"]["chain"]["fault"] == ""
    html = gallery([json.loads(json.dumps(made))])
    assert html.count("<img") == 6 and html.count('<mark class="right">') == 15
    assert "The user likes:" in html and "The user does not like:" in html
    assert "<td>25</td>" in html and f"answers {question.answer}" in html
    assert "<script>" not in html and "&lt;b&gt;" in html and "profile is not five terms" in html


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"controls": ["wrong"]}, "controls: 'wrong' is none of opposite, none, liked, blind"),
        ({"sizes": {"full": {"questions": 0, "reading": 1}}}, "sizes.full must be"),
        ({"sizes": {"full": {"questions": 3}}}, "sizes.full must be"),
        ({"size": "large"}, "size 'large' is none of full"),
        ({"path": "x.json"}, "images is missing"),
    ],
)
def test_settings_that_cannot_be_are_refused(given, said):
    with pytest.raises(InputError, match=said):
        PreferenceBenchmarkSettings(**given)


def test_a_released_file_is_asked_instead_of_the_toybox(tmp_path):
    for i, colour in enumerate(("red", "orange", "blue", "navy", "pink", "teal")):
        Image.new("RGB", (8, 8), colour).save(tmp_path / f"{i}.png")
    entry = {
        "prefered_images": ["0.png", "1.png"],
        "non_prefered_images": ["2.png", "3.png"],
        "imageA": "5.png",
        "imageB": "4.png",
        "conversations": [{"from": "gpt", "value": "Image B"}],
    }
    (tmp_path / "test.json").write_text(json.dumps([entry, {**entry, "imageB": "lost.png"}]))
    settings = PreferenceBenchmarkSettings(
        path=str(tmp_path / "test.json"), images=str(tmp_path), nearest=None, likelihood=False
    )
    made = Preferences(settings)
    assert len(made.sets["released"]) == 1 and made.skipped.counts == {
        "candidate that is missing": 1
    }
    assert made.sets["released"][0].answer == "B"
    assert made.sets["released_exchanged"][0].answer == "A"
    found = scores(made, lambda question, name: f"<answer>{question.answer}</answer>")
    assert found["released/right"] == found["released/agreement"] == 1.0
    assert "released/profile" not in found  # no true profiles are published there
    shorter = Preferences(replace(settings, exchange=False, controls=[]))
    assert list(shorter.sets) == ["released"]
