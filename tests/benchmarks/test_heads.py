"""Heads and retrieval on folders of photos: who is asked about, and how answers are scored."""

import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

from benchmarks import heads
from benchmarks.heads import Asked, HeadsSettings, measure, metrics, retrieval_threshold
from benchmarks.metrics.intervals import value
from concepts.methods.myvlm.heads import HeadSettings
from data_gen.files.errors import InputError
from tests.concepts.tiny_encoders import save_dinov2

SUBJECTS = {"red_mug": "red", "blue_mug": "blue", "plant": "green"}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Three subjects with four photos, two of them of one class."""
    folder = tmp_path_factory.mktemp("photos")
    for name, colour in SUBJECTS.items():
        (folder / name).mkdir()
        for k in range(4):
            image = Image.new("RGB", (40, 40), "white")
            ImageDraw.Draw(image).rectangle((3 + k, 3, 32 + k, 35), fill=colour)
            image.save(folder / name / f"{k}.png")
    (folder / "classes.txt").write_text("red_mug,mug\nblue_mug,mug\nplant,plant\n")
    return folder


@pytest.fixture(scope="module")
def settings(root, tmp_path_factory):
    place = tmp_path_factory.mktemp("encoder")
    return {
        "root": str(root),
        "encoder": str(save_dinov2(place / "dinov2")),
        "cache": str(place / "cache"),
        "seeds": 2,
        "views": 2,
        "photos": 3,
        "head": HeadSettings(steps=80, learning_rate=0.1, clip=10.0),
    }


def test_each_concept_is_asked_about_on_photos_that_had_no_part_in_learning(settings):
    result = measure(HeadsSettings(**settings, known=0.5, groups={"mine": ["plant", "red_mug"]}))
    # one photo of each of three subjects is left, by three concepts, twice
    assert (result["questions"], result["positives"]) == (18, 6)
    assert result["hard_negatives"] == 2 * (2 + 2)  # the mugs, and the group
    assert result["systems"]["heads"]["weighted"]["value"] > 0.8
    assert result["systems"]["heads"]["unseen"]["value"] is not None
    assert set(result["groups"]) == {"mug", "mine"} and len(result["retrieval_thresholds"]) == 2
    text = heads.table(result)
    assert "| heads, all |" in text and "| retrieval, mine |" in text
    json.dumps(result)


def test_scores_are_means_over_a_concepts_questions():
    def asked(concept, owner, p, unseen=False):
        return Asked(concept, owner, {"s": p}, {"s": p >= 0.5}, unseen)

    found = metrics(
        [
            asked(0, 0, 0.9),
            asked(0, 0, 0.1),
            asked(0, 1, 0.6),
            asked(0, 2, 0.2, True),
            asked(1, 1, 0.8),
            asked(1, 0, 0.3),
        ],
        "s",
        hard={(0, 1)},
    )
    got = {key: value(metric) for key, metric in found.items()}
    assert got["positive"] == pytest.approx(2 / 3) and got["negative"] == pytest.approx(2 / 3)
    assert got["weighted"] == pytest.approx(2 / 3) and got["hard"] == 0
    assert got["weighted_hard"] == pytest.approx(1 / 3) and got["unseen"] == 1
    assert got["auroc"] == pytest.approx((0.5 + 1) / 2)  # of either concept


def test_retrievals_threshold_compares_a_photo_with_others_of_its_subject_only():
    one = np.array([[1.0, 0], [0.8, 0.6]])  # 0.8 apart
    two = np.array([[0.0, 1], [-0.6, 0.8]])  # 0.8; nearest to the other subject: 0.6
    assert retrieval_threshold([one, two]) == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"groups": {"pets": ["dog"]}}, "no subject 'dog'"),
        ({"root": "nowhere"}, "is no directory and no zip"),
        ({"photos": 1}, "2 or more"),
        ({"known": 0.0}, "known"),
    ],
)
def test_what_cannot_be_measured_is_said(settings, change, said):
    with pytest.raises(InputError, match=said):
        measure(HeadsSettings(**{**settings, **change}))


def test_the_command_prints_a_table_and_writes_all_figures(settings, tmp_path, capsys):
    out = tmp_path / "new" / "heads.json"
    words = ["--root", settings["root"], "--encoder", settings["encoder"]]
    words += ["--cache", settings["cache"], "--seeds", "1", "--views", "2", "--photos", "3"]
    heads.main([*words, "--head.steps", "5", "--out", str(out)])
    assert "9 questions (3 positive, 2 hard negatives)" in capsys.readouterr().out
    assert json.loads(out.read_text())["settings"]["head"]["steps"] == 5
    with pytest.raises(SystemExit, match="heads: "):
        heads.main(["--root", str(tmp_path / "none")])
