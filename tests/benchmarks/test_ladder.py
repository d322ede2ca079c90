"""R2P's ladder: what its rungs are measured on, and the table."""

import json
import random

import pytest

from benchmarks.ladder import LadderSettings, main, photo_cases, toy_cases
from data_gen.files.errors import InputError
from data_gen.toybox.identity import draw_identity
from data_gen.toybox.scene import compose


def test_toys_come_in_pairs_that_differ_in_one_attribute(tmp_path):
    settings = LadderSettings(toys=6, queries=2)
    database, cases = toy_cases(settings, tmp_path / "database.json")
    names = list(database.concepts())
    assert len(names) == 6 and len(cases) == 12
    for case in cases:
        at = names.index(case.name)
        assert names.index(case.like) == at ^ 1 and case.other not in (case.name, case.like)
        assert [name for _, name in case.pairs()] == [case.name, case.other, case.like]
    again, same = toy_cases(settings, tmp_path / "again" / "database.json")
    assert list(again.concepts()) == names
    assert [c.picture.tobytes() for c in same] == [c.picture.tobytes() for c in cases]
    told = [c.info.strip("<>") for c in database.concepts().values()]
    assert told == names, "nothing but the names is told in words"


def test_of_folders_the_first_photo_is_the_reference(tmp_path):
    for subject, photos in {"bo": 3, "mia": 2, "one": 1}.items():
        (tmp_path / "photos" / subject).mkdir(parents=True)
        for i in range(photos):
            rng = random.Random(f"{subject}-{i}")
            picture = compose(rng, [draw_identity(rng, held_out=True)], 64).image
            picture.save(tmp_path / "photos" / subject / f"{i}.png")
    settings = LadderSettings(root=str(tmp_path / "photos"))
    database, cases = photo_cases(settings, tmp_path / "database.json")
    assert {n: c.images for n, c in database.concepts().items()} == {
        "bo": ("bo/0.png",),
        "mia": ("mia/0.png",),
    }
    assert [(c.name, c.picture.name, c.like, c.other) for c in cases] == [
        ("bo", "1.png", None, "mia"),
        ("bo", "2.png", None, "mia"),
        ("mia", "1.png", None, "bo"),
    ]
    settings.root = str(tmp_path / "photos" / "bo")
    with pytest.raises(InputError):
        photo_cases(settings, tmp_path / "other.json")


def test_every_rung_is_measured_and_compared_with_the_one_before(tmp_path, capsys):
    main(["--toys", "4", "--queries", "1", "--k", "2", "--out", str(tmp_path)])
    said = json.loads((tmp_path / "ladder.json").read_text())
    assert list(said["rungs"]) == [
        "in-context",
        "visual",
        "+ text",
        "+ reasoning",
        "+ verification",
        "+ pairwise",
    ]
    assert said["fingerprints"] == {"read": 4, "problems": {}}
    for label, rung in said["rungs"].items():
        assert ("weighted, in-context" in rung) == (label != "in-context")
        assert ("weighted, rung" in rung) == (label not in ("in-context", "visual"))
        both = (rung["negative"]["value"] + rung["hard negative"]["value"]) / 2
        assert rung["weighted"]["value"] == pytest.approx((rung["positive"]["value"] + both) / 2)
        if label != "in-context":
            assert sum(rung["decided"].values()) == 4
    last = said["rungs"]["+ pairwise"]
    assert last["weighted, rung"]["value"] == pytest.approx(
        last["weighted"]["value"] - said["rungs"]["+ verification"]["weighted"]["value"]
    )
    outputs = [json.loads(line) for line in (tmp_path / "outputs.jsonl").read_text().splitlines()]
    right = sum(o["true"] == o["found"] for o in outputs)
    assert right / 4 == last["identification"]["value"] and outputs[0]["reply"]
    assert "next: less" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--toys", "5"], "toys must be an even number from 4 on, not 5"),
        (["--queries", "0"], "queries start at 1"),
        (["--k", "0"], "k must be between 1 and 10"),
        (["--prompts", "nowhere.yaml"], "nowhere.yaml"),
        (["--root", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_measured_is_refused(argv, sentence):
    with pytest.raises(SystemExit, match=sentence):
        main(argv)
