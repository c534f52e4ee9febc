"""A visitor of `bench load` against a server's answers: what they fetch, and how what goes wrong is told apart."""

import threading

import pytest

from segapp.bench.load_levels import ANALYZE, OK, PAGE, REFUSED
from segapp.bench.load_visitor import LoadVisitor

WAITING = '<section id="waiting"></section>'
RESULT = '<img src="/files/analyses/a/overlay"><div data-ids="/files/analyses/a/view/ids"></div><table data-classes>'


class Site:
    """Answers by path, the last one of a path from then on; the paths that were asked for."""

    def __init__(self, **answers) -> None:
        self.answers = {path: list(found) for path, found in answers.pop("paths").items()}
        self.asked: list[str] = []

    def get(self, path, timeout=0, headers=None):
        return self._answer(path)

    def post(self, path, fields=None, files=(), timeout=0, headers=None):
        assert headers == {"HX-Request": "true"}
        return self._answer(f"POST {path}")

    def _answer(self, path):
        self.asked.append(path)
        found = self.answers.get(path, [Reply(200)])
        reply = found.pop(0) if len(found) > 1 else found[0]
        if isinstance(reply, Exception):
            raise reply
        return reply


class Reply:
    def __init__(self, status: int, page: str = "", **headers: str) -> None:
        self.status, self.body, self.headers = status, page.encode(), headers


def visitor(**paths) -> tuple[LoadVisitor, Site]:
    site = Site(paths=paths)
    return LoadVisitor(0, site, "m1", lambda: b"jpeg"), site  # type: ignore[arg-type]


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr("segapp.bench.load_visitor.time.sleep", lambda _: None)


def analyzed(*, post, look=None) -> tuple[str, Site]:
    made, site = visitor(**{"POST /analyze/": post, "/analyze/a/": look or [Reply(200, RESULT)]})
    made._do(ANALYZE, made._analyze)
    (act,) = made.acts
    assert act.kind == ANALYZE and len(made.requests) == len(site.asked)
    return act.outcome, site


def sent() -> Reply:
    return Reply(200, WAITING, **{"HX-Push-Url": "/analyze/a/"})


def test_a_photo_is_there_when_its_result_and_files_are(at_once):
    outcome, site = analyzed(post=[sent()], look=[Reply(204), Reply(204), Reply(200, RESULT)])
    assert outcome == OK
    files = ["/files/analyses/a/overlay", "/files/analyses/a/view/ids"]
    assert site.asked == ["POST /analyze/", *["/analyze/a/"] * 3, *files]


def test_a_full_queue_is_refused_and_everything_else_an_error(at_once):
    assert analyzed(post=[Reply(503)])[0] == REFUSED
    assert analyzed(post=[Reply(422)])[0] == "422 POST /analyze/"
    assert analyzed(post=[Reply(200, "problems")])[0] == "an image was not taken"
    assert analyzed(post=[sent()], look=[Reply(200, "could not be analyzed")])[0] == "an image has no result"
    assert analyzed(post=[sent()], look=[Reply(500)])[0] == "500 GET analyze"
    assert analyzed(post=[ConnectionResetError()])[0] == "ConnectionResetError"


def test_who_gets_no_result_gives_up(at_once, monkeypatch):
    monkeypatch.setattr("segapp.bench.load_visitor.PATIENCE", -1.0)
    assert analyzed(post=[sent()])[0] == "no result came"


def test_a_page_is_there_with_its_files_and_those_are_kept():
    made, site = visitor(**{"/analyze/": [Reply(200, '<img src="/files/x?v=1&amp;w=2"><img src="/static/a.svg">')]})
    made._do(PAGE, made._open_analyze)
    made._do(PAGE, made._open_analyze)
    assert site.asked == ["/analyze/", "/files/x?v=1&w=2", "/analyze/"]
    assert [(act.kind, act.outcome) for act in made.acts] == [(PAGE, OK)] * 2


def test_a_file_that_is_refused_refuses_the_page():
    made, _ = visitor(**{"/analyze/": [Reply(200, '<img src="/files/x">')], "/files/x": [Reply(503)]})
    made._do(PAGE, made._open_analyze)
    assert made.acts[0].outcome == REFUSED


def test_a_visit_is_analyze_a_photo_and_another_page_until_it_is_time_to_go(monkeypatch):
    monkeypatch.setattr("segapp.bench.load_visitor.THINK_SECONDS", (0.0, 0.0))
    made, site = visitor(**{"POST /analyze/": [Reply(200, RESULT, **{"HX-Push-Url": "/analyze/a/"})]})
    stop = threading.Event()
    do = made._do

    def until_the_sixth(kind, act):
        do(kind, act)
        if len(made.acts) == 6:
            stop.set()

    made._do = until_the_sixth
    made.live(stop)
    assert [act.kind for act in made.acts] == [PAGE, ANALYZE, PAGE] * 2
    others = {path for path in site.asked if path not in ("/analyze/", "POST /analyze/") and "files" not in path}
    assert others <= {"/finetune/", "/video/", "/models/m1/"} and others
