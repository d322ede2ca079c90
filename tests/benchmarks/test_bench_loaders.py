"""Published files become questions and rows; what is wrong with an entry is counted and named."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from published_files import NAMES, choice, make_files, recognition, save

from benchmarks.formats.files import find_picture, is_name, read_json
from benchmarks.harness.question import open_rows
from benchmarks.published.loading import dreambooth_questions
from benchmarks.published.localization import localization_rows
from benchmarks.published.multiple_choice import choice_entry, choice_questions
from benchmarks.published.naming import name_groups, naming_questions
from benchmarks.published.recognition import recognition_entry, recognition_questions
from concepts.methods.prompting import as_row, load_words
from data_gen.files.settings import BenchmarkError
from data_gen.rows import OCT, VLT, check_row

SHARED = Path(__file__).parents[3] / "shared" / "data"
shared = pytest.mark.skipif(not SHARED.is_dir(), reason="no sample data beside the repository")


@pytest.fixture
def files(tmp_path):
    return make_files(tmp_path)


@pytest.fixture(scope="module")
def words():
    return load_words()


def counts(benchmark):
    return {reason: len(where) for reason, where in benchmark.left_out.items()}


def test_naming_hands_the_true_references_over(files, words):
    root, images = files
    found = naming_questions(root / "queries.json", root / "database.json", images, words)
    assert len(found.questions) == 8 and not found.left_out
    first = found.questions[0]
    assert first.names == ("bo",) and first.references[0].info == "<bo> is round."
    row = as_row(first, words)
    check_row(row)
    said = [part["text"] for part in row["prompt"][1]["content"]]
    assert said[0] is None and "<bo>" in said[1] and said[2] is None and first.request in said[3]
    assert row["prompt"][0]["role"] == "system"
    assert [Path(image["path"]).name for image in row["images"]] == ["bo.png", "bo_0.png"]
    opened = list(open_rows(found.questions, words, {}, size=20))
    assert opened[0]["images"][1].size == (20, 15)


def test_several_concepts_and_several_questions_about_one_picture(files, words):
    root, images = files
    save(root / "four.json", {
        "./data/bo_0.png": [["<bo>", "<mia>", "<kim>", "<tom>"], ["<bo>", "<mia>"],
                            ["<bo>", "<mia>"]],
        "./data/mia_0.png": ["<mia>", "<MIA>"], "./data/kim_0.png": "<kim>"})
    found = naming_questions(root / "four.json", root / "database.json", images, words)
    assert [len(q.names) for q in found.questions] == [4, 2, 1]
    assert len(as_row(found.questions[0], words)["images"]) == 5
    assert len({q.id for q in found.questions}) == 3
    assert found.left_out["picture with the same names again"] == ["./data/bo_0.png"]
    assert sum(counts(found).values()) == 2


def test_what_is_missing_or_wrong_is_named(files, words):
    root, images = files
    database = json.loads((root / "database.json").read_text())
    database["concept_dict"] |= {"<x>": None, "<gone>": {"image": "./data/gone.png"}}
    save(root / "database.json", database)
    save(root / "queries.json", {
        "./data/bo_0.png": ["<bo>"], "./data/bo_9.png": ["<bo>"], "./data/mia_0.png": ["<eve>"],
        "./data/mia_1.png": [], "./data/kim_0.png": [None], "./data/kim_1.png": ["<gone>"],
        "./data/torn.png": ["<tom>"], "../../../etc/passwd": ["<tom>"]})
    found = naming_questions(root / "queries.json", root / "database.json", images, words)
    assert [q.names for q in found.questions] == [("bo",), ("tom",)]
    assert found.left_out["picture missing on disk"] == ["./data/bo_9.png", "../../../etc/passwd"]
    assert found.left_out["name that the database lacks"] == ["./data/mia_0.png: eve"]
    assert counts(found)["picture without names"] == 2
    assert counts(found)["reference picture missing on disk"] == 1
    assert counts(found)["database: the entry is no JSON object"] == 1
    rows = list(open_rows(found.questions, words, found.left_out))
    assert len(rows) == 1
    torn = next(r for r in found.left_out if r.startswith("picture that does not open"))
    assert "torn.png" in found.left_out[torn][0]


def test_contradictory_and_repeated_questions_are_dropped(files):
    root, images = files
    rows = json.loads((root / "recognition.json").read_text())
    rows += [{**rows[0], "type": "negative"}, rows[1], None, {**rows[2], "correct_answer": 3},
             {**rows[3], "question": ""}, recognition("./data/none.png", "bo", True)]
    save(root / "recognition.json", rows)
    found = recognition_questions(root / "recognition.json", root / "database.json", images)
    assert len(found.questions) == 16
    assert [q.answer for q in found.questions].count("yes") == 4
    assert found.left_out["type that contradicts the answer"] == ["row 16"]
    assert counts(found)["question that is asked twice"] == 1 and len(found.left_out) == 6
    assert found.questions[0].request == "Is <bo> in this image?"
    assert found.questions[1].references[0].name == "mia"
    bare = recognition_questions(root / "recognition.json", None, images)
    assert not bare.questions[0].references


def test_conversations_ask_too(files):
    root, images = files
    save(root / "talk.json", {"./data/bo_0.png": [
        {"Human": "Do you see <bo>?", "AI": "Yes, I do."}, {"Human": "Is <mia> here?", "AI": "No."},
        {"Human": "Do you see <bo>?", "AI": "Yes."}, {"Human": "What is <bo>?", "AI": "A dog."}]})
    found = recognition_questions(root / "talk.json", None, images)
    assert [(q.request, q.answer) for q in found.questions] == [
        ("Do you see <bo>?", "yes"), ("Is <mia> here?", "no")]
    assert sum(counts(found).values()) == 2


def test_options_are_shuffled_by_the_seed(files, words):
    root, images = files
    found = [choice_questions(root / "visual.json", root / "database.json", images, seed=s)
             for s in range(8)]
    assert {q.correct for benchmark in found for q in benchmark.questions} == {0, 1}
    for question in found[0].questions:
        assert question.options[question.correct] == "A cat"
    again = choice_questions(root / "visual.json", root / "database.json", images, seed=3)
    assert again.questions == found[3].questions
    assert found[0].questions[0].request == "What is <bo>?"
    row = as_row(found[0].questions[0], words)
    check_row(row)
    assert "A. " in row["prompt"][1]["content"][-1]["text"] and row["options"]
    text = choice_questions(root / "text.json", None, images)
    assert text.questions[0].query is None and text.questions[0].request == "Is <bo>'s hat round?"
    check_row(as_row(text.questions[0], words))


def test_broken_choices_are_named(files):
    root, images = files
    good = choice("What is sks?", "option")
    save(root / "text.json", {"bo": {
        "0": good, "1": {**good, "correct_answer": "C"}, "2": {**good, "option": {"A": "x"}},
        "3": {**good, "option": {"A": "x", "B": "X"}}, "4": {**good, "question": None}, "5": 7},
        "mia": []})
    found = choice_questions(root / "text.json", None, images)
    assert len(found.questions) == 1
    assert counts(found) == {
        "right answer that is no option": 1, "question without options": 1,
        "options that are empty or alike": 1, "question without words": 2,
        "concept without questions": 1}


def test_a_folder_of_subjects(tmp_path, words):
    for name in NAMES:
        for k in range(3):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.new("RGB", (32, 32), (k * 20, 9 * NAMES.index(name), 77)).save(
                tmp_path / name / f"0{k}.png")
    naming = dreambooth_questions(tmp_path, words)
    assert len(naming.questions) == 8  # first photos are references
    assert all(q.references[0].image.parent == q.query.parent != q.query
               and q.references[0].image != q.query for q in naming.questions)
    asked = dreambooth_questions(tmp_path, words, OCT).questions
    assert [q.answer for q in asked].count("yes") == [q.answer for q in asked].count("no") == 8
    for q in asked:
        assert (q.references[0].image.parent == q.query.parent) == (q.answer == "yes")
        assert f"<{q.references[0].name}>" in q.request
        check_row(as_row(q, words))


def test_boxes_come_from_detection_sets(tmp_path):
    picture = Image.new("RGB", (200, 200), "white")
    picture.paste("red", (20, 20, 100, 120))
    picture.save(tmp_path / "a.png")
    save(tmp_path / "coco.json", {
        "images": [{"id": 1, "file_name": "a.png", "width": 200, "height": 200}],
        "annotations": [{"id": 5, "image_id": 1, "category_id": 2, "bbox": [20, 20, 80, 100]},
                        {"id": 6, "image_id": 1, "category_id": 3, "bbox": [20, 20, 2, 2]}],
        "categories": [{"id": 2, "name": "ball"}, {"id": 3, "name": "cup"}]})
    left_out = {}
    row = next(localization_rows(tmp_path / "coco.json", tmp_path, 1, left_out,
                                 mirrored_share=0.0))
    assert row["task"] == VLT
    assert row["box"] == pytest.approx([0.1, 0.1, 0.5, 0.6], abs=0.01)
    assert list(left_out.values()) == [["coco.json"]]


@pytest.mark.parametrize("data", [{}, [], 7, {"./data/none.png": ["<bo>"]}])
def test_an_empty_benchmark_is_an_error(files, words, data):
    root, images = files
    path = save(root / "q.json", data)
    for load in (lambda: naming_questions(path, root / "database.json", images, words),
                 lambda: recognition_questions(path, None, images),
                 lambda: choice_questions(path, None, images)):
        with pytest.raises(BenchmarkError, match="q.json"):
            load()


def test_paths_stay_in_their_folder(tmp_path):
    (tmp_path / "in").mkdir()
    for place in ("out.png", "in/a.png"):
        (tmp_path / place).write_text("x")
    inside = str(tmp_path / "in")
    assert find_picture("./x/y/a.png", {"": inside}) == tmp_path / "in" / "a.png"
    assert find_picture("./x/a.png", {"./x": inside}) == tmp_path / "in" / "a.png"
    # Behind a beginning that fits, the path counts as it stands.
    assert find_picture("./x/y/a.png", {"x": inside}) is None
    for path in ("../out.png", "x/../../out.png", "/etc/passwd", "a\0.png", "", "y" * 400):
        assert find_picture(path, {"": inside, "x": inside}) is None


def test_a_key_that_stands_there_twice_counts_once(tmp_path):
    (tmp_path / "q.json").write_text('{"a": 1, "b": 2, "a": 3}')
    left_out = {}
    assert read_json(tmp_path / "q.json", left_out) == {"a": 1, "b": 2}
    assert left_out == {"key that stands there twice": ["a"]}


@pytest.mark.parametrize(("text", "sentence"), [
    ("naming: 1", "needs 'system'"), ("- 1", "needs 'system'"), ("a: [", "cannot be read"),
    ("identity_consistency: {system: '{x}'}", "needs 'system'")])
def test_prompts_that_lack_something(tmp_path, text, sentence):
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(BenchmarkError, match=sentence):
        load_words(tmp_path / "p.yaml")


leaves = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
    st.sampled_from(["image", "question", "concept", "type", "correct_answer", "options", "A"]),
    inner, max_size=6), max_leaves=12)


@settings(deadline=None)
@given(values)
def test_any_entry_is_read_or_told_of(value):
    for read in (recognition_entry, choice_entry):
        assert isinstance(read(value), (tuple, str))
    assert all(isinstance(is_name(name), bool) for group in name_groups(value) for name in group)


@shared
@pytest.mark.shared
def test_the_samples(words):
    repic = SHARED / "repic"
    found = naming_questions(
        repic / "queries_dreambooth.json", repic / "database_dreambooth.json",
        {"./data/dreambooth": SHARED / "dreambooth"}, words,
        pictures=str(SHARED / "dreambooth" / "{name}" / "00.jpg"))
    assert len(found.questions) == 128
    assert counts(found) == {"query that is its own reference": 30}
    with pytest.raises(BenchmarkError, match="82 picture missing on disk"):
        naming_questions(repic / "queries_2_concepts.json", None, {"": SHARED}, words)
    blind = choice_questions(SHARED / "yollava" / "visual-qa.json", None, {"": SHARED},
                             visual=False)
    assert len(blind.questions) == 170 and not blind.left_out
    with pytest.raises(BenchmarkError, match="missing on disk"):
        recognition_questions(SHARED / "yollava" / "bo-recognition_positive.json", None,
                              {"": SHARED})
