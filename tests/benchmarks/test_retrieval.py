"""The retrieval benchmark: one JSON object, figures that follow from what is measured."""

import json

import pytest
from PIL import Image

from benchmarks.retrieval import main
from tests.concepts.tiny_encoders import save_dinov2


def test_search_is_timed_for_every_size_exact_beside_approximate(capsys):
    main(["speed", "--concepts", "30", "5000", "--dim", "16", "--queries", "20"])
    small, large = json.loads(capsys.readouterr().out)["sizes"]
    assert small["concepts"] == 30 and "ivf" not in small and small["flat"]["finds_concept"] > 0.5
    assert large["flat"]["finds_10_nearest_of_flat"] == 1
    assert large["ivf"]["looked_into"] < large["ivf"]["cells"] == 70
    assert 0.3 < large["ivf"]["finds_10_nearest_of_flat"] <= 1


def test_edits_are_timed_here_and_from_elsewhere(capsys):
    main(["edits", "--concepts", "40", "--dim", "8"])
    (found,) = json.loads(capsys.readouterr().out)["sizes"]
    assert found["concepts"] == 40
    for key in ("edit", "next_query", "next_query_other"):
        assert 0 < found[f"{key}_median_ms"] <= found[f"{key}_most_ms"]


def test_leaving_one_out_finds_plates_but_no_subject_with_one_photo(tmp_path, capsys):
    root = tmp_path / "photos"
    for name, colour in (("a", "red"), ("b", "blue"), ("c", "white")):
        (root / name).mkdir(parents=True)
        for i in range(2):  # a corner is dark, another in each photo: they are no near copies
            plate = Image.new("RGB", (40, 40), colour)
            plate.paste("black", (20 * i, 0, 20 * i + 12, 20))
            plate.save(root / name / f"{i}.png")
    (root / "d").mkdir()
    Image.new("RGB", (40, 40), "green").save(root / "d" / "0.png")
    (root / "d" / "1.png").write_text("no photo")
    (tmp_path / "encoder").mkdir()
    arguments = ["recall", "--root", str(root), "--encoder", str(save_dinov2(tmp_path / "encoder"))]
    capsys.readouterr()  # what libraries say when they are first imported
    for regions in ([], ["--regions"]):
        main([*arguments, *regions])
        found = json.loads(capsys.readouterr().out)
        assert found["recall"] == {"@1": 1.0, "@2": 1.0, "@4": 1.0, "@5": 1.0}
        assert (found["photos"], found["asked"], found["subjects"]) == (7, 6, 4)
        assert found["skipped"] == {"not an image": 1}


def test_toys_are_found_again_among_toys(capsys):
    main(["recall", "--toys", "12", "--encoder", "toybox_clip"])
    found = json.loads(capsys.readouterr().out)
    assert (found["photos"], found["asked"], found["subjects"]) == (60, 60, 12)
    assert found["recall"]["@1"] > 0.8


def test_what_cannot_be_measured_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    for arguments, says in [
        (["recall", "--root", str(tmp_path / "empty"), "--encoder", "imagenet"], "no usable photo"),
        (["speed", "--concepts", "0"], "start at 1"),
        (["edits", "--concepts", "1"], "2 concepts or more"),
    ]:
        with pytest.raises(SystemExit, match=says):
            main(arguments)
