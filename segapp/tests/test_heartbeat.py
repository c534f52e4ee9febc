"""A worker's sign of life: its row, its leases, its chores."""

import os
import subprocess
import sys
import threading
import time
from datetime import timedelta
from unittest.mock import MagicMock

import pytest
from django.db import OperationalError
from django.utils import timezone

from segapp import heartbeat
from segapp.models import State, TrainingRun, Worker

LABEL = "segapp.TrainingRun"


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """The module as a new process finds it."""
    monkeypatch.setattr(heartbeat, "_described", {"queues": "", "device": "", "ready": False})
    for name, value in (("_info", None), ("_held", {}), ("_chores", []), ("_beating", None)):
        monkeypatch.setattr(heartbeat, name, value)
    for name in ("_left", "_wake", "stopping"):
        monkeypatch.setattr(heartbeat, name, threading.Event())
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.05)


@pytest.fixture
def running(db) -> TrainingRun:
    row = TrainingRun.objects.create(visitor="alice", name="Model 1")
    assert TrainingRun.objects.claim(row.pk, heartbeat.NAME, "token")
    row.refresh_from_db()
    return row


def test_a_beat_writes_the_row_and_the_next_one_updates_it(db):
    heartbeat.describe(queues="predict", device="CPU", info=lambda: {"cached": 3})
    heartbeat.beat()
    heartbeat.describe(ready=True)
    heartbeat.beat()
    (worker,) = Worker.objects.alive()
    assert (worker.name, worker.queues, worker.device, worker.ready) == (heartbeat.NAME, "predict", "CPU", True)
    assert worker.info["cached"] == 3
    assert worker.info["memory_mb"] > 10


def test_held_rows_count_up_and_released_ones_stand_still(running):
    heartbeat.hold(LABEL, running.pk, "token")
    heartbeat.beat()
    heartbeat.beat()
    heartbeat.release(LABEL, running.pk)
    heartbeat.beat()
    before = running.lease_beats
    running.refresh_from_db()
    assert running.lease_beats == before + 2


def test_a_lost_lease_is_noticed_and_not_beaten_for(running):
    heartbeat.hold(LABEL, running.pk, "token")
    TrainingRun.objects.filter(pk=running.pk).update(lease="another", lease_beats=100)
    heartbeat.beat()
    assert not heartbeat.holds(LABEL, running.pk)
    running.refresh_from_db()
    assert running.lease_beats == 100


def test_an_ended_row_is_not_beaten_for(running):
    heartbeat.hold(LABEL, running.pk, "token")
    TrainingRun.objects.end(running.pk, "token", State.DONE)
    heartbeat.beat()
    assert not heartbeat.holds(LABEL, running.pk)


def test_silent_workers_and_dead_processes_of_this_host_are_forgotten(db):
    now, start = timezone.now(), heartbeat.NAME.rpartition(":")[0]
    long_ago = now - timedelta(seconds=heartbeat.FORGET_SECONDS + 1)
    Worker.objects.create(name="elsewhere:1", seen=long_ago)
    Worker.objects.create(name="elsewhere:2", seen=now)
    Worker.objects.create(name=f"{start}:1", seen=now)
    heartbeat.beat()
    heartbeat.forget_the_gone()
    assert set(Worker.objects.values_list("name", flat=True)) == {"elsewhere:2", heartbeat.NAME}


def _seen_after(before):
    """The time of a beat later than `before`, while this thread computes; the last one seen after 10 s without."""
    seen, deadline = None, time.monotonic() + 10
    while time.monotonic() < deadline and (seen is None or seen == before):
        sum(range(1_000_000))
        seen = Worker.objects.values_list("seen", flat=True).first()
    return seen


@pytest.mark.django_db(transaction=True)
def test_the_thread_beats_beside_a_busy_main_thread_until_it_leaves():
    heartbeat.start()
    heartbeat.start()
    assert [thread.name for thread in threading.enumerate()].count("heartbeat") == 1
    first = _seen_after(None)
    assert _seen_after(first) > first
    heartbeat.leave()
    assert not Worker.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_failing_database_is_survived(monkeypatch, caplog):
    beats, real = [], heartbeat.beat

    def beat():
        beats.append(1)
        if len(beats) < 3:
            raise OperationalError("database is locked")
        real()

    monkeypatch.setattr(heartbeat, "beat", beat)
    heartbeat.start()
    deadline = time.monotonic() + 5
    while not Worker.objects.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert Worker.objects.exists()
    assert "database is locked" in caplog.text
    heartbeat.leave()


@pytest.mark.django_db(transaction=True)
def test_chores_run_again_and_again_also_after_one_failed():
    done, failed = [], []

    def fail():
        failed.append(1)
        raise RuntimeError("broker gone")

    heartbeat.every(0.1, fail)
    heartbeat.every(0.1, lambda: done.append(1))
    heartbeat.start()
    deadline = time.monotonic() + 5
    while len(done) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    heartbeat.leave()
    assert len(done) >= 2
    assert len(failed) >= 2


def test_a_beat_touches_the_file_that_health_checks_look_at(db, tmp_path, monkeypatch):
    monkeypatch.setenv("SEGAPP_BEAT_FILE", str(tmp_path / "beat"))
    heartbeat._touch()
    assert (tmp_path / "beat").exists()


@pytest.fixture
def clock(monkeypatch):
    """The monotonic clock that progress is measured on."""
    now = [1000.0]
    monkeypatch.setattr(heartbeat, "_ticked", None)
    monkeypatch.setattr(heartbeat.time, "monotonic", lambda: now[0])
    return now


def beats_of(run: TrainingRun) -> tuple[int, int]:
    """Of the row's lease, and of the worker itself."""
    heartbeat.beat()
    run.refresh_from_db()
    return run.lease_beats, Worker.objects.get().beats


def test_a_task_that_gets_on_no_more_loses_lease_and_beat_until_it_gets_on(running, clock, settings):
    settings.SEGAPP_STALL_SECONDS = 600
    heartbeat.hold(LABEL, running.pk, "token")
    heartbeat.task_began()
    clock[0] += 599
    lease, worker = beats_of(running)
    heartbeat.tick()
    clock[0] += 599
    assert beats_of(running) == (lease + 1, worker + 1), "it ticked meanwhile"
    clock[0] += 2
    assert beats_of(running) == (lease + 1, worker + 1), "no beat: another worker takes over"
    heartbeat.tick()
    assert beats_of(running)[0] == lease + 2


def test_an_idle_worker_beats_for_ever_and_so_does_work_beside_the_tasks(running, clock, settings):
    settings.SEGAPP_STALL_SECONDS = 600
    heartbeat.hold(LABEL, running.pk, "token", apart=True)
    lease, worker = beats_of(running)
    clock[0] += 5000
    assert beats_of(running) == (lease + 1, worker + 1)
    heartbeat.task_began()
    clock[0] += 5000
    assert beats_of(running) == (lease + 2, worker + 1), "the task hangs, and what is done beside it does not"
    heartbeat.task_ended()
    assert beats_of(running)[1] > worker + 1


def test_a_process_that_hangs_is_ended_after_others_could_take_over(clock, settings, monkeypatch):
    from segapp.services import runs

    class Ended(BaseException):
        pass

    def end() -> None:
        raise Ended

    settings.SEGAPP_STALL_SECONDS = 600
    monkeypatch.setattr(heartbeat, "_end_process", end)
    monkeypatch.setattr(heartbeat, "beat", heartbeat._left.set)
    monkeypatch.setattr(heartbeat, "Worker", MagicMock())
    monkeypatch.setattr(heartbeat, "connection", MagicMock())
    assert heartbeat.LAST_SECONDS > runs.LEASE_SECONDS + heartbeat.BEAT_SECONDS
    heartbeat.task_began()
    clock[0] += 600 + heartbeat.LAST_SECONDS - 1
    heartbeat._beat_on()  # beats once and leaves
    heartbeat._left.clear()
    clock[0] += 2
    with pytest.raises(Ended):
        heartbeat._beat_on()


@pytest.mark.fault(54)
@pytest.mark.slow
def test_a_decoder_that_never_returns_ends_with_its_process(tmp_path):
    """A lock that is never given stands for a library that hangs."""
    program = (
        "import django; django.setup()\n"
        "from segapp import heartbeat\n"
        "from django.conf import settings\n"
        "settings.SEGAPP_STALL_SECONDS, heartbeat.LAST_SECONDS, heartbeat.BEAT_SECONDS = 0.2, 0.3, 0.1\n"
        "heartbeat.beat = lambda: None\n"
        "heartbeat.task_began(); heartbeat.start()\n"
        "import threading; lock = threading.Lock(); lock.acquire(); lock.acquire()\n"
    )
    environment = {**os.environ, "SEGAPP_HOME": str(tmp_path), "DJANGO_SETTINGS_MODULE": "segapp.settings"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "lock.acquire" not in done.stdout and "made no progress" in done.stderr
