"""JSON item by item: the same values as json.load gives, whatever the size of the pieces read."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_gen.files import json_stream
from data_gen.files.errors import SourceError
from data_gen.files.json_stream import is_text, json_items

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
pieces = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def expected(whole) -> list:
    if isinstance(whole, list):
        return [("", item) for item in whole]
    return [
        pair
        for key, value in whole.items()
        for pair in ([(key, item) for item in value] if isinstance(value, list) else [(key, value)])
    ]


@pieces
@given(
    st.lists(values, max_size=5) | st.dictionaries(st.text(), values, max_size=5),
    st.integers(1, 40),
    st.sampled_from([None, 2]),
    st.booleans(),
)
def test_items_are_those_of_json_load(tmp_path, whole, piece, indent, ascii_only):
    path = tmp_path / "a.json"
    path.write_text(
        json.dumps(whole, indent=indent, ensure_ascii=ascii_only),
        encoding="utf-8",
        errors="surrogatepass",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "CHUNK", piece)
        assert list(json_items(path)) == expected(whole)


@pieces
@given(
    st.lists(
        st.dictionaries(st.text(st.characters(codec="utf-8")), st.integers()),
        min_size=2,
        max_size=6,
    ),
    st.integers(1, 40),
)
def test_json_lines(tmp_path, rows, piece):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "CHUNK", piece)
        assert list(json_items(path)) == [("", row) for row in rows]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "line 1: .*expected a list or an object"),
        ("12", "line 1: .*expected a list or an object"),
        ('[{"a": 1}, {"a":', "line 1: is not readable JSON .*is the file whole"),
        ('{"images": [1, 2],\n\n "annotations": [{"a": tru}]}', "line 3: is not readable JSON"),
        ('{"a": [1] "b": 2}', "expected ','"),
        ("{1: 2}", "expected a key"),
        ("[1] [2]", "more text after the end"),
    ],
)
def test_what_is_no_json_is_refused_with_its_line(tmp_path, text, sentence):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(SourceError, match=f"a.json, {sentence}|a.json.*{sentence}"):
        list(json_items(path))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SourceError, match="nowhere.json cannot be read"):
        list(json_items(tmp_path / "nowhere.json"))


def test_bytes_that_are_not_utf8_cost_only_their_own_text(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b'[{"name": "caf\xff"}, {"name": "caf\xc3\xa9"}, {"name": " "}]')
    names = [item["name"] for _, item in json_items(path)]
    assert [is_text(name) for name in names] == [False, True, False]
    assert names[1] == "café" and not is_text(None) and not is_text(3)
