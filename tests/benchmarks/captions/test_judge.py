"""The judge, against an HTTP server on this machine that answers as told."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from benchmarks.captions.judge import (
    Pair,
    judge,
    judge_metrics,
    main,
    read_pairs,
    verdict,
)
from benchmarks.metrics.intervals import value
from data_gen.files.chat import ChatError, Endpoint, chat


@pytest.fixture
def server():
    """Answers with ``server.reply(request) -> (status, text or dict)``; keeps the requests."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.requests.append((self.path, dict(self.headers), body))
            status, said = server.reply(body)
            data = (
                said
                if isinstance(said, bytes)
                else json.dumps({"choices": [{"message": {"content": said}}]}).encode()
            )
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            if status == 429:
                self.send_header("Retry-After", "0")
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.requests, server.reply = [], lambda body: (200, "TIE")
    server.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def endpoint(server, **changes):
    return Endpoint(server.url, "judge", wait=0.0, **changes)


def prefers_names(body):
    """A judge that looks for the tag, in whichever caption it stands."""
    text = body["messages"][1]["content"][-1]["text"]
    first, second = (line for line in text.splitlines() if " caption: " in line)
    return 200, "FIRST" if "<bo>" in first else "SECOND" if "<bo>" in second else "TIE"


PAIRS = [
    Pair("1", ("bo",), "a dog", "<bo> sits"),
    Pair("2", ("bo",), "<bo>", "a dog"),
    Pair("3", ("bo",), "a dog", "a cat"),
]


def test_both_orders_are_asked_and_agree(server, tmp_path):
    server.reply = prefers_names
    found = judge(PAIRS, endpoint(server, key="secret"), tmp_path / "v.jsonl")
    assert found == [("two", "two"), ("one", "one"), ("tie", "tie")]
    metrics = {key: value(metric) for key, metric in judge_metrics(found).items()}
    assert metrics["preference"] == 0.5 and metrics["agreement"] == 1
    assert metrics["one"] == metrics["two"] == metrics["tie"] == pytest.approx(1 / 3)
    assert metrics["first_shown"] == 0.5 and metrics["unclear"] == 0
    path, headers, body = server.requests[0]
    assert path == "/v1/chat/completions" and headers["Authorization"] == "Bearer secret"
    assert body["model"] == "judge" and body["temperature"] == 0
    assert "secret" not in repr(endpoint(server, key="secret"))


def test_a_judge_that_likes_the_first_caption_prefers_neither_system(server, tmp_path):
    server.reply = lambda body: (200, "It is close.\nFIRST.")
    metrics = {
        k: value(m)
        for k, m in judge_metrics(judge(PAIRS, endpoint(server), tmp_path / "v.jsonl")).items()
    }
    assert (metrics["tie"], metrics["preference"], metrics["agreement"]) == (1, 0.5, 0)
    assert metrics["first_shown"] == 1


def test_what_was_said_is_not_asked_again(server, tmp_path):
    server.reply = prefers_names
    path = tmp_path / "v.jsonl"
    first = judge(PAIRS, endpoint(server), path)
    asked = len(server.requests)
    assert judge(PAIRS, endpoint(server), path) == first and len(server.requests) == asked == 6
    path.write_text(path.read_text().rstrip()[:-9])  # torn by a kill
    assert judge(PAIRS, endpoint(server), path) == first and len(server.requests) == 7
    changed = [Pair("1", ("bo",), "a dog", "<bo> stands"), *PAIRS[1:]]
    judge(changed, endpoint(server), path)
    assert len(server.requests) == 9


def test_a_passing_fault_is_tried_again_and_a_lasting_one_told(server, tmp_path):
    answers = iter([(429, b"slow down"), (503, b""), (200, "TIE")])
    server.reply = lambda body: next(answers)
    assert chat(endpoint(server), []) == "TIE"
    server.reply = lambda body: (500, b"<b>broken\x00</b>")
    with pytest.raises(ChatError, match=r"2 tries \(HTTP 500: <b>broken.</b>\).*same command"):
        chat(endpoint(server, tries=2), [])
    server.reply = lambda body: (401, b"who are you?")
    with pytest.raises(ChatError, match="refuses .HTTP 401: who are you"):
        chat(endpoint(server), [])
    for odd in (
        b"hello",
        b"{}",
        b'{"choices": []}',
        b'{"choices": [{"message": {"content": null}}]}',
    ):
        server.reply = lambda body, odd=odd: (200, odd)
        with pytest.raises(ChatError, match="another form"):
            chat(endpoint(server), [])
    with pytest.raises(ChatError, match="no address"):
        chat(Endpoint("file:///etc/passwd", "m"), [])
    with pytest.raises(ChatError, match="did not answer"):
        chat(Endpoint("http://127.0.0.1:1/v1", "m", tries=1), [])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("FIRST", "first"),
        ("**Second**.", "second"),
        ("a tie", "tie"),
        ("", None),
        ("The first is dull.\nSECOND", "second"),
        ("first or second", None),
        ("firstly", None),
    ],
)
def test_verdicts(text, said):
    assert verdict(text) == said


def test_from_caption_files_to_a_preference(server, tmp_path, capsys):
    server.reply = prefers_names
    Image.new("RGB", (30, 20), "red").save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"\x89PNG torn")

    def save(name, rows):
        (tmp_path / name).write_text(json.dumps(rows))
        return str(tmp_path / name)

    first = save(
        "first.json",
        [
            ["a.png", ["<bo>"], "a dog", ""],
            ["b.png", ["<bo>"], "x", ""],
            ["c.png", ["<bo>"], "x", ""],
            ["d.png", ["<bo>"], None, ""],
        ],
    )
    second = save(
        "second.json",
        [
            ["a.png", ["<bo>"], "<bo>", ""],
            ["b.png", ["<bo>"], "y", ""],
            ["c.png", ["<bo>"], "y", ""],
            ["e.png", ["<bo>"], "y", ""],
        ],
    )
    main(
        [
            first,
            second,
            "--url",
            server.url,
            "--model",
            "judge",
            "--out",
            str(tmp_path / "out" / "v.jsonl"),
            "--images",
            str(tmp_path),
        ]
    )
    printed = json.loads(capsys.readouterr().out)
    assert printed["pairs"] == 2 and printed["preference"]["value"] == 0.75
    assert {reason: about["count"] for reason, about in printed["skipped"].items()} == {
        "first.json: null caption": 1,
        "image missing on disk": 1,
        "image that only one system has captioned": 1,
        "image that does not open: damaged": 1,
    }
    shown = server.requests[0][2]["messages"][1]["content"][0]
    assert shown["image_url"]["url"].startswith("data:image/png;base64,")
    with pytest.raises(SystemExit, match="no usable pair"):
        main(
            [
                first,
                save("z.json", [["z.png", ["<bo>"], "x", ""]]),
                "--url",
                server.url,
                "--model",
                "judge",
                "--out",
                str(tmp_path / "w.jsonl"),
            ]
        )
    assert len(read_pairs(first, second)[0]) == 3
