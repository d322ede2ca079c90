"""Recognition: lists and conversations become yes-or-no questions."""

import json

import pytest

from benchmarks.published.recognition import Recognition, RecognitionSettings
from data_gen.files.errors import InputError
from tests.benchmarks.published_files import make_files, recognition, save
from tests.places import SHARED


@pytest.fixture
def files(tmp_path):
    return make_files(tmp_path)


def questions(root, images, file="recognition.json", database=None):
    return Recognition(
        RecognitionSettings(
            path=str(root / file), database=database and str(root / database), images=images
        )
    )


def test_contradictory_and_repeated_questions_are_skipped(files):
    root, images = files
    rows = json.loads((root / "recognition.json").read_text())
    rows += [
        {**rows[0], "type": "negative"},
        rows[1],
        None,
        {**rows[2], "correct_answer": 3},
        {**rows[3], "question": ""},
        recognition("./data/none.png", "bo", True),
    ]
    save(root / "recognition.json", rows)
    found = questions(root, images, database="database.json")
    asked = found.all_questions
    assert len(asked) == 16
    assert [q.answer for q in asked].count("yes") == 4
    assert found.skipped.places("type that contradicts the answer") == ["row 16"]
    assert found.skipped["question that is asked twice"] == 1 and len(found.skipped.counts) == 6
    assert asked[0].text == "Is <bo> in this image?"
    assert asked[1].references[0].name == "mia"
    assert not questions(root, images).all_questions[0].references


def test_conversations_ask_too(files):
    root, images = files
    save(
        root / "talk.json",
        {
            "./data/bo_0.png": [
                {"Human": "Do you see <bo>?", "AI": "Yes, I do."},
                {"Human": "Is <mia> here?", "AI": "No."},
                {"Human": "Do you see <bo>?", "AI": "Yes."},
                {"Human": "What is <bo>?", "AI": "A dog."},
            ]
        },
    )
    found = questions(root, images, "talk.json")
    assert [(q.text, q.answer) for q in found.all_questions] == [
        ("Do you see <bo>?", "yes"),
        ("Is <mia> here?", "no"),
    ]
    assert found.skipped.total == 2


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="no sample data beside the repository")
def test_the_sample_conversations():
    with pytest.raises(InputError, match="missing on disk"):
        questions(SHARED / "yollava", str(SHARED), "bo-recognition_positive.json")
