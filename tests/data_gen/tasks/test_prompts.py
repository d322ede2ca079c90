"""Prompt templates and the conversations made of them."""

import random

import pytest
import yaml

from data_gen.files.errors import InputError
from data_gen.rows import ICT, OCT, VLT
from data_gen.rows.contract import count_placeholders
from data_gen.tasks.prompts import DEFAULT, conversation, load_prompts
from data_gen.toybox.curriculum.perception import EXPLAIN_ASK


def test_a_template_file_that_lacks_a_list_is_refused_with_the_key(tmp_path):
    templates = yaml.safe_load(DEFAULT.read_text())
    del templates[VLT]["described"]
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(templates))
    with pytest.raises(InputError, match="mine.yaml: 'visual_localization' needs .* 'described'"):
        load_prompts(path)


def test_a_file_may_change_one_task_and_leave_the_others(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        yaml.safe_dump({OCT: {"reference": ["{name}:"], "ask": ["{name}?"], "suffix": [""]}})
    )
    assert load_prompts(path)[OCT]["ask"] == ["{name}?"]
    assert load_prompts(path)[ICT] == load_prompts()[ICT]


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "must hold tasks"), ("object_consistancy: {}", "no task 'object_consist")],
)
def test_a_file_without_tasks_or_with_a_mistyped_one_is_refused(tmp_path, text, said):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        load_prompts(path)


def test_the_explained_form_ends_in_the_question_that_the_curriculum_asks():
    path = DEFAULT.parent / "explained.yaml"
    asked = text_of(conversation(random.Random(0), OCT, ["bo"], [None], load_prompts(path)))
    assert asked.endswith(f"Is <bo> in this picture? {EXPLAIN_ASK}")


def text_of(messages: list[dict]) -> str:
    return "".join(part["text"] or "|" for part in messages[0]["content"])


def test_references_come_first_with_names_and_facts_and_the_query_last():
    made = conversation(random.Random(0), OCT, ["bo", "lu"], ["It is a mug.", None])
    before, first, second, asked = text_of(made).split("|")
    assert before == "" and "<bo>" in first and first.endswith("It is a mug.\n")
    assert "<lu>" in second and "<bo>" in asked and asked.endswith("Answer only yes or no.")
    assert count_placeholders(made) == 3


def test_a_subject_in_words_is_asked_for_by_its_name_or_by_the_words():
    words = "the man on the left"
    named = conversation(random.Random(0), VLT, ["bo"], [None], described=words)
    assert f'"{words}"' in text_of(named) and "<bo>" in text_of(named)
    unnamed = conversation(random.Random(0), VLT, [], [], described=words)
    assert f'"{words}"' in text_of(unnamed) and "<" not in text_of(unnamed)
    assert count_placeholders(named) == count_placeholders(unnamed) == 1


@pytest.mark.parametrize("style", ["name", "fresh"])
def test_a_caption_style_adds_its_sentence(style):
    sentences = load_prompts()[ICT]["caption_styles"][style]
    made = text_of(conversation(random.Random(1), ICT, ["bo"], [None], caption_style=style))
    assert any(made.endswith(sentence) for sentence in sentences)
    plain = text_of(conversation(random.Random(1), ICT, ["bo"], [None]))
    assert not any(sentence in plain for sentence in sentences)
