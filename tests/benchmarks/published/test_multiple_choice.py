"""Multiple choice: options are shuffled by the seed; broken entries are named."""

import pytest

from benchmarks.published.multiple_choice import MultipleChoice, MultipleChoiceSettings
from tests.benchmarks.published_files import asked, choice, make_files, save
from tests.places import SHARED


@pytest.fixture
def files(tmp_path):
    return make_files(tmp_path)


def visual(root, images, **settings):
    return MultipleChoice(
        MultipleChoiceSettings(
            path=str(root / "visual.json"),
            database=str(root / "database.json"),
            images=images,
            **settings,
        )
    )


def text(root, images):
    return MultipleChoice(MultipleChoiceSettings(path=str(root / "text.json"), images=images))


def test_options_are_shuffled_by_the_seed(files):
    found = [visual(*files, seed=seed) for seed in range(8)]
    assert {q.correct for benchmark in found for q in benchmark.all_questions} == {0, 1}
    first = found[0].all_questions[0]
    for question in found[0].all_questions:
        assert question.options[question.correct] == "A cat"
    assert visual(*files, seed=3).all_questions == found[3].all_questions
    assert first.text == "What is <bo>?"
    (row, *_), _ = asked(found[0], found[0].all_questions)
    assert "A. " in row["prompt"][1]["content"][-1]["text"] and row["options"]
    words = text(*files)
    question = words.all_questions[0]
    assert question.image is None and question.text == "Is <bo>'s hat round?"
    assert asked(words, [question])[0][0]["images"] == []


def test_broken_questions_are_named(files):
    root, images = files
    good = choice("What is sks?", "option")
    save(
        root / "text.json",
        {
            "bo": {
                "0": good,
                "1": {**good, "correct_answer": "C"},
                "2": {**good, "option": {"A": "x"}},
                "3": {**good, "option": {"A": "x", "B": "X"}},
                "4": {**good, "question": None},
                "5": 7,
            },
            "mia": [],
        },
    )
    found = text(root, images)
    assert len(found.all_questions) == 1
    assert found.skipped.counts == {
        "right answer that is no option": 1,
        "question without options": 1,
        "options that are empty or alike": 1,
        "question without words": 2,
        "concept without questions": 1,
    }


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="no sample data beside the repository")
def test_the_sample_questions():
    blind = MultipleChoice(
        MultipleChoiceSettings(
            path=str(SHARED / "yollava" / "visual-qa.json"), images=str(SHARED), visual=False
        )
    )
    assert len(blind.all_questions) == 170 and not blind.skipped
