"""The table of tasks: a toy task goes through the row contract, the prompts and the row builder."""

import random
from pkgutil import resolve_name

import pytest
from PIL import Image

from data_gen.rows import ICT, OCT, VLT, RowError, check_row
from data_gen.rows.contract import TRUTH, Truth
from data_gen.tasks.builder import SourceRows
from data_gen.tasks.prompts import conversation, load_prompts
from data_gen.tasks.subjects import Source, Subject, View
from data_gen.tasks.table import TASKS, RowType, Task, add_task, row_type
from rewards.preference import TASK as PREFERENCE

COLOUR = "colour_choice"

TEMPLATES = {
    COLOUR: {
        "reference": ["This is {name}."],
        "ask": ["Which colour has {name}?"],
        "suffix": ["Answer A (red) or B (blue)."],
    }
}


def colour_row(rows: SourceRows, rng: random.Random, row_id: str, i: int) -> dict:
    """A row builder as a new task brings it."""
    view = rows.subjects[i].views[0]
    (reference,) = rows.renderer.references(rng, [(i, view)])
    return {
        "id": row_id,
        "task": COLOUR,
        "images": [reference.image, view.open()],
        "prompt": conversation(rng, COLOUR, [reference.name], [None], rows.templates),
        "answer": "AB"[i],
        "box": None,
        "names": [],
        "absent_names": [],
        "source": "test",
    }


@pytest.fixture
def colour_task():
    add_task(
        Task(COLOUR, Truth("answer", ("A", "B")), prompt_keys=(), build=f"{__name__}:colour_row")
    )
    yield TASKS[COLOUR]
    del TASKS[COLOUR], TRUTH[COLOUR]


def source() -> Source:
    def view(colour: str) -> View:
        return View(colour, lambda: Image.new("RGB", (32, 32), colour))

    return Source("made", [Subject(colour, (view(colour),)) for colour in ("red", "blue")])


def test_a_task_that_is_added_goes_through_contract_prompts_and_builder(colour_task):
    rows = SourceRows(source(), 0, templates=TEMPLATES)
    assert COLOUR in rows.tasks
    for i, answer in enumerate("AB"):
        row = rows.make(COLOUR, i)
        check_row(row)
        assert row["answer"] == answer and row["id"] == f"made-0-{COLOUR}-{i}"
        assert row["prompt"][0]["content"][-1]["text"].endswith("Answer A (red) or B (blue).")
        assert colour_task.row_type(row) == RowType(COLOUR, True)
        with pytest.raises(RowError, match="must be 'A' or 'B' in a row of colour_choice, not 'C'"):
            check_row(row | {"answer": "C"})
        with pytest.raises(RowError, match="column 'answer': is null in a row of colour_choice"):
            check_row(row | {"answer": None})


def test_a_task_that_nobody_added_may_have_any_answer():
    row = {
        "id": "a",
        "task": COLOUR,
        "prompt": [{"role": "user", "content": []}],
        "images": [],
        "answer": "C",
        "box": None,
        "names": [],
        "absent_names": [],
        "source": None,
    }
    check_row(row)
    check_row(row | {"answer": None})


def test_the_tasks_of_the_contract_are_in_the_table():
    assert list(TASKS) == [OCT, VLT, ICT, PREFERENCE]
    assert TASKS[OCT].answers == ("yes", "no") and TASKS[VLT].answers is None
    assert TASKS[PREFERENCE].answers == ("A", "B")
    assert {name: task.truth.column for name, task in TASKS.items()} == {
        OCT: "answer",
        VLT: "box",
        ICT: "names",
        PREFERENCE: "answer",
    }


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_the_import_strings_of_a_task_lead_somewhere(task):
    # Rows about users are not made from subjects, as sources have them.
    assert (task.build is None) == (task.name == PREFERENCE)
    for name in filter(None, (task.build, task.reward, task.benchmark)):
        assert callable(resolve_name(name))
    assert set(task.prompt_keys) <= set(load_prompts()[task.name])


def test_rows_without_images_are_of_another_type():
    text = {"type": "text", "text": "Who is <bo>?"}
    row = {"task": ICT, "prompt": [{"role": "user", "content": [text]}], "names": []}
    assert row_type(row) == RowType(ICT, False, expected=False)
    assert row_type(row | {"prompt": [{"role": "user", "content": "Hi"}]}).images is False


@pytest.mark.parametrize(
    ("task", "truth", "found"),
    [
        (OCT, {"answer": "yes"}, True),
        (OCT, {"answer": "no"}, False),
        (ICT, {"names": ["bo"]}, True),
        (ICT, {"names": []}, False),
        (VLT, {"box": [0.0, 0.0, 1.0, 1.0]}, None),
        ("dance", {"answer": "yes"}, None),
    ],
)
def test_rows_are_of_a_type_with_those_whose_answer_is_on_the_same_side(task, truth, found):
    row = {"task": task, "prompt": [], "answer": None, "names": [], **truth}
    assert row_type(row).expected is found
