"""The soak test sees what is lost, and loses nothing itself on either pair of database and broker."""

import itertools
import json
import os
import subprocess
import sys
import threading

import pytest

from segapp.bench import soak
from segapp.bench.soak_faults import MemoryWatch
from segapp.bench.soak_visitor import SoakVisitor, Tally
from segapp.home import PROJECT

RESULT = {
    "minutes": 2.0,
    "visitors": 4,
    "requests": 10,
    "errors": 0,
    "lost_models": 1,
    "wrong_answers": 0,
    "stuck_runs": 0,
    "by_status": {"200": 10},
    "done": {},
    "faults": {"kill web": 1},
    "memory_mb_per_minute": {"web": 0.1},
    "details": ["abc: not listed"],
}


class Answering:
    """A server's answers, in order; "down" is none at all."""

    def __init__(self, *answers) -> None:
        self.answers = list(answers)
        self.cookies: dict[str, str] = {}

    def get(self, path, timeout=0):
        return self.answers.pop(0)

    def post(self, path, fields=None, files=(), timeout=0):
        return self.answers.pop(0)


class Reply:
    def __init__(self, status: int, **body) -> None:
        self.status, self.body = status, body.pop("content", b"")
        self.headers: dict[str, str] = {}
        self._json = body

    def json(self):
        return self._json


def visitor(*answers) -> tuple[SoakVisitor, Tally]:
    tally = Tally()
    made = SoakVisitor(1, "http://127.0.0.1:9", tally, threading.Event())
    made._client = Answering(*answers)  # type: ignore[assignment]
    return made, tally


def test_a_500_counts_as_an_error_and_a_503_is_asked_again(monkeypatch):
    monkeypatch.setattr("segapp.bench.soak_visitor.time.sleep", lambda _: None)
    made, tally = visitor(Reply(503), Reply(200))
    assert made._ask("GET", "/x").status == 200 and not tally.errors
    made, tally = visitor(Reply(500))
    made._ask("GET", "/x")
    assert tally.errors == ["500 GET /x"]


def test_a_model_that_is_not_listed_any_more_counts_as_lost():
    made, tally = visitor(Reply(200, models=[{"id": "kept", "file_state": "ok"}]))
    made._models = ["kept", "gone"]
    made.finish()
    assert tally.lost_models == ["gone: not listed"]


def test_an_answer_by_a_foreign_model_and_a_changed_mask_are_wrong():
    body = {"model_key": "user_other", "model_sha256": "s", "mask_url": "/m"}
    made, tally = visitor(
        Reply(200, **body), Reply(200, content=b"one"), Reply(200, **body), Reply(200, content=b"two")
    )
    made.analyze()
    made.analyze()
    assert len(tally.wrong_answers) == 3  # twice another's model, once another mask


def test_the_table_names_what_was_lost():
    text = soak.table(RESULT)
    assert "lost models           1" in text and "lost: abc: not listed" in text and "kill web 1" in text


def test_memory_that_grows_has_a_slope(monkeypatch):
    clock = iter(range(0, 1000, 6))
    monkeypatch.setattr("segapp.bench.soak_faults.time.monotonic", lambda: next(clock))

    class Grows:
        size = 100.0

        def resident(self):
            self.size += 0.5
            return [("web", 1, self.size), ("predict", 2, 300.0)]

    watch = MemoryWatch(Grows())
    for _ in range(20):
        watch.look()
    assert watch.slopes()["predict"] == 0.0
    assert watch.slopes()["web"] > 1


def test_a_worker_that_trains_is_looked_at_when_it_rests(monkeypatch):
    """Trainings of a gigabyte, and 1 MB more after each: three a minute."""
    clock = iter(range(1000))
    monkeypatch.setattr("segapp.bench.soak_faults.time.monotonic", lambda: next(clock))

    class Trains:
        seconds = -1

        def resident(self):
            self.seconds += 1
            training = self.seconds % 20 > 4
            return [("train", 1, 500.0 + self.seconds // 20 + 1000 * training)]

    watch = MemoryWatch(Trains())
    for _ in range(310):  # the last training is not over
        watch.look()
    assert watch.slopes() == {"train": 3.0} and watch.at_rest() == {"train": 514.0}


def test_of_the_web_servers_two_processes_the_one_that_answers_counts(monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr("segapp.bench.soak_faults.time.monotonic", lambda: next(clock))

    class Web:
        size = 110.0

        def resident(self):
            self.size += 1
            return [("web", 1, 40.0), ("web", 2, self.size)]

    watch = MemoryWatch(Web())
    for _ in range(120):
        watch.look()
    assert watch.slopes()["web"] == 30.0 and watch.at_rest()["web"] > 200


def test_the_table_says_what_a_calm_time_showed():
    calm = {"minutes": 5.0, "done": {"trainings": 9}, "memory_mb": {"train": 600.0}}
    text = soak.table({**RESULT, "calm": {**calm, "memory_mb_per_minute": {"train": 0.2}}})
    assert "calm: 5 minutes, trainings 9" in text and "train 600.0" in text and "train 0.2" in text


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nothing_is_lost_in_a_minute_with_faults(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            str(PROJECT / "manage.py"),
            "soak",
            "--minutes",
            "1",
            "--calm",
            "0.2",
            "--visitors",
            "3",
            "--json",
        ],
        env={**os.environ, "SEGAPP_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    assert done.returncode == 0 and not found["lost"], found["details"]
    assert found["done"]["trainings"] >= 1 and found["done"]["analyses"] >= 1 and sum(found["faults"].values()) >= 2
    assert all(found["calm"]["memory_mb"][part] > 50 for part in ("web", "predict", "train"))


def test_a_run_that_moves_is_waited_for_and_one_that_does_not_is_stuck(monkeypatch):
    """Two minutes pass with every look."""
    clock = itertools.count(0, 120)
    monkeypatch.setattr("segapp.bench.soak_visitor.time.sleep", lambda _: None)
    monkeypatch.setattr("segapp.bench.soak_visitor.time.monotonic", lambda: next(clock))
    run = {"state": "queued", "progress": 0, "queue_position": 1, "wait_seconds": 9}
    ended = {**run, "state": "failed", "user_id": "", "restore_token": ""}
    made, tally = visitor(
        *[Reply(200, **{**run, "wait_seconds": left}) for left in range(9, 0, -1)], Reply(200, **ended)
    )
    made._run = "/r"
    made.finish()
    assert not tally.stuck_runs and tally.done["trainings failed"] == 1
    made, tally = visitor(*[Reply(200, **run)] * 9)
    made._run = "/r"
    made.finish()
    assert tally.stuck_runs == ["/r"]
