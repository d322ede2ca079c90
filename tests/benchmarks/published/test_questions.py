"""What the published benchmarks share: DreamBooth folders, refusals, any entry of a file."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmarks.formats.files import is_name
from benchmarks.published.multiple_choice import (
    MultipleChoice,
    MultipleChoiceSettings,
    choice_entry,
)
from benchmarks.published.naming import Naming, NamingSettings, name_groups
from benchmarks.published.recognition import Recognition, RecognitionSettings, recognition_entry
from data_gen.files.errors import InputError
from tests.benchmarks.published_files import NAMES, asked, make_files, save


def test_a_folder_of_subjects(tmp_path):
    for name in NAMES:
        for k in range(3):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.new("RGB", (32, 32), (k * 20, 9 * NAMES.index(name), 77)).save(
                tmp_path / name / f"0{k}.png"
            )
    questions = Naming(NamingSettings(path=str(tmp_path))).all_questions
    assert len(questions) == 8  # first photos are references
    assert all(
        q.references[0].image.parent == q.image.parent != q.image
        and q.references[0].image != q.image
        for q in questions
    )
    recognition = Recognition(RecognitionSettings(path=str(tmp_path)))
    questions = recognition.all_questions
    answers = [q.answer for q in questions]
    assert answers.count("yes") == answers.count("no") == 8
    for q in questions:
        assert (q.references[0].image.parent == q.image.parent) == (q.answer == "yes")
        assert f"<{q.references[0].name}>" in q.text
    rows, unopened = asked(recognition, questions)
    assert len(rows) == 16 and not unopened


@pytest.mark.parametrize("data", [{}, [], 7, {"./data/none.png": ["<bo>"]}])
def test_an_empty_benchmark_is_an_error(tmp_path, data):
    root, images = make_files(tmp_path)
    path = str(save(root / "q.json", data))
    for build in (
        lambda: Naming(
            NamingSettings(path=path, database=str(root / "database.json"), images=images)
        ),
        lambda: Recognition(RecognitionSettings(path=path, images=images)),
        lambda: MultipleChoice(MultipleChoiceSettings(path=path, images=images)),
    ):
        with pytest.raises(InputError, match=r"q\.json"):
            build()


leaves = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["image", "question", "concept", "type", "correct_answer", "options", "A"]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(values)
def test_any_entry_is_read_or_named(value):
    for read in (recognition_entry, choice_entry):
        assert isinstance(read(value), (tuple, str))
    assert all(isinstance(is_name(name), bool) for group in name_groups(value) for name in group)


def test_the_controls_of_a_few_questions_draw_on_all(tmp_path):
    root, images = make_files(tmp_path)

    def naming(limit=None, queries="queries.json"):
        return Naming(
            NamingSettings(
                path=str(root / queries),
                database=str(root / "database.json"),
                images=images,
                controls=["absent", "wrong", "none"],
            ),
            limit,
        )

    few, everything = naming(1), naming()
    assert {name: len(of) for name, of in few.sets.items()} == {
        "naming": 1,
        "naming_absent": 1,
        "naming_wrong": 1,
        "naming_none": 1,
    }
    assert few.sets["naming_absent"] == everything.sets["naming_absent"][:1]
    assert few.owned == everything.owned, "everything can be retrieved"
    save(root / "one.json", {"./data/bo_0.png": ["<bo>"]})
    alone = naming(queries="one.json")
    assert set(alone.sets) == {"naming", "naming_none"}
    assert alone.skipped.places("control without any question") == ["absent", "wrong"]
