"""More requests than the server can promise to answer: it says so at once, and loses nothing of what it took."""

import os
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from segapp.tests.imaging.drawing import photo, saved
from segapp.tests.serving import Served, until

pytestmark = pytest.mark.slow
QUEUE, REQUESTS = 18, 40


@pytest.fixture
def small(tmp_path):
    server = Served(tmp_path / "home", SEGAPP_QUEUE=str(QUEUE))
    yield server
    server.stop()


def test_a_flood_is_turned_away_and_what_was_taken_is_answered(small):
    small.start().wait_ready()
    visitors = [small.visitor() for _ in range(REQUESTS)]
    for visitor in visitors:
        visitor.get("/api/health")
    content = saved(photo(96)).getvalue()
    predict = small.pid("predict")
    os.kill(predict, signal.SIGSTOP)  # a worker that is busy for as long as the test wants
    with ThreadPoolExecutor(REQUESTS) as pool:
        sent = [pool.submit(visitor.post, "/api/segment", {}, [("file", "p.png", content)]) for visitor in visitors]
        until(lambda: sum(one.done() for one in sent) >= REQUESTS - 24, 60)
        turned_away = [one.result() for one in sent if one.done()]
        assert small.visitor().get("/analyze/").status == 200, "pages answer beside those who wait"
        os.kill(predict, signal.SIGCONT)
        answers = [one.result() for one in sent]
    counted = Counter(answer.status for answer in answers)
    assert set(counted) == {200, 503}, counted
    assert counted[200] >= 16
    for answer in turned_away:
        assert answer.status == 503 and answer.json()["error"]["code"] == "overloaded"
        assert 2 <= int(answer.headers["Retry-After"]) <= 30
    masks = {answer.json()["mask_url"] for answer in answers if answer.status == 200}
    assert len(masks) == counted[200], "an answer each"
    assert small.visitor().post("/api/segment", {}, [("file", "p.png", content)]).status == 200, "and room again"
