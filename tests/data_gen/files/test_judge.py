"""The judge of captions, asked over real HTTP: concurrent, kept on disk, late and odd answers."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from data_gen.files.chat import ChatError
from data_gen.files.judge import UNTOLD, answer_questions
from rewards.loading import load_reward

OPTIONS = ["an aunt", "a friend"]


@pytest.fixture
def server():
    """A judge that chooses the option that the caption contains, or that it cannot be told; its
    `asked` are the questions, `rules` what it does instead: a text in the prompt -> a reply."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            text = body["messages"][-1]["content"]
            here.asked.append(text)
            here.open += 1
            here.most_open = max(here.most_open, here.open)
            time.sleep(here.delay)
            here.open -= 1
            caption, _, rest = text.partition("\n\n")
            lines = dict(reversed(line.split(". ", 1)) for line in rest.split("\n")[1:])
            letter = next((lines[o] for o in lines if o in caption), lines[UNTOLD])
            said = next((reply for rule, reply in here.rules.items() if rule in text), letter)
            if isinstance(said, int):
                return self.send_error(said)
            if said == "late":
                time.sleep(2.5)
            data = json.dumps({"choices": [{"message": {"content": said}}]}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    here = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    here.asked, here.rules, here.open, here.most_open, here.delay = [], {}, 0, 0, 0.0
    here.handle_error = lambda *_: None  # the client hangs up on late answers
    threading.Thread(target=here.serve_forever, daemon=True).start()
    yield here
    here.shutdown()
    here.server_close()


def ask(server, captions, **others):
    url = f"http://127.0.0.1:{server.server_port}/v1"
    settings = {"url": url, "model": "m", "timeout": 1.5, "tries": 1, "wait": 0.0} | others
    return answer_questions([(c, "Who gave <bo>?", OPTIONS) for c in captions], **settings)


def test_options_are_chosen_and_what_is_not_told_is_the_last(server):
    assert ask(server, ["Bo is from a friend.", "From an aunt.", "A dog."]) == [1, 0, 2]
    assert ask(server, []) == []


def test_the_caption_cannot_know_where_an_option_stands(server):
    """Letters differ from question to question, so none is worth more than another."""
    server.rules["Answer A"] = "A"
    url = f"http://127.0.0.1:{server.server_port}/v1"
    asked = [("Answer A", f"Question {i}?", OPTIONS) for i in range(60)]
    chosen = answer_questions(asked, url=url, model="m")
    assert {chosen.count(option) > 8 for option in (0, 1, 2)} == {True}


def test_questions_are_open_at_the_same_time_and_each_is_asked_once(server):
    server.delay = 0.05
    answers = ask(server, [f"{i} from an aunt" for i in range(12)] * 2, workers=6)
    assert answers == [0] * 24 and len(server.asked) == 12
    assert 2 <= server.most_open <= 6


def test_answers_are_kept_on_disk(server, tmp_path):
    cache = tmp_path / "deep" / "judge.jsonl"
    first = ask(server, ["an aunt", "nobody"], cache=str(cache))
    cache.write_bytes(cache.read_bytes() + b'{"asked": "to')  # a line that a kill tore
    copy = tmp_path / "copy.jsonl"  # as another process finds it
    copy.write_bytes(cache.read_bytes())
    assert ask(server, ["an aunt", "nobody"], cache=str(copy)) == first and len(server.asked) == 2
    assert ask(server, ["a friend"], cache=str(copy)) == [1]
    assert ask(server, ["an aunt", "a friend"], cache=str(copy), model="other") == [0, 1]
    assert len(server.asked) == 5, "another judge is asked anew"
    kept = [json.loads(line) for line in copy.read_bytes().split(b"\n") if line.endswith(b"}")]
    assert len(kept) == 5


def test_late_odd_and_refused_answers_are_none_and_never_kept(server, tmp_path):
    server.rules |= {"slow": "late", "odd": "I think so", "two": "A or B", "busy": 503, "long": 413}
    cache = str(tmp_path / "judge.jsonl")
    captions = ["slow", "odd", "two", "busy", "long", "an aunt"]
    assert ask(server, captions, cache=cache) == [None] * 5 + [0]
    server.rules.clear()
    assert ask(server, captions, cache=cache) == [2] * 5 + [0], "asked again, now in time"


def test_a_judge_that_is_not_there_is_an_error(server):
    server.rules["Caption"] = "late"
    with pytest.raises(ChatError, match="answers none of 2 questions"):
        ask(server, ["a", "b"])
    server.rules["Caption"] = 401
    with pytest.raises(ChatError, match="check address, model and key"):
        ask(server, ["a"])
    with pytest.raises(ValueError, match="0 workers"):
        ask(server, [], workers=0)


def test_as_the_judge_of_the_reward(server):
    judge = {"url": f"http://127.0.0.1:{server.server_port}/v1", "model": "m"}
    settings = {"judge": "data_gen.files.judge:answer_questions", "judge_settings": judge}
    reward = load_reward("rewards:caption_questions", settings)
    row = [
        {"question": "Who gave <bo>?", "options": OPTIONS, "answer": 0},
        {"question": "Who gave <zuri>?", "options": ["a nun", "a king"], "answer": None},
    ]
    texts = ["<bo> was given by an aunt.", "<bo> and <zuri> are from a king.", "A dog."]
    assert reward(texts, questions=[json.dumps(row)] * 3) == [1, -1, 0]
