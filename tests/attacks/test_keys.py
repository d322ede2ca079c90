"""Keys stay where they belong: a chat endpoint that tries to get at one, and a run that is told one
and must write it nowhere."""

import json
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from data_gen.files.chat import ChatError, Endpoint, chat
from data_gen.files.errors import InputError
from data_gen.files.redaction import (
    command_without_secrets,
    is_secret,
    redacted,
    without_secrets,
)

KEY = "planted-key-0123456789"


@pytest.fixture
def serve():
    """Starts a server whose POST is answered by a function of the handler; gives its address."""
    servers = []

    def start(answer) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                answer(self)

            do_GET = answer

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads, server.block_on_close = True, False
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/v1"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def refusal(endpoint: Endpoint) -> str:
    with pytest.raises(ChatError) as error:
        chat(endpoint, [])
    return str(error.value)


def said(handler, status: int, body: bytes, **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(serve, status):
    reached = []
    other = serve(
        lambda handler: reached.append(dict(handler.headers)) or said(handler, 200, b"{}")
    )
    here = serve(lambda handler: said(handler, status, b"", Location=f"{other}/chat/completions"))
    assert f"redirects elsewhere (HTTP {status})" in refusal(Endpoint(here, "m", KEY))
    assert reached == []


@pytest.mark.parametrize(
    "key", [f"{KEY}\n", f" {KEY}", f"{KEY}\r\nX-Evil: 1", f"{KEY}é", f"“{KEY}”"]
)
def test_a_malformed_key_is_refused_unsent_and_unshown(key):
    sentence = refusal(Endpoint("http://127.0.0.1:1/v1", "m", key))
    assert "cannot be one" in sentence and KEY not in sentence


@pytest.mark.parametrize(
    "url", ["http://u:hunter22@host/v1", "http://", "http://h:x/v1", "http://a b/v1", "ftp://h/v1"]
)
def test_an_address_that_is_none_or_holds_a_password_is_refused(url):
    sentence = refusal(Endpoint(url, "m", KEY))
    assert "hunter22" not in sentence and ("no address" in sentence or "password" in sentence)


@pytest.mark.parametrize("status", [200, 401, 500])
def test_an_endpoint_that_echoes_the_key_does_not_get_it_into_a_message(serve, status):
    def echo(handler):
        said(handler, status, handler.headers["Authorization"].encode() * 90)

    assert KEY[:12] not in refusal(Endpoint(serve(echo), "m", KEY, tries=1))


def test_an_answer_that_repeats_the_key_is_kept_without_it(serve):
    def echo(handler):
        text = f"It is {handler.headers['Authorization']}."
        said(handler, 200, json.dumps({"choices": [{"message": {"content": text}}]}).encode())

    assert KEY not in chat(Endpoint(serve(echo), "m", KEY), [])


@pytest.mark.parametrize("part", ["headers", "body"])
def test_the_timeout_is_a_deadline_for_a_server_that_drips(serve, part):
    def drip(handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        handler.wfile.write(b"X-Slow: " if part == "headers" else b"\r\n")
        with suppress(OSError):  # until the other side has gone
            for _ in range(600):
                time.sleep(0.1)
                handler.wfile.write(b" ")

    start = time.monotonic()
    assert "no whole answer" in refusal(Endpoint(serve(drip), "m", timeout=0.5))
    assert time.monotonic() - start < 40


def test_the_deadline_counts_the_waits_that_a_server_asks_for(serve):
    busy = serve(lambda handler: said(handler, 429, b"busy", **{"Retry-After": "60"}))
    start = time.monotonic()
    assert "did not answer in" in refusal(Endpoint(busy, "m", timeout=1))
    assert time.monotonic() - start < 40


def test_settings_are_written_without_what_their_names_call_secret():
    written = without_secrets(
        {
            "hub_token": KEY,
            "reward_settings": {"mine": {"api_key": KEY, "floor": 3}},
            "servers": [{"password": KEY}],
            "url": f"https://user:{KEY}@host/",
            "project": "hf_abcdefghijklmnop",
            "eos_token": "</s>",
        }
    )
    assert KEY not in json.dumps(written) and "hf_" not in json.dumps(written)
    assert written["hub_token"] is None and written["eos_token"] == "</s>"
    assert written["reward_settings"]["mine"]["floor"] == 3


def test_a_command_is_written_without_what_its_options_call_secret():
    words = f"byname sft --hub_token {KEY} --chat.api_key={KEY} --eos_token </s> --x a".split()
    written = command_without_secrets(words)
    assert KEY not in " ".join(written) and written[-4:] == ["--eos_token", "</s>", "--x", "a"]


def test_names_of_secrets():
    for name in ("hub_token", "HF_TOKEN", "OPENAI_API_KEY", "apiKey", "key", "DB_PASSWORD"):
        assert is_secret(name), name
    for name in ("eos_token", "key_variable", "max_tokens", "name_key", "author", "names"):
        assert not is_secret(name), name


def test_messages_are_rid_of_keys(monkeypatch):
    monkeypatch.setenv("MY_API_KEY", KEY)
    assert str(InputError(f"no access for {KEY}")) == "no access for [key]"
    assert redacted("Bearer abc, sk-abcdefghijklmnopqrst") == "Bearer [key], [key]"
