"""What pairs show: templates, text files, a chat model behind an endpoint."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_gen.files.errors import SourceError
from data_gen.synthesis.object_texts import json_objects, object_texts, read_object, usable

LISTS = {
    "kind": ["bear", "owl"],
    "colour": ["red", "blue"],
    "second": ["red", "blue"],
    "wall": ["mint", "sky"],
    "ground": ["plain", "dotted"],
}
TEMPLATES = {
    "item": "{colour} {kind} with {second} spots",
    "category": "{kind}",
    "scene": "{ground} {wall} wall",
    "lists": LISTS,
    "distinct": [["colour", "second"]],
    "scenes_differ": ["wall"],
}


def test_templates_give_the_same_object_for_the_same_number():
    first, again = (object_texts(TEMPLATES, 1) for _ in range(2))
    objects = [first.of(i) for i in range(60)]
    assert objects == [again.of(i) for i in range(60)]
    assert {o.item for o in objects} == {
        f"{a} {kind} with {b} spots"
        for kind in LISTS["kind"]
        for a, b in (("red", "blue"), ("blue", "red"))
    }
    assert all(o.category in o.item for o in objects)
    assert all({s.split()[1] for s in o.scenes} == {"mint", "sky"} for o in objects)
    assert object_texts(TEMPLATES, 2).of(0) != first.of(0) or object_texts(TEMPLATES, 2).of(
        1
    ) != first.of(1)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"itme": 1}, "unknown key 'itme'"),
        ({"file": "a.txt"}, "one of 'item' .* not item and file"),
        ({"item": None}, "not none"),
        ({"item": "{colour} {size}"}, "asks for {size}"),
        ({"lists": LISTS | {"colour": []}}, "asks for {colour}"),
        ({"lists": LISTS | {"colour": ["red"], "second": ["red"]}}, "no choice .* is distinct"),
        ({"scene": "wall"}, "no two different scenes"),
        ({"scene": None}, "'scene' is missing"),
    ],
)
def test_templates_that_cannot_be_filled_are_refused(changes, sentence):
    with pytest.raises(SourceError, match=sentence):
        object_texts(TEMPLATES | changes, 0)


def test_a_template_reaches_into_no_object():
    texts = object_texts(TEMPLATES | {"item": "{colour.__class__} {kind}"}, 0)
    assert texts.of(0).item.startswith("{colour.__class__} ")


def test_a_text_file_of_items_and_of_json(tmp_path):
    path = tmp_path / "objects.txt"
    path.write_bytes(
        b"# mine\nred mug\n\n"
        + json.dumps(
            {
                "item": "blue vase",
                "category": "vase",
                "scenes": ["a table", "a shelf", "a table"],
            }
        ).encode()
        + b'\n\xff\xfe\n{no json\n{"item": 3}\n'
        + b"x" * 400
        + b"\n"
    )
    texts = object_texts({"file": str(path), "scene": "{wall} wall", "lists": LISTS}, 0)
    objects = [texts.of(i) for i in range(4)]
    assert sorted(o.item for o in objects[:2]) == ["blue vase", "red mug"]  # each once a turn
    vase = next(o for o in objects if o.item == "blue vase")
    assert vase.category == "vase" and sorted(vase.scenes) == ["a shelf", "a table"]
    assert texts.skipped.counts == {
        "line is not UTF-8": 1,
        "line is not JSON": 1,
        "object without a usable item": 1,
        "text too long or not printable": 1,
    }
    only = object_texts({"file": str(path)}, 0)  # no template: items without scenes are skipped
    assert {only.of(i).item for i in range(4)} == {"blue vase"}


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"\xff\n"])
def test_a_text_file_without_a_usable_line_is_refused(tmp_path, content):
    (tmp_path / "objects.txt").write_bytes(content)
    with pytest.raises(SourceError, match="no usable line"):
        object_texts({"file": str(tmp_path / "objects.txt")}, 0)


@settings(max_examples=60)
@given(st.text(), st.none() | st.integers() | st.text() | st.lists(st.none() | st.text()))
def test_any_line_gives_an_entry_or_a_reason(text, value):
    for line in (text, json.dumps({"item": text, "scenes": value, "category": value})):
        read = read_object(line.strip())
        if isinstance(read, str):
            assert read
        else:
            item, category, scenes = read
            assert usable(item) and all(map(usable, scenes))
            assert category is None or usable(category)


# ---- a chat model ----


class Chat:
    """An OpenAI-compatible endpoint that gives the replies it was made with, in order."""

    def __init__(self, replies: list):
        self.asked: list[dict] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                length = int(self.headers["Content-Length"])
                outer.asked.append(json.loads(self.rfile.read(length)))
                reply = replies[min(len(outer.asked), len(replies)) - 1]
                status = reply if isinstance(reply, int) else 200
                body = json.dumps({"choices": [{"message": {"content": reply}}]}).encode()
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body if self.path == "/v1/chat/completions" else b"{}")

            def log_message(self, *_):
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}/v1"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def described(*items: str) -> list[dict]:
    return [{"item": item, "category": "mug", "scenes": ["here", "there"]} for item in items]


def test_a_chat_model_is_asked_once_and_usable_objects_are_kept(tmp_path):
    first = "Sure:\n```json\n" + json.dumps([*described("red mug"), {"item": 5}]) + "\n```"
    second = "\n".join(map(json.dumps, described("Red mug", "blue mug", "one too many")))
    with Chat([first, second]) as chat:
        asking = {"chat": {"endpoint": chat.endpoint, "model": "m", "objects": 2}}
        texts = object_texts(asking, 0, tmp_path)
        assert sorted(texts.of(i).item for i in range(2)) == ["blue mug", "red mug"]
        assert len(chat.asked) == 2 and "red mug" in chat.asked[1]["messages"][0]["content"]
        object_texts(asking, 1, tmp_path)
        assert len(chat.asked) == 2


@pytest.mark.parametrize(
    ("replies", "sentence"),
    [
        ([404], "refuses \\(HTTP 404"),
        (["no idea"], "described nothing usable"),
        ([None], "answers in another form"),
    ],
)
def test_an_unusable_chat_model_is_reported(tmp_path, replies, sentence):
    with Chat(replies) as chat, pytest.raises(SourceError, match=sentence):
        object_texts({"chat": {"endpoint": chat.endpoint, "model": "m"}}, 0, tmp_path)
    assert not list(tmp_path.glob("*.jsonl"))


def test_a_busy_model_is_asked_again_and_no_reply_is_lost(tmp_path, monkeypatch):
    waited = []
    monkeypatch.setattr("time.sleep", waited.append)
    one, other = (json.dumps(described(item)) for item in ("red mug", "blue mug"))
    with Chat([503, one, 401, other]) as chat:
        asking = {"chat": {"endpoint": chat.endpoint, "model": "m", "objects": 2}}
        with pytest.raises(SourceError, match="refuses \\(HTTP 401"):
            object_texts(asking, 0, tmp_path)
        assert [seconds for seconds in waited if seconds >= 1] == [1]  # others' threads sleep, too
        texts = object_texts(asking, 0, tmp_path)
        assert len(chat.asked) == 4 and {texts.of(i).item for i in range(2)} == {
            "red mug",
            "blue mug",
        }


def test_an_unreachable_endpoint_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with Chat([""]) as chat:
        endpoint = chat.endpoint
    told = "did not answer in 4 tries.*is a server running.*or give 'file'"
    with pytest.raises(SourceError, match=told):
        object_texts({"chat": {"endpoint": endpoint, "model": "m"}}, 0, tmp_path)
    with pytest.raises(SourceError, match="not an http"):
        object_texts({"chat": {"endpoint": "file:///etc", "model": "m"}}, 0, tmp_path)


@settings(max_examples=40)
@given(
    st.lists(st.dictionaries(st.text(), st.integers() | st.text(), max_size=3), max_size=3),
    st.text(max_size=20),
)
def test_objects_are_found_among_any_words(values, words):
    words = words.replace("{", "").replace("}", "").replace('"', "")
    said = words + words.join(json.dumps(v) for v in values) + words
    assert list(json_objects(said)) == values
