"""RePIC's and RAP's own training rows: what becomes of them, and which defects are reported."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data_gen.files.errors import SourceError
from data_gen.rows import ICT, OCT, VLT, check_row
from data_gen.rows.indexed import Skipped
from data_gen.sources.released import Defect, read_entry, released_rows, tags

SIZE = 80, 40


@pytest.fixture
def folder(tmp_path) -> Path:
    for name, colour in (("ref.png", "red"), ("ref2.png", "lime"), ("query.png", "blue")):
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.new("RGB", SIZE, colour).save(tmp_path / "images" / name)
    return tmp_path


def repic(**changes) -> dict:
    return {
        "image": ["ref.png", "query.png"],
        "problem": "This is <bo>. Is <bo> in the second?",
        "solution": "yes",
        "accu_reward_method": "yes_no",
    } | changes


def rap(question="Can you see <bo> here?", said="Yes.", **changes) -> dict:
    return {
        "id": 1,
        "image": "query.png",
        "conversations": [
            {"from": "human", "value": "<image>\n" + question},
            {"from": "gpt", "value": said},
        ],
        "extra": {
            "ref.png": {"name": "bo", "info": "A dog.", "category": "dog"},
            "ref2.png": {"name": "mia", "info": "", "category": "cat"},
        },
        "type": "basic",
    } | changes


def write(folder: Path, rows: list, lines: bool = False) -> Path:
    path = folder / "train.json"
    path.write_text("\n".join(map(json.dumps, rows)) if lines else json.dumps(rows))
    return path


def indexed(folder: Path, rows: list, counts=None, **more):
    more = {"seed": 0, "size": 64, "report": lambda line: None} | more
    return released_rows(
        write(folder, rows, more.pop("lines", False)),
        folder / "images",
        counts=counts or {},
        **more,
    )


def the_row(folder: Path, row: dict, task: str, **more) -> dict:
    (found,) = indexed(folder, [row], {task: 1}, **more)
    check_row(found)
    return found


def shape(row: dict) -> list[str]:
    return [part["text"] or "|" for part in row["prompt"][0]["content"]]


# ---- RePIC ----


def test_repic_yes_or_no(folder):
    row = the_row(folder, repic(solution="No."), OCT)
    assert row["answer"] == "no" and row["names"] == [] and row["box"] is None
    assert [image.getpixel((3, 3)) for image in row["images"]] == [(255, 0, 0), (0, 0, 255)]
    assert shape(row) == ["|", "|", "This is <bo>. Is <bo> in the second? Answer only yes or no."]
    assert row["source"] == "released: train.json row 0"


def test_repic_box_in_pixels_of_its_picture(folder):
    row = the_row(
        folder,
        repic(
            image="query.png",
            problem="Where is <bo>?",
            solution=[8, 4, 40, 30],
            accu_reward_method="iou",
        ),
        VLT,
    )
    assert row["box"] == pytest.approx([0.1, 0.1, 0.5, 0.75])
    assert "bbox_2d" in shape(row)[-1] and len(row["images"]) == 1


def test_repic_names(folder):
    one = the_row(
        folder,
        repic(
            problem="<bo> is shown. Caption the second.",
            solution="<bo>",
            accu_reward_method="yes_no_name",
        ),
        ICT,
    )
    assert one["names"] == ["bo"] and one["absent_names"] == []
    several = the_row(
        folder,
        repic(
            image=["ref.png", "ref2.png", "query.png"],
            problem="<image>It is <black widow>.<image>It is <mia>; <zoe> too.<image>What is here?",
            solution=["<black widow>", "<mia>"],
            accu_reward_method="yes_no_name_multi",
        ),
        ICT,
    )
    assert several["names"] == ["black widow", "mia"] and several["absent_names"] == ["zoe"]
    assert shape(several)[:4] == ["|", "It is <black widow>.", "|", "It is <mia>; <zoe> too."]


# ---- RAP ----


def test_rap_presence_is_object_consistency(folder):
    row = the_row(folder, rap(said="No, <bo> is not."), OCT)
    assert row["answer"] == "no"
    assert shape(row) == [
        "|",
        "1. <bo>: A dog.\n",
        "|",
        "2. <mia>\n",
        "|",
        "Can you see <bo> here? Answer only yes or no.",
    ]
    assert row["images"][-1].getpixel((3, 3)) == (0, 0, 255), "the query comes last"


@pytest.mark.parametrize(
    ("question", "presence"),
    [
        ("Is <bo> in this photo?", True),
        ("Does this image show <bo>?", True),
        ("Can you recognize <bo>?", True),
        ("Is <bo> clearly visible?", True),
        ("Does <bo> appear here?", True),
        ("Does <bo> wear shoes?", False),
        ("Is <bo> happy?", False),
        ("Is the dog sitting?", False),
    ],
)
def test_questions_about_traits_are_no_object_consistency(question, presence):
    if presence:
        assert read_entry(rap(question)).task == OCT
    else:
        with pytest.raises(Defect, match="yes or no about a trait"):
            read_entry(rap(question))


def test_rap_captions_tell_who_is_there_and_who_is_not(folder):
    row = the_row(folder, rap("Describe it.", "<bo> sits on a mat."), ICT, targets=True)
    assert (row["names"], row["absent_names"]) == (["bo"], ["mia"])
    assert row["target"] == "<bo> sits on a mat."


@pytest.mark.parametrize(
    ("frame", "box"), [("image", [0.25, 0.5, 0.5, 0.75]), ("square", [0.25, 0.5, 0.5, 1.0])]
)
def test_rap_boxes_are_shares_of_the_picture_or_of_its_square(folder, frame, box):
    row = the_row(
        folder, rap("Where is <mia>?", "It is at [0.25, 0.5, 0.50, 0.75]."), VLT, box_frame=frame
    )
    assert row["box"] == pytest.approx(box)


# ---- defects ----


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ("x", "row that is no object"),
        ({"a": 1}, "row of unknown schema"),
        (repic(image=None), "row without an image"),
        (repic(image=[]), "row without an image"),
        (repic(problem=" "), "problem that is no text"),
        (repic(problem="<image> only one"), "another number of images than of placeholders"),
        (repic(accu_reward_method=None), "unknown accu_reward_method"),
        (repic(accu_reward_method="llm"), "unknown accu_reward_method"),
        (repic(solution="I know"), "solution that is neither yes nor no"),
        (repic(solution=True), "solution that is neither yes nor no"),
        (repic(image="query.png"), "yes or no about a single image"),
        (repic(solution=[1, 2, 3], accu_reward_method="iou"), "solution that is no box"),
        (repic(solution=[9, 9, 3, 3], accu_reward_method="iou"), "inverted or empty box"),
        (
            repic(solution="<zoe>", accu_reward_method="yes_no_name"),
            "name that the problem does not g",
        ),
        (repic(solution=[], accu_reward_method="yes_no_name_multi"), "solution that is no name"),
        (
            repic(
                problem="<bo> <BO>",
                solution=["<bo>", "<BO>"],
                accu_reward_method="yes_no_name_multi",
            ),
            "name that is given twice",
        ),
        (rap(image=None), "row without an image"),
        (rap(extra={}), "row without a reference"),
        (rap(extra={"ref.png": {"info": "x"}}), "reference without a name"),
        (
            rap(conversations=[{"from": "gpt", "value": "hi"}]),
            "conversation that does not go human, g",
        ),
        (rap(" "), "question without words"),
        (rap("Is <D> in this photo?"), "name without a reference"),
        (rap("Where?", "At [0.1, 0.1, 0.2, 0.2]."), "box of no name, or of several"),
        (rap("Describe it.", "A dog."), "answer without a name"),
        (rap("Describe it.", "<zoe> sleeps."), "answer with a name without a reference"),
    ],
)
def test_defects_have_their_reasons(item, reason):
    with pytest.raises(Defect, match=reason):
        read_entry(item)


def test_defects_are_counted_and_the_rest_is_used(folder):
    rows = [
        repic(),
        repic(solution="maybe"),
        rap(),
        repic(image=["gone.png", "query.png"]),
        "x",
        repic(accu_reward_method="llm"),
        repic(accu_reward_method="llm"),
    ]
    lines = []
    made = indexed(folder, rows, {OCT: 2}, report=lines.append)
    assert lines == [
        "released: 2 rows used; skipped 5: 2 unknown accu_reward_method (row 5, "
        "row 6), 1 solution that is neither yes nor no (row 1), 1 row that is no object "
        "(row 4), 1 image missing on disk (row 3: gone.png)"
    ]
    assert made.skipped.total == 5 and len(list(made)) == 2


def test_what_only_the_picture_tells_skips_the_row(folder):
    box = repic(image="query.png", accu_reward_method="iou")
    (folder / "images" / "half.png").write_bytes((folder / "images/ref.png").read_bytes()[:40])
    rows = [
        box | {"solution": [10, 10, 90, 30]},
        box | {"solution": [1, 1, 9, 9]},
        box | {"solution": [1, 1, 9, 9], "image": "half.png"},
    ]
    made = indexed(folder, rows, {VLT: 3})
    rows = [made.make(VLT, i) for i in range(3)]
    skipped = sorted(row.reason for row in rows if isinstance(row, Skipped))
    assert skipped == ["box outside its image", "damaged"] and len(rows) == 3


@pytest.mark.parametrize("lines", [True, False])
def test_the_order_is_the_seeds_and_any_row_comes_by_itself(folder, lines):
    rows = [repic(problem=f"<bo> {i}?") for i in range(30)]
    first = indexed(folder, rows, {OCT: 30}, lines=lines)
    sources = [first.make(OCT, i)["source"] for i in range(30)]
    assert len(set(sources)) == 30 and sources != sorted(sources)
    few = indexed(folder, rows, {OCT: 5}, lines=lines)
    assert [few.make(OCT, i)["source"] for i in (4, 0)] == [sources[4], sources[0]]
    other = indexed(folder, rows, {OCT: 30}, seed=1, lines=lines)
    assert [other.make(OCT, i)["source"] for i in range(30)] != sources


@pytest.mark.parametrize(
    ("counts", "more", "sentence"),
    [
        ({OCT: 3}, {}, f"1 usable rows of {OCT}, 3 asked for; lower counts"),
        ({"dance": 1}, {}, "there is no 'dance'"),
        ({OCT: 1}, {"box_frame": "thirds"}, "box_frame must be image or square"),
        ({OCT: 1}, {"size": 3}, "size must be"),
        ({OCT: 1}, {"targets": True}, "0 usable rows .*row without an answer to imitate"),
    ],
)
def test_what_is_impossible_is_said_in_one_sentence(folder, counts, more, sentence):
    with pytest.raises(SourceError, match=sentence):
        indexed(folder, [repic()], counts, **more)
    with pytest.raises(SourceError, match="elsewhere is no folder"):
        released_rows(folder / "train.json", "elsewhere", seed=0, counts={OCT: 1})


anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([repic(), rap(), repic(accu_reward_method="iou")]), st.data())
def test_whatever_a_row_holds_it_is_an_entry_or_a_defect(item, data):
    key = data.draw(st.sampled_from(sorted(item)))
    try:
        entry = read_entry(item | {key: data.draw(anything)})
        assert len(entry.texts) == len(entry.images) + 1
    except Defect as reason:
        assert str(reason)


@given(st.text())
def test_tags_are_names(text):
    assert all(name and not set(name) & set("<>") for name in tags(text))
    assert tags("<bo> and <black widow>, <image>, </bo>, < bo >") == ["bo", "black widow"]
