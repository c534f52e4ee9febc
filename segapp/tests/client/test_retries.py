"""How the client takes refusals, redirects and lost connections: a server of this test's answers as told."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import segapp_client
from segapp_client import Segapp

GREY = np.zeros((8, 8), np.uint8)


class Told(BaseHTTPRequestHandler):
    """Answers with the next of `answers`: (status, headers, JSON); the last one stays. None closes the connection."""

    answers: list = []
    seen: list = []

    def reply(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if self.headers.get("Transfer-Encoding") == "chunked":
            raise AssertionError("bodies are sent with their length")
        self.seen.append((self.command, self.path, body, dict(self.headers)))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            self.connection.close()
            return
        status, headers, content = answer
        sent = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(sent)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(sent)

    do_GET = do_POST = do_DELETE = reply  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server():
    Told.answers, Told.seen = [], []
    with ThreadingHTTPServer(("127.0.0.1", 0), Told) as running:
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def says(status: int, code: str = "x", headers: dict | None = None, **more) -> tuple:
    return status, headers or {}, {"error": {"code": code, "message": "Because.", **more}}


def test_a_refusal_with_retry_after_is_waited_for_and_the_files_are_sent_again(server, tmp_path):
    (tmp_path / "leaf.jpg").write_bytes(b"pixels" * 1000)
    Told.answers = [says(503, "overloaded", {"Retry-After": "1"}), (200, {}, {"status_url": "/api/finetune/1"})]
    Told.answers[1][2].update(run_id="1", notes=[])
    began = time.monotonic()
    with Segapp(server, "k") as segapp:
        run = segapp.start_finetune([tmp_path / "leaf.jpg"], [tmp_path / "leaf.jpg"])
    assert time.monotonic() - began >= 1 and run.id == "1"
    assert len(Told.seen) == 2
    for _, path, body, headers in Told.seen:
        assert path == "/api/finetune" and body.count(b"pixels" * 1000) == 2
        assert headers["Authorization"] == "Bearer k"


def test_a_wait_that_is_too_long_is_raised_with_its_seconds(server):
    Told.answers = [says(429, "too_many_requests", {"Retry-After": "600"})]
    with Segapp(server, "k") as segapp, pytest.raises(segapp_client.RateLimited) as refused:
        segapp.models()
    assert refused.value.retry_after == 600 and len(Told.seen) == 1


def test_what_waiting_does_not_help_is_raised_at_once(server):
    Told.answers = [says(503, "no_base")]
    with Segapp(server, "k") as segapp, pytest.raises(segapp_client.Unavailable) as refused:
        segapp.segment(GREY)
    assert (refused.value.code, refused.value.retry_after, len(Told.seen)) == ("no_base", None, 1)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "bad_request", segapp_client.BadRequest),
        (401, "invalid_key", segapp_client.InvalidKey),
        (403, "out_of_scope", segapp_client.NotAllowed),
        (404, "not_found", segapp_client.NotFound),
        (409, "already_training", segapp_client.AlreadyTraining),
        (409, "too_many_keys", segapp_client.Conflict),
        (413, "too_large", segapp_client.TooLarge),
        (422, "invalid", segapp_client.Invalid),
        (422, "refused", segapp_client.InvalidFile),
        (500, "server_error", segapp_client.ServerError),
        (507, "disk_full", segapp_client.Unavailable),
    ],
)
def test_each_refusal_has_its_type(server, status, code, kind):
    Told.answers = [says(status, code, {"Location": "/api/finetune/7"}, files=[{"file": "a.png", "message": "Bad."}])]
    with Segapp(server, "k") as segapp, pytest.raises(kind) as refused:
        segapp.make_key("x")
    assert type(refused.value) is kind
    assert (refused.value.status, refused.value.code, str(refused.value)) == (status, code, "Because.")
    if kind is segapp_client.InvalidFile:
        assert [str(problem) for problem in refused.value.files] == ["a.png: Bad."]
    if kind is segapp_client.AlreadyTraining:
        assert refused.value.location == "/api/finetune/7"


def test_a_broken_connection_is_tried_again_only_where_that_is_safe(server):
    Told.answers = [None, (200, {}, {"models": []})]
    with Segapp(server, "k") as segapp:
        assert segapp.models() == []
        Told.answers = [None]
        Told.seen.clear()
        with pytest.raises(segapp_client.ConnectionFailed) as broken:
            segapp.make_key("x")
    assert broken.value.sent and len(Told.seen) == 1


def test_a_server_that_is_not_there_is_named(unused_port):
    with Segapp(f"http://127.0.0.1:{unused_port}", "k", retries=1) as segapp:
        with pytest.raises(segapp_client.ConnectionFailed, match=f"127.0.0.1:{unused_port} cannot be reached"):
            segapp.make_key("x")


@pytest.fixture
def unused_port() -> int:
    with ThreadingHTTPServer(("127.0.0.1", 0), Told) as server:
        return server.server_port


def test_an_image_that_waits_for_its_worker_is_looked_at_where_it_was_accepted(server):
    image = np.full((4, 4), 3, np.uint8)
    there = {"Location": "/api/segment/9", "Retry-After": "1"}
    done = {"mask_url": "/mask", "width": 4, "height": 4, "classes": []}
    Told.answers = [says(503, "busy", there), says(503, "busy", there), (200, {}, done), (200, {}, png(image))]
    with Segapp(server, "k") as segapp:
        assert segapp.segment(GREY).mask.tolist() == image.tolist()
    assert [(method, path) for method, path, _, _ in Told.seen] == [
        ("POST", "/api/segment"),
        ("GET", "/api/segment/9"),
        ("GET", "/api/segment/9"),
        ("GET", "/mask"),
    ]


def test_a_large_image_is_followed_to_its_end(server):
    large = {"state": "running", "progress": 0.5}
    done = {"state": "done", "progress": 1.0, "mask_url": "/mask", "classes": []}
    Told.answers = [(202, {}, {"status_url": "/s"}), (200, {}, large), (200, {}, done), (200, {}, png(GREY))]
    heard = []
    with Segapp(server, "k") as segapp:
        assert segapp.segment(GREY, on_progress=heard.append).mask.shape == (8, 8)
    assert [progress.fraction for progress in heard] == [0.5, 1.0]


@pytest.mark.parametrize(
    ("state", "kind"), [("failed", segapp_client.JobFailed), ("cancelled", segapp_client.JobCancelled)]
)
def test_work_that_came_to_nothing_is_raised(server, state, kind):
    Told.answers = [(202, {}, {"status_url": "/s"}), (200, {}, {"state": state, "message": "The disk is full."})]
    with Segapp(server, "k") as segapp, pytest.raises(kind, match="The disk is full"):
        segapp.batch([GREY])


def test_work_that_takes_too_long_is_left_going_on(server):
    Told.answers = [(202, {}, {"status_url": "/s"}), (200, {}, {"state": "running", "progress": 0.1})]
    with Segapp(server, "k") as segapp, pytest.raises(segapp_client.TimedOut) as late:
        segapp.batch([GREY], timeout=1)
    assert late.value.location == "/s"


def test_the_key_goes_to_no_other_server(server):
    Told.answers = [(302, {"Location": "http://127.0.0.2/api/models"}, {})]
    with Segapp(server, "k") as segapp:
        with pytest.raises(segapp_client.SegappError, match=r"redirects to http://127\.0\.0\.2/api/models"):
            segapp.models()
        for url in ("http://127.0.0.2/mask", "//127.0.0.2/mask", f"{server}.evil.example/mask"):
            with pytest.raises(segapp_client.SegappError, match="not sent anywhere else"):
                segapp.fetch(url)


def test_an_address_may_have_a_path(server):
    Told.answers = [(200, {}, {"models": []})]
    with Segapp(f"{server}/seg/", "k") as segapp:
        segapp.models()
        segapp.fetch("/seg/files/1")
    assert [path for _, path, _, _ in Told.seen] == ["/seg/api/models", "/seg/files/1"]


@pytest.mark.parametrize("url", ["seg.example.org", "ftp://seg.example.org", ""])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(ValueError, match="not the address"):
        Segapp(url, "k")


def test_without_a_key_it_says_where_to_get_one(server, monkeypatch):
    monkeypatch.delenv("SEGAPP_KEY", raising=False)
    with pytest.raises(ValueError, match="Models page"):
        Segapp(server)
    monkeypatch.setenv("SEGAPP_KEY", "from-outside")
    Told.answers = [(200, {}, {"models": []})]
    with Segapp(server) as segapp:
        segapp.models()
    assert Told.seen[0][3]["Authorization"] == "Bearer from-outside"


def test_a_download_that_breaks_leaves_no_file(server, tmp_path):
    Told.answers = [(200, {"Content-Length": "1000"}, b"only the beginning")]
    with Segapp(server, "k", retries=0, timeout=2) as segapp, pytest.raises(segapp_client.SegappError):
        segapp.download("/mask", tmp_path / "mask.png")
    assert list(tmp_path.iterdir()) == []


def png(image: np.ndarray) -> bytes:
    from segapp_client._uploads import one

    return one("file", image).open().read()
