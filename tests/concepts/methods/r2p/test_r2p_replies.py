"""JSON as policies write it: read where it is clear, refused with a reason where it is not."""

import json
import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concepts.methods.r2p.replies import (
    MAX_REPLY,
    MAX_TEXT,
    UnreadableReply,
    plain_text,
    plain_texts,
    read_object,
)

SAID = {"answer": "A", "a": "red"}
WRITTEN = '{"A": "red", "Answer": "A"}'


@pytest.mark.parametrize(
    "reply",
    [
        WRITTEN,
        f"```json\n{WRITTEN}\n```",
        f"Let me see. {{A}} or {{B}}?\n{WRITTEN} That is all.",
        f"{WRITTEN}\n{WRITTEN}",  # it says so twice
        '{"A": "red", "answer": "A", "Answer": "A"}',
        '{"note": 1} ' + WRITTEN,
        '{"A": "red",\n "Answer"\t: "A"}',
    ],
)
def test_what_stands_around_an_object_is_forgiven(reply):
    assert read_object(reply, "answer") == SAID


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "no JSON object"),
        ("A", "no JSON object"),
        ('["Answer", "A"]', "no JSON object"),
        ('{"Answer": "A"', "broken JSON"),
        ("{'Answer': 'A'}", "broken JSON"),
        ('{"Answer": A}', "broken JSON"),
        ('{"Answer": "A", "answer": "B"}', "a key is given twice"),
        ('{"Answer": "A"} {"Answer": "B"}', "several JSON objects that differ"),
        ('{"A": "red"}', "JSON without 'answer'"),
        ('{"x": {"Answer": "A"}}', "JSON without 'answer'"),
        ('{"cut": "off", "x": {"Answer": "A"}', "broken JSON"),  # an inner object is no answer
        ('{"Answer": ' + "9" * 5000 + "}", "broken JSON"),
        ('{"Answer": "A"}' + " " * MAX_REPLY, "more than 20,000 characters"),
        ("x" * 100_000, "more than 20,000 characters"),
        ('{"a":' * 3900, "JSON that is nested too deeply"),
    ],
)
def test_what_is_not_clear_is_refused_with_its_reason(reply, reason):
    with pytest.raises(UnreadableReply) as refused:
        read_object(reply, "answer")
    assert str(refused.value) == reason


@settings(deadline=None)
@given(st.text(alphabet=st.sampled_from('{}[]",:\\ aAé\n0\ud800'), max_size=60))
def test_any_text_is_read_or_refused(reply):
    with suppress(UnreadableReply):  # any other error is one
        assert "a" in read_object(reply, "a")


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=4),
    st.text(alphabet="abc .\n`", max_size=20),
    st.text(alphabet="abc .\n`}", max_size=20),
)
def test_every_object_is_found_amid_prose(said, before, after):
    keys = {key.strip().casefold() for key in said}
    if len(keys) < len(said):
        return  # two keys are one in lower case
    found = read_object(f"{before}{json.dumps({**said, 'needed key': 1})}{after}", "needed key")
    assert found == {key.strip().casefold(): value for key, value in said.items()} | {
        "needed key": 1
    }


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(['{"', "{", '{"a":', '{"a":"', "{}", "[", '"', "}{"]))
def test_a_long_reply_takes_no_longer_than_its_length(part):
    reply = (part * MAX_REPLY)[:MAX_REPLY]
    start = time.process_time()
    with pytest.raises(UnreadableReply):
        read_object(reply, "answer")
    assert time.process_time() - start < 5


def test_texts_are_one_printable_line():
    assert plain_text(" a\n\tb\x00c\ud800d\u202ee ") == "a b c d e"
    assert len(plain_text("x" * 1000)) == MAX_TEXT
    assert plain_text(["a"]) == plain_text(None) == plain_text(3) == ""


def test_lists_of_texts():
    assert plain_texts("white stripes, a red hat.", 9) == ("white stripes", "a red hat")
    assert plain_texts(["white stripes, thin", "white stripes, thin", 3, None], 9) == (
        "white stripes, thin",
    )
    assert plain_texts("None", 9) == plain_texts([], 9) == plain_texts({"a": 1}, 9) == ()
    assert len(plain_texts([str(i) for i in range(50)], 4)) == 4
