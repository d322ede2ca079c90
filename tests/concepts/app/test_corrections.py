"""A wrong answer becomes rows that training takes."""

import pytest
from PIL import Image

from concepts.app.corrections import Correction, CorrectionError, Corrections, box_of
from concepts.concept import Concept
from concepts.database import Database
from data_gen.rows import ICT, OCT, VLT
from data_gen.rows.reading import read_rows

RED = Image.new("RGB", (40, 30), "red")


@pytest.fixture
def corrections(tmp_path):
    database = Database(tmp_path / "database.json")
    for name, colour in (("bo", "red"), ("mia", "blue")):
        Image.new("RGB", (32, 32), colour).save(tmp_path / f"{name}.png")
        database.add(Concept(name, (f"{name}.png",), f"<{name}> is mine."))
    return Corrections(tmp_path / "kept", database)


def test_who_is_there_and_who_is_not_makes_yes_no_and_caption_rows(corrections):
    assert corrections.add([(RED, Correction(("bo",), ("mia",)))]) == 3
    rows = read_rows(corrections.rows)
    answers = {
        row["prompt"][-1]["content"][-1]["text"]: row["answer"] for row in rows.select((0, 1))
    }
    assert {answer for words, answer in answers.items() if "<bo>" in words} == {"yes"}
    assert {answer for words, answer in answers.items() if "<mia>" in words} == {"no"}
    caption = rows[2]
    assert (caption["task"], caption["names"], caption["absent_names"]) == (ICT, ["bo"], ["mia"])


def test_a_box_makes_a_localization_row(corrections):
    corrections.add([(RED, Correction(("bo",), (), {"bo": box_of([(0.9, 0.8), (0.1, 0.2)])}))])
    rows = [row for row in read_rows(corrections.rows) if row["task"] == VLT]
    assert [row["box"] for row in rows] == [[0.1, 0.2, 0.9, 0.8]]


def test_corrections_add_up_and_the_rows_are_the_same_however_often_they_are_made(corrections):
    corrections.add([(RED, Correction(("bo",)))])
    assert corrections.add([(RED, Correction((), ("mia",)))]) == 4
    before = [row["id"] for row in read_rows(corrections.rows)]
    assert corrections.write() == 4 and len(corrections) == 2
    assert [row["id"] for row in read_rows(corrections.rows)] == before


def test_a_concept_that_is_forgotten_leaves_no_row_and_a_renamed_one_keeps_them(corrections):
    corrections.add([(RED, Correction(("bo",), ("mia",)))])
    corrections.add([(RED, Correction(("bo",)))])
    corrections.database.rename("bo", "rex")
    corrections.rename("bo", "rex")
    rows = read_rows(corrections.rows)
    assert {name for row in rows if row["task"] == ICT for name in row["names"]} == {"rex"}
    corrections.forget("rex")
    assert len(corrections) == 1
    assert {row["task"] for row in read_rows(corrections.rows)} == {OCT, ICT}
    assert not any("rex" in str(row["prompt"]) for row in read_rows(corrections.rows))


@pytest.mark.parametrize(
    ("correction", "why"),
    [
        (Correction(()), "say who"),
        (Correction(("bo",), ("bo",)), "cannot be there and not there"),
        (Correction(("bo",), (), {"mia": (0, 0, 1, 1)}), "is not in the picture"),
        (Correction(("bo",), (), {"bo": (0.5, 0.5, 0.5, 0.9)}), "further apart"),
        (Correction(("bo",), (), {"bo": (-1, 0, 1, 1)}), "further apart"),
        (Correction(("bo",), (), {"bo": (0, 0, float("nan"), 1)}), "further apart"),
    ],
)
def test_what_cannot_be_true_is_refused(corrections, correction, why):
    with pytest.raises(CorrectionError, match=why):
        corrections.add([(RED, Correction(("bo",))), (RED, correction)])
    assert len(corrections) == 0


def test_a_box_has_two_corners():
    with pytest.raises(CorrectionError, match="two opposite corners"):
        box_of([(0.1, 0.1)])
