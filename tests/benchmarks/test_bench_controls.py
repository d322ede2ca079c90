"""Controls change one part of a question and leave the others."""

import pytest
from published_files import make_files

from benchmarks.harness.question import open_rows
from benchmarks.harness.table import beside, tabulate
from benchmarks.metrics.intervals import ratio
from benchmarks.published.controls import CONTROLS, SENSIBLE, control_sets
from benchmarks.published.multiple_choice import choice_questions
from benchmarks.published.naming import naming_questions
from benchmarks.published.recognition import recognition_questions
from concepts.methods.prompting import as_row, load_words
from data_gen.files.settings import BenchmarkError
from data_gen.rows import check_row


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    root, images = make_files(tmp_path_factory.mktemp("published"))
    words, database = load_words(), root / "database.json"
    return {
        "naming": naming_questions(root / "queries.json", database, images, words).questions,
        "recognition": recognition_questions(root / "recognition.json", database,
                                             images).questions,
        "choices": choice_questions(root / "visual.json", database, images).questions,
        "text": choice_questions(root / "text.json", None, images).questions,
    }


def test_absent_the_picture_is_of_somebody_else(asked):
    found = CONTROLS["absent"](asked["naming"])
    assert len(found) == len(asked["naming"])
    for before, after in zip(asked["naming"], found, strict=True):
        assert not after.names and after.absent_names == before.names
        assert after.references == before.references and after.request == before.request
        assert before.names[0] not in after.query.name and after.id != before.id


def test_wrong_the_name_stands_beside_somebody_else(asked):
    for before, after in zip(asked["naming"], CONTROLS["wrong"](asked["naming"]), strict=True):
        reference = after.references[0]
        assert reference.name == before.names[0] and after.query == before.query
        assert reference.image != before.references[0].image
        assert reference.info == f"<{reference.name}> is round."
        assert not after.names and after.absent_names == before.names
    found = CONTROLS["wrong"](asked["recognition"])
    assert len(found) == 4 and {q.answer for q in found} == {"no"}


def test_without_references_what_is_due_stays_due(asked):
    for kind in ("naming", "recognition", "choices"):
        for before, after in zip(asked[kind], CONTROLS["none"](asked[kind]), strict=True):
            assert not after.references and after.query == before.query
            assert (after.names, after.answer, after.correct) == (
                before.names, before.answer, before.correct)
    blind = CONTROLS["blind"](asked["choices"])
    assert len(blind) == 4 and all(q.query is None for q in blind)
    assert CONTROLS["none"](asked["text"]) == [] == CONTROLS["blind"](asked["text"])


def test_they_are_rows_and_the_same_each_time(asked):
    words = load_words()
    for kind in ("naming", "recognition", "choices"):
        names = SENSIBLE[asked[kind][0].task]
        found = control_sets(asked[kind], names, seed=3)
        assert set(found) == set(names)
        assert found == control_sets(asked[kind], names, seed=3)
        for questions in found.values():
            for question in questions:
                check_row(as_row(question, words))
            left_out = {}
            assert len(list(open_rows(questions, words, left_out))) == len(questions)
            assert not left_out
    assert control_sets(asked["naming"], ["absent"], 1) != control_sets(
        asked["naming"], ["absent"], 2)
    with pytest.raises(BenchmarkError, match="no control 'blind'; it has absent, wrong, none"):
        control_sets(asked["naming"], ["blind"])


def test_one_concept_alone_has_nobody_to_be_taken_for(asked):
    alone = [q for q in asked["naming"] if q.names == ("bo",)]
    assert list(control_sets(alone, ["absent", "wrong", "none"])) == ["none"]


def test_the_table_shows_controls_beside_the_score():
    metrics = {"naming/f1": ratio([1, 1]), "naming_absent/names_given": ratio([0, 1])}
    result = tabulate({"base": metrics, "a|b": metrics},
                      {"naming": "naming", "naming_absent": "naming, concept absent"})
    text = beside(result, {"F1": "naming/f1", "… concept absent": "naming_absent/names_given",
                           "… wrong reference": "naming_wrong/names_given"})
    lines = text.splitlines()
    assert lines[0] == "| policy | F1 | … concept absent | … wrong reference |"
    assert lines[2] == "| base | 100.0 [100.0, 100.0] | 50.0 [0.0, 100.0] | – |"
    assert lines[3].startswith("| a\\|b |")
