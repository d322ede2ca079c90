"""Which part of a text is the answer, and in which forms a box is read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.harness.samples import name_marks
from benchmarks.metrics.intervals import value
from benchmarks.metrics.localization import localization_metrics
from benchmarks.metrics.multiple_choice import answered_option
from benchmarks.metrics.naming import count_names
from benchmarks.metrics.recognition import recognition_metrics
from concepts.app.marking import answer_html
from concepts.methods.protocol import Reply
from rewards import mention_f1, mention_ratio, object_consistency, visual_localization
from rewards.length import counted_length
from rewards.names import name_problem, names_written
from rewards.parsing import answer_in_place, answer_part, caption_text, one_box, yes_or_no
from rl.credit.names import is_silent
from tests.rewards.conftest import CAPTION

BOX = (10, 20, 30, 40)


@pytest.mark.parametrize(
    "text",
    [
        "(10,20),(30,40)",
        "<|box_start|>(10,20),(30,40)<|box_end|>",
        "<|object_ref_start|>the dog<|object_ref_end|><|box_start|>(10, 20), (30, 40)<|box_end|>",
        "( 10 , 20 )\n( 30.0 , 4e1 )",
        "[(10,20),(30,40)]",
        "[10，20，30，40]",
        "［10、20、30、40］",
        "【１０，２０，３０，４０】",
        "（10，20），（30，40）",
        "The point (5, 5) is beside it. It is at (10,20),(30,40).",
    ],
)
def test_boxes_as_other_models_write_them(text):
    assert one_box(text) == BOX


@pytest.mark.parametrize(
    "text",
    [
        "(10,20)",
        "(10,20),(30,40),(50,60)",  # a triangle
        "(10,20),(30,40),(50,60),(70,80)",  # two boxes
        "(10,20),(30,40) or (10,20),(30,40)",
        "(10,20),(30,40) [10,20,30,40]",
        "(10,20) to (30,40)",  # prose between: two points
        "(10,20),(30,40,50)",
        "(10,20),(a,b)",
        "(10，20，30)",
    ],
)
def test_points_that_are_not_one_box(text):
    assert one_box(text) is None


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("no", "no"),
        ("<think>maybe yes</think>no", "no"),
        ("<think>maybe yes</think>\n<answer>no</answer>", "no"),
        ("maybe yes</think><answer> no </answer>", "no"),  # the template opened the reasoning
        ("<answer>no</answer>", "no"),
        ("<THINK>yes?</THINK><Answer>no</Answer><|im_end|>", "no"),
        ("<answer>no", None),
        ("<think>no", None),  # it never ended
        ("no <think>yes</think>", None),  # reasoning after the answer
        ("<think>a</think><think>b</think>no", None),
        ("<answer>no</answer><answer>no</answer>", None),
        ("</answer>no<answer>", None),
        ("<think><answer>yes</answer></think>no", None),
        ("<think>a</think>yes<answer>no</answer>", None),  # one beside the tags, one in them
    ],
)
def test_the_answer_after_reasoning(text, answer):
    assert yes_or_no(answer_part(text)) == answer


def test_the_setting_says_which_part_counts():
    thought = "<think>yes</think><answer>no</answer>"
    assert answer_part(thought, "plain") == thought
    assert answer_part("no", "tagged") == "" and answer_part("<think>a</think>no", "tagged") == ""
    assert yes_or_no(answer_part(thought, "tagged")) == "no"


def test_rewards_and_benchmarks_read_alike(batch):
    """By one setting, in whichever form a policy answers."""
    forms = ["[250, 250, 500, 500]", "(250,250),(500,500)", "[250，250，500，500]"]
    texts = forms + [f"<think>[1, 2, 3, 4]?</think><answer>{form}</answer>" for form in forms]
    truth, frame = [0.25, 0.25, 0.5, 0.5], [1000, 1000]
    for answer_format, right in (("auto", 6), ("plain", 3), ("tagged", 3)):
        case = batch(texts, "visual_localization", box=truth, box_frame=frame)
        assert sum(visual_localization(**case, answer_format=answer_format)) == right
        found = localization_metrics(texts, [truth] * 6, [frame] * 6, answer_format=answer_format)
        assert value(found["iou50"]) == right / 6
    texts = ["yes", "<think>no</think>yes", "<think>no</think><answer>yes</answer>"]
    for answer_format, right in (("auto", 3), ("plain", 1), ("tagged", 1)):
        case = batch(texts, "object_consistency", answer="yes")
        assert sum(object_consistency(**case, answer_format=answer_format)) == right
        found = recognition_metrics(texts, ["yes"] * 3, answer_format=answer_format)
        assert value(found["positive"]) == right / 3
    assert answered_option("<think>A or B?</think><answer>B</answer>", ["dog", "cat"]) == 1


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("<bo> sits", {"bo"}),
        ("<think>is it <mila>?</think><bo> sits", {"bo"}),
        ("is it <mila>?</think><bo> sits", {"bo"}),
        ("<think><mila>?</think><answer><bo> sits</answer>", {"bo"}),
        ("<Think>Mila, Mila</THINK>Bo sits", {"bo"}),
        ("<think><mila> <bo></think>a dog sits", set()),
        ("<think><bo> sits", set()),
        ("<bo> <think>it is <mila></think>", set()),
        ("<think>a<think>b</think><mila></think><bo>", set()),
        ("<mila></think></think><bo>", set()),
    ],
)
def test_a_name_in_reasoning_is_not_in_the_caption(batch, text, names):
    """Rewards, metrics, files, credit and the page read one caption."""
    assert names_written(caption_text(text), ["bo", "mila"]) == names
    assert Reply("", text, 9).caption == answer_part(text)
    case = batch([text], "identity_consistency", names=["bo"], absent_names=["mila"])
    assert mention_ratio(**case, floor=0) == [float("bo" in names)]
    assert mention_f1(**case, floor=0) == [float("bo" in names)]
    found = count_names(text, ["bo"], ["mila"])
    assert (found.hits, found.extra) == (len(names), 0)
    marks = name_marks(text, ["bo"], ["mila"])
    assert {text[start:end].strip("<>").casefold() for start, end, _ in marks} == names
    assert is_silent(text, ["bo", "mila"]) == (not names)
    assert answer_html(text, ["bo"], ["bo", "mila"]).count("<mark") == len(names)


@given(st.text("<>/thinkanswer bo\n", max_size=60))
def test_an_answer_in_its_place_is_the_answer(text):
    placed = answer_in_place(text)
    assert len(placed) == len(text)
    assert placed.split() == answer_part(text).split()
    assert all(a in (b, " ") for a, b in zip(placed, text, strict=True))


def test_the_length_of_reasoning_is_no_length(batch):
    """Of 300 tokens a caption has the share of its words, and all if there is no reasoning."""
    ids, thought = [7] * 300, f"<think>{CAPTION} {CAPTION}</think>"
    assert counted_length(CAPTION, ids) == 300
    assert 90 <= counted_length(f"{thought}{CAPTION}", ids) <= 100
    assert counted_length(f"{thought}A dog.", ids) <= 4
    for unit in ("words", "characters"):
        assert counted_length(thought + CAPTION, [], unit) == counted_length(CAPTION, [], unit)


@pytest.mark.parametrize("name", ["think", "Answer", " THINK"])
def test_no_concept_is_called_like_the_tags_of_reasoning(name):
    assert "which models write around their reasoning" in (name_problem(name) or "")


def test_a_format_that_there_is_not(batch):
    for reward, task in (
        (visual_localization, "visual_localization"),
        (object_consistency, "object_consistency"),
    ):
        with pytest.raises(ValueError, match="must be one of auto, plain, tagged"):
            reward(**batch(["yes"], task), answer_format="json")


numbers = st.lists(st.integers(0, 999), min_size=4, max_size=4)
filler = st.text("abc ,.;:\n", max_size=12)


@given(
    numbers,
    filler,
    filler,
    st.sampled_from(["[{},{},{},{}]", "({},{}),({},{})", "[{}，{}，{}，{}]"]),
)
def test_one_box_in_any_form_amid_any_prose(box, before, after, form):
    assert one_box(before + form.format(*box) + after) == tuple(map(float, box))


@given(numbers, numbers, filler, st.sampled_from(["[{},{},{},{}]", "({},{}),({},{})"]))
def test_two_boxes_are_never_an_answer(one, other, between, form):
    """…in whichever forms, tags and distance: else a policy would write both."""
    two = form.format(*one) + between + "[{},{},{},{}]".format(*other)
    assert one_box(two) is None
    assert (
        one_box(answer_part(f"<think>x</think>{form.format(*one)}<answer>{two}</answer>")) is None
    )


@given(
    st.text("<>/thinkanswer yes no()[]0123,，", max_size=60), st.sampled_from(["auto", "tagged"])
)
def test_any_text_has_an_answer_part_that_it_contains(text, answer_format):
    part = answer_part(text, answer_format)
    assert set(part) <= set(text) | {" "} and len(part) <= len(text) + 2
    one_box(part)
