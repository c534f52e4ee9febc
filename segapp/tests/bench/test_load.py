"""The bench's sender against a little server: what it counts, and that it never outstays its bounds."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from segapp.bench import load
from segapp.bench.client import Client
from segapp.bench.load import Visitor


@pytest.fixture
def server():
    """Answers segment requests as its `answers` say, the last one from then on."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.respond(200, {}, {"Set-Cookie": "csrftoken=abc"})

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            server.tokens.append(self.headers["X-CSRFToken"])
            status, body, headers, pause = server.answers[0]
            if len(server.answers) > 1:
                server.answers.pop(0)
            time.sleep(pause)
            self.respond(status, body, headers)

        def respond(self, status, body, headers):
            content = json.dumps(body).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.tokens = []
    server.answers = [good()]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def good(pause=0.0):
    return 200, {"model_key": "user_1", "mask_url": "/mask", "inference_ms": 7}, {}, pause


def visitor(server) -> Visitor:
    return Visitor(Client(f"http://127.0.0.1:{server.server_address[1]}"), 0, "user_1")


def no_image(number: int) -> bytes:
    return b"image %d" % number


def test_answers_refusals_and_failures_are_told_apart(server):
    server.answers = [
        good(),
        (503, {"error": {"code": "overloaded"}}, {"Retry-After": "5"}, 0),
        (500, {"error": {"code": "failed"}}, {}, 0),
    ]
    found = load.summary(load.one_by_one([visitor(server)] * 3, no_image))
    assert (found["answered"], found["turned_away"], found["errors"]) == (1, 1, 1)
    assert found["errors_by_kind"] == {"500 failed": 1}
    assert server.tokens == ["abc"] * 3


def test_a_server_that_is_not_there_is_an_error_and_no_crash():
    gone = Visitor(Client("http://127.0.0.1:9", {"csrftoken": "x"}), 0, "user_1")
    found = load.summary(load.one_by_one([gone], no_image))
    assert found["errors_by_kind"] == {"0 ConnectionRefusedError": 1} and found["p50_ms"] is None


def test_at_a_rate_a_late_answer_counts_from_when_it_was_due(server, monkeypatch):
    monkeypatch.setattr(load, "MAX_AT_ONCE", 1)  # everything behind the first waits
    server.answers = [good(0.3)]
    sent, took = load.at_rate([visitor(server)] * 4, 1000, no_image)
    assert [one.image for one in sent] == [0, 1, 2, 3]
    assert sent[3].seconds > 1.1, "three before it took 0.3 s each"
    assert took > 1.1 and load.summary(sent, took)["per_second"] < 4


def test_no_more_are_sent_than_the_bounds_allow(server, monkeypatch):
    monkeypatch.setattr(load, "MAX_REQUESTS", 3)
    assert len(load.one_by_one([visitor(server)] * 9, no_image)) == 3
    assert len(load.at_rate([visitor(server)] * 9, 1000, no_image)[0]) == 3
    monkeypatch.setattr(load, "MAX_SECONDS", 0.0)
    assert len(load.at_rate([visitor(server)] * 9, 1000, no_image)[0]) == 1
    assert load.one_by_one([visitor(server)] * 9, no_image) == []


@pytest.mark.parametrize(("percent", "value"), [(50, 3), (95, 5), (99, 5), (20, 1)])
def test_percentiles_are_values_that_occurred(percent, value):
    assert load.percentile([1, 2, 3, 4, 5], percent) == value
