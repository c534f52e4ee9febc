"""Open event streams on a real server: they come piece by piece, stop no page, and hold up no end."""

import http.client
import time

import pytest

from segapp.services.events import MAX_OPEN
from segapp.tests.imaging.drawing import photo, saved, shapes
from segapp.tests.serving import Served

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def opened(visitor, run_id: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(visitor.host, timeout=60)
    cookies = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
    connection.request("GET", f"/api/finetune/{run_id}/events", headers={"Cookie": cookies})
    return connection.getresponse()


def test_a_training_is_watched_to_its_end_while_pages_stay_quick(own_server: Served):
    own_server.start().wait_ready(300)
    visitors = [own_server.visitor() for _ in range(MAX_OPEN + 1)]
    image, mask = saved(photo(96)).getvalue(), saved(shapes([0, 1])).getvalue()
    runs = []
    for visitor in visitors:
        answer = visitor.post("/api/finetune", {}, [("images", "a.png", image), ("masks", "a.png", mask)])
        assert answer.status == 202, answer.body
        runs.append(answer.json()["run_id"])
    streams = [opened(visitor, run) for visitor, run in zip(visitors[:-1], runs[:-1], strict=True)]
    assert [stream.status for stream in streams] == [200] * MAX_OPEN
    refused = opened(visitors[-1], runs[-1])
    assert refused.status == 503 and int(refused.headers["Retry-After"]) > 0
    began = time.monotonic()
    assert own_server.visitor().get("/").status == 200
    assert time.monotonic() - began < 3
    assert streams[0].readline().startswith(b"retry:")
    told, until = [], time.monotonic() + 600
    while b"event: end\n" not in told and time.monotonic() < until:
        told.append(streams[0].readline())
    assert told.count(b"event: progress\n") > 2, "piece by piece, not all at the end"
    assert b"event: end\n" in told and b"event: preview\n" in told
    assert own_server.stop() < 15, "the streams that are open end with the server"
