"""Controls change one part of a question and leave the others."""

import pytest

from benchmarks.published.controls import CONTROLS, SENSIBLE, control_sets
from benchmarks.published.multiple_choice import MultipleChoice, MultipleChoiceSettings
from benchmarks.published.naming import Naming, NamingSettings
from benchmarks.published.recognition import Recognition, RecognitionSettings
from data_gen.files.errors import InputError
from tests.benchmarks.published_files import asked as rows_of
from tests.benchmarks.published_files import make_files


@pytest.fixture(scope="module")
def benchmarks(tmp_path_factory):
    root, images = make_files(tmp_path_factory.mktemp("published"))
    given = {"database": str(root / "database.json"), "images": images}
    return {
        "naming": Naming(NamingSettings(path=str(root / "queries.json"), **given)),
        "recognition": Recognition(
            RecognitionSettings(path=str(root / "recognition.json"), **given)
        ),
        "multiple_choice": MultipleChoice(
            MultipleChoiceSettings(path=str(root / "visual.json"), **given)
        ),
        "text": MultipleChoice(MultipleChoiceSettings(path=str(root / "text.json"), images=images)),
    }


@pytest.fixture(scope="module")
def asked(benchmarks):
    return {name: benchmark.all_questions for name, benchmark in benchmarks.items()}


def test_absent_the_image_shows_another_concept(asked):
    found = CONTROLS["absent"](asked["naming"])
    assert len(found) == len(asked["naming"])
    for before, after in zip(asked["naming"], found, strict=True):
        assert not after.names and after.absent_names == before.names
        assert after.references == before.references and after.text == before.text
        assert before.names[0] not in after.image.name and after.id != before.id


def test_wrong_the_name_stands_beside_another_concept(asked):
    for before, after in zip(asked["naming"], CONTROLS["wrong"](asked["naming"]), strict=True):
        reference = after.references[0]
        assert reference.name == before.names[0] and after.image == before.image
        assert reference.image != before.references[0].image
        assert reference.info == f"<{reference.name}> is round."
        assert not after.names and after.absent_names == before.names
    found = CONTROLS["wrong"](asked["recognition"])
    assert len(found) == 4 and {q.answer for q in found} == {"no"}


def test_without_references_expected_names_stay_expected(asked):
    for kind in ("naming", "recognition", "multiple_choice"):
        for before, after in zip(asked[kind], CONTROLS["none"](asked[kind]), strict=True):
            assert after.references == () and after.image == before.image
            assert (after.names, after.answer, after.correct) == (
                before.names,
                before.answer,
                before.correct,
            )
    blind = CONTROLS["blind"](asked["multiple_choice"])
    assert len(blind) == 4 and all(q.image is None for q in blind)
    assert CONTROLS["none"](asked["text"]) == [] == CONTROLS["blind"](asked["text"])


def test_they_are_rows_and_the_same_each_time(benchmarks, asked):
    for kind in ("naming", "recognition", "multiple_choice"):
        names = SENSIBLE[asked[kind][0].task]
        found = control_sets(asked[kind], names, seed=3)
        assert set(found) == set(names)
        assert found == control_sets(asked[kind], names, seed=3)
        for questions in found.values():
            rows, unopened = rows_of(benchmarks[kind], questions)
            assert len(rows) == len(questions) and not unopened
    assert control_sets(asked["naming"], ["absent"], 1) != control_sets(
        asked["naming"], ["absent"], 2
    )
    with pytest.raises(InputError, match="no control 'blind'; it has absent, wrong, none"):
        control_sets(asked["naming"], ["blind"])


def test_with_one_concept_alone_there_is_no_other_to_show(asked):
    alone = [q for q in asked["naming"] if q.names == ("bo",)]
    assert list(control_sets(alone, ["absent", "wrong", "none"])) == ["none"]
