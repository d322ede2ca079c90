"""Prompts of published questions, and rows as queries."""

import pytest
from PIL import Image

from concepts.methods.prompting import (
    MULTIPLE_CHOICE,
    conversation,
    load_templates,
    query_of_row,
)
from concepts.methods.protocol import Query, Reference
from data_gen.files.errors import InputError
from data_gen.rows import ICT
from tests.tiny import tiny_rows


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("naming: 1", "needs 'system'"),
        ("- 1", "needs 'system'"),
        ("a: [", "cannot be read"),
        ("identity_consistency: {system: '{x}'}", "needs 'system'"),
    ],
)
def test_templates_that_lack_something(tmp_path, text, sentence):
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(InputError, match=sentence):
        load_templates(tmp_path / "p.yaml")


def test_a_conversation_shows_references_then_the_image_then_the_words():
    templates, image = load_templates(), Image.new("RGB", (8, 8))
    query = Query("q", ICT, "Describe it.", image)
    shown = [Reference("bo", image, "<bo> is round."), Reference("mia", image)]
    system, user = conversation(query, shown, templates)
    assert system["role"] == "system" and user["role"] == "user"
    kinds = [part["type"] for part in user["content"]]
    assert kinds == ["image", "text", "image", "text", "image", "text"]
    words = [part["text"] for part in user["content"] if part["type"] == "text"]
    assert "<bo>" in words[0] and "<bo> is round." in words[0] and "<mia>" in words[1]
    assert "Describe it." in words[2]
    asked = conversation(
        Query("q", MULTIPLE_CHOICE, "Who?", options=("a cat", "a dog")), [], templates
    )[1]["content"]
    assert [part["type"] for part in asked] == ["text"]
    assert "A. a cat\nB. a dog" in asked[0]["text"] and "Who?" in asked[0]["text"]


def test_a_row_as_a_query_keeps_its_prompt_and_knows_its_references():
    for row in tiny_rows(6, text_only=1):
        query = query_of_row(row)
        assert (query.id, query.task, query.prompt) == (row["id"], row["task"], row["prompt"])
        assert [r.image for r in query.references] == row["images"][:-1]
        assert query.image == (row["images"][-1] if row["images"] else None)
        if row["task"] == ICT and row["images"]:
            assert {r.name for r in query.references} == {*row["names"], *row["absent_names"]}
        last = row["prompt"][-1]["content"][-1]["text"]
        assert query.text and query.text.endswith(last)
