"""Photo pairs: which subjects are asked about, how features judge, how answers are scored."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image, ImageDraw

from benchmarks import photo_pairs
from benchmarks.metrics.intervals import value
from benchmarks.photo_pairs import (
    COLUMNS,
    Answers,
    Pair,
    PhotoPairsSettings,
    by_features,
    measure,
    nearest_margins,
    scores,
)
from data_gen.files.errors import InputError
from data_gen.files.settings import yaml_text
from launch import generate
from rl.checkpoints import mark_complete
from rl.run_directory import CONFIG
from tests.concepts.tiny_encoders import save_dinov2
from tests.tiny import save_tiny_policy

SUBJECTS = {
    "red_mug": ("red", "mug"),
    "blue_mug": ("blue", "mug"),
    "green_mug": ("green", "mug"),
    "plant": ("yellow", "plant"),
    "fern": ("purple", "plant"),
    "moss": ("cyan", "plant"),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Six subjects of two classes, and two runs of two checkpoints on the halves of them."""
    place = tmp_path_factory.mktemp("photo_pairs")
    for name, (colour, _) in SUBJECTS.items():
        (place / "photos" / name).mkdir(parents=True)
        for k in range(3):
            image = Image.new("RGB", (48, 48), colour)
            ImageDraw.Draw(image).rectangle((2 + 12 * k, 4, 10 + 12 * k, 20 + 9 * k), fill="grey")
            image.save(place / "photos" / name / f"{k}.png")
    lines = [f"{name},{kind}" for name, (_, kind) in SUBJECTS.items()]
    (place / "photos" / "classes.txt").write_text("\n".join(lines))
    save_dinov2(place / "encoder")
    save_tiny_policy(place / "base")
    for k in (1, 2):
        words = ["--config", "configs/data/photo_pairs.yaml", "--root", str(place / "photos")]
        words += ["--heldout_fold", f"{k}/2", "--out", str(place / f"rows_{k}"), "--size", "32"]
        generate.main([*words, "--counts.object_consistency", "6"])
        run = place / f"run_{k}"
        for step in (2, 4, 5)[: k + 1]:
            save_tiny_policy(run / "checkpoints" / f"checkpoint-{step}", seed=step)
            mark_complete(run / "checkpoints" / f"checkpoint-{step}", 1)
        config = {"rows": str(place / f"rows_{k}"), "policy": str(place / "base")}
        (run / CONFIG).write_text(yaml_text(config))
    return place


@pytest.fixture(scope="module")
def settings(place):
    return {
        "runs": [str(place / "run_1"), str(place / "run_2")],
        "questions": 24,
        "encoder": str(place / "encoder"),
        "cache": str(place / "cache"),
    }


@pytest.fixture(scope="module")
def result(settings):
    return measure(PhotoPairsSettings(**settings))


def of(result, system, side, step=None):
    (found,) = [
        one["metrics"]
        for one in result["systems"]
        if (one["system"], one["side"], one["step"]) == (system, side, step)
    ]
    return found


def test_every_subject_is_asked_about_on_both_sides(result):
    assert result["subjects"] == {"train": 6, "heldout": 6}  # each held out by one of two runs
    for kinds in result["questions"].values():
        assert kinds["positive"] == 24 and sum(kinds.values()) == 48
        assert kinds["negative_easy"] and kinds["negative_hard"]


def test_the_policy_before_training_and_at_the_steps_of_all_runs(result):
    assert result["steps"] == [0, 2, 4]
    steps = [
        o["step"] for o in result["systems"] if (o["system"], o["side"]) == ("policy", "train")
    ]
    assert steps == [0, 2, 4]
    areas = [of(result, "policy", "heldout", step)["auroc"]["value"] for step in steps]
    assert len(set(areas)) > 1  # other weights, other answers


def test_colours_tell_these_subjects_apart(result):
    for side in ("train", "heldout"):
        assert of(result, "8 x 8 pixels: nearest neighbour", side)["accuracy"]["value"] > 0.9
        assert of(result, "8 x 8 pixels: cosine", side)["auroc"]["value"] > 0.8


def test_a_side_asks_about_its_own_subjects_only(settings, place):
    run = photo_pairs.open_run(place / "run_1", PhotoPairsSettings(**settings))
    asked = {
        side: {who for pair in pairs for who in pair.subjects} for side, pairs in run.sides.items()
    }
    assert len(asked["train"]) == len(asked["heldout"]) == 3
    assert not asked["train"] & asked["heldout"]
    for pairs in run.sides.values():
        for pair in pairs:
            assert (pair.subjects[0] == pair.subjects[1]) == (pair.answer == "yes")
            assert pair.photos[0] != pair.photos[1]
            kinds = [SUBJECTS[who][1] for who in pair.subjects]
            assert pair.hard == (pair.answer == "no" and kinds[0] == kinds[1])


# ---- judging and scoring ----


def pair(reference, query, hard=False):
    """``a1`` is a photo of ``a``; every photo is a grey of its own."""
    row = {
        "answer": "yes" if reference[0] == query[0] else "no",
        "images": [Image.new("L", (4, 4), ord(p[0]) + int(p[1])) for p in (reference, query)],
    }
    return Pair(row, (reference, query), (reference[0], query[0]), hard)


def test_the_nearest_neighbour_is_another_photo():
    vectors = {"a1": [1, 0], "a2": [0.8, 0.6], "b1": [0, 1], "b2": [0.96, 0.28]}
    pairs = [pair("a1", "a2"), pair("a1", "b1"), pair("b1", "a1"), pair("b1", "b2")]
    margins = nearest_margins(pairs, {k: np.array(v, float) for k, v in vectors.items()})
    # a2: 0.8 to a1, 0.936 to b2. b1: 0.6 to a2, 0.28 to b2. a1: 0.96 to b2, 0.8 to a2.
    assert margins == pytest.approx([0.8 - 0.936, 0.6 - 0.28, 0.96 - 0.8, 0.28 - 0.96])


def test_the_cosines_threshold_is_of_the_subjects_trained_on():
    angles = {"a1": 0, "a2": 20, "b1": 60, "b2": 80, "c1": 0, "c2": 35, "d1": 50, "d2": 90}

    def encode(photos):
        return np.array([[np.cos(t), np.sin(t)] for t in (np.deg2rad(angles[p]) for p in photos)])

    sides = {
        "train": [pair("a1", "a2"), pair("b1", "b2"), pair("a2", "b1")],
        "heldout": [pair("c1", "c2"), pair("c2", "d1"), pair("d1", "d2")],
    }
    found = by_features(sides, encode)["cosine"]
    assert found["train"].yes.tolist() == [True, True, False]
    assert found["heldout"].yes.tolist() == [False, True, False]  # 35, 15 and 40 degrees
    assert found["heldout"].score == pytest.approx(np.cos(np.deg2rad([35, 15, 40])))


def test_scores_are_of_questions_and_their_rows_are_subjects():
    first = [pair("a1", "a2"), pair("a1", "b1", True), pair("a2", "c1"), pair("b1", "b2")]
    second = [pair("a1", "a2"), pair("b1", "a1", True)]
    found = scores(
        [first, second],
        [
            Answers(np.array([0.9, 0.6, 0.1, 0.4]), np.array([True, True, False, False])),
            Answers(np.array([0.2, 0.1]), np.array([True, False])),
        ],
    )
    got = {key: value(metric) for key, metric in found.items()}
    assert set(got) == set(COLUMNS)
    assert got["positive"] == pytest.approx(2 / 3)
    assert got["negative_hard"] == 1 / 2 and got["negative_easy"] == 1
    assert got["accuracy"] == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert got["accuracy_hard"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert len(found["positive"][0][0]) == 2  # a and b have references
    # of either run by itself: 3 of 4 pairs of scores are in order, and 1 of 1
    assert 0.75 < got["auroc"] < 1


# ---- the command ----


def test_the_command_prints_tables_writes_figures_and_draws(settings, tmp_path, capsys):
    out, plot = tmp_path / "new" / "pairs.json", tmp_path / "new" / "pairs.png"
    words = ["--runs", json.dumps(settings["runs"][:1]), "--questions", "12"]
    words += ["--encoder", settings["encoder"], "--cache", settings["cache"]]
    photo_pairs.main([*words, "--out", str(out), "--plot", str(plot)])
    said = capsys.readouterr().out
    assert "held-out subjects: 3, 12 questions (6 positive" in said
    assert "| policy, step 4 |" in said and ", large photos: nearest neighbour |" in said
    assert json.loads(out.read_text())["settings"]["questions"] == 12
    assert Image.open(plot).size[0] > 800


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda run, rows: (run / CONFIG).unlink(), "is no run"),
        (lambda run, rows: shutil.rmtree(run / "checkpoints"), "no complete checkpoint"),
        (lambda run, rows: (rows / "manifest.json").unlink(), "no row set"),
        (lambda run, rows: _unsplit(rows), "no subject is held out"),
        (lambda run, rows: _keep_last(run), "no checkpoint of the same step"),
    ],
)
def test_what_cannot_be_measured_is_said(settings, place, tmp_path, spoil, said):
    run, rows = tmp_path / "run", tmp_path / "rows"
    shutil.copytree(place / "run_2", run)
    shutil.copytree(place / "rows_2", rows)
    config = {"rows": str(rows), "policy": str(place / "base")}
    (run / CONFIG).write_text(yaml_text(config))
    spoil(run, rows)
    with pytest.raises(InputError, match=said):
        measure(PhotoPairsSettings(**{**settings, "runs": [settings["runs"][0], str(run)]}))


def _unsplit(rows):
    manifest = json.loads((rows / "manifest.json").read_text())
    del manifest["settings"]["split"]
    (rows / "manifest.json").write_text(json.dumps(manifest))


def _keep_last(run):
    for step in (2, 4):
        shutil.rmtree(run / "checkpoints" / f"checkpoint-{step}")


@pytest.mark.parametrize("change", [{"runs": []}, {"questions": 1}])
def test_settings_that_ask_nothing_are_refused(settings, change):
    with pytest.raises(InputError):
        PhotoPairsSettings(**{**settings, **change})
