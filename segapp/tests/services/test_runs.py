"""Runs and the reaper: one at a time, stopped at once while queued, taken back from workers that died."""

from datetime import timedelta

import pytest
from django.utils import timezone

from registry.tests.test_services import make
from segapp import dispatch, owner
from segapp.models import MAX_ATTEMPTS, State, Stop, TrainingRun, Worker
from segapp.services import runs

ALICE = "a" * 32


@pytest.fixture
def dispatched(monkeypatch):
    """Which rows were dispatched for; nothing is sent."""
    heard: list[int] = []
    monkeypatch.setattr(dispatch, "training", lambda run: heard.append(run.pk))
    monkeypatch.setattr(runs, "_seen", {})
    monkeypatch.setattr(runs, "_redispatched", {})
    return heard


@pytest.fixture
def clock(monkeypatch):
    """A monotonic clock that tests turn."""
    now = [1000.0]
    monkeypatch.setattr(runs.time, "monotonic", lambda: now[0])
    return now


def queued(**values) -> TrainingRun:
    return TrainingRun.objects.create(visitor=values.pop("visitor", ALICE), name="Run", **values)


def claimed(owner: str = "elsewhere:1") -> TrainingRun:
    run = queued()
    assert TrainingRun.objects.claim(run.pk, owner, "token")
    run.refresh_from_db()
    return run


def test_of_two_messages_one_gets_the_run(db):
    run = queued()
    assert TrainingRun.objects.claim(run.pk, "one:1", "first")
    assert not TrainingRun.objects.claim(run.pk, "two:2", "second")


def test_a_lease_that_was_lost_ends_nothing(db):
    run = claimed()
    assert not TrainingRun.objects.end(run.pk, "another token", State.DONE)
    assert TrainingRun.objects.end(run.pk, "token", State.DONE)


@pytest.mark.fault(41)
def test_a_cancelled_queued_run_never_starts(db):
    run = queued()
    runs.stop(run, keep=False)
    assert run.state == State.CANCELLED
    assert not TrainingRun.objects.claim(run.pk, "one:1", "token")


@pytest.mark.fault(41)
@pytest.mark.parametrize(("keep", "asked"), [(True, Stop.KEEP), (False, Stop.DISCARD)])
def test_a_running_run_is_asked_to_stop(db, keep, asked):
    run = claimed()
    runs.stop(run, keep=keep)
    assert (run.state, run.stop) == (State.RUNNING, asked)


def test_discard_is_not_taken_back_by_keep(db):
    run = claimed()
    runs.stop(run, keep=False)
    runs.stop(run, keep=True)
    assert run.stop == Stop.DISCARD


def test_a_run_whose_worker_lives_is_left_alone(db, dispatched, clock):
    run = claimed()
    for beats in range(5):
        TrainingRun.objects.update(lease_beats=beats + 10)
        runs.reap()
        clock[0] += runs.LEASE_SECONDS - 1
    run.refresh_from_db()
    assert run.state == State.RUNNING


def test_a_run_whose_worker_fell_silent_is_queued_again_at_most_twice(db, dispatched, clock):
    run = claimed()
    for attempt in range(1, MAX_ATTEMPTS + 1):
        runs.reap()
        clock[0] += runs.LEASE_SECONDS + 1
        runs.reap()
        run.refresh_from_db()
        assert run.attempts == attempt
        if attempt < MAX_ATTEMPTS:
            assert run.state == State.QUEUED and run.pk in dispatched
            assert TrainingRun.objects.claim(run.pk, "elsewhere:2", f"token {attempt}")
    assert run.state == State.FAILED and "twice" in run.message


@pytest.mark.fault(55)
def test_a_dead_process_of_this_host_loses_its_run_at_once(db, dispatched, clock):
    run = claimed(owner=f"{owner.name()}1")
    runs.reap()
    run.refresh_from_db()
    assert run.state == State.QUEUED


@pytest.mark.fault(48)
def test_a_wall_clock_that_jumps_takes_no_run_away(db, dispatched, clock):
    """Nothing here looks at the wall clock: only the counter and the monotonic clock count."""
    run = claimed()
    TrainingRun.objects.update(started="2001-01-01T00:00:00Z", created="2001-01-01T00:00:00Z")
    runs.reap()
    run.refresh_from_db()
    assert run.state == State.RUNNING


def test_a_cancelled_run_of_a_dead_worker_is_not_started_again(db, dispatched, clock):
    run = claimed(owner=f"{owner.name()}1")
    runs.stop(run, keep=False)
    runs.reap()
    run.refresh_from_db()
    assert run.state == State.CANCELLED


def test_a_lost_message_is_rung_again_but_not_all_the_time(db, dispatched, clock):
    run = queued()
    for _ in range(3):
        runs.reap()
    assert dispatched == [], "the first message was sent with the commit"
    clock[0] += runs.REDISPATCH_SECONDS + 1
    for _ in range(3):
        runs.reap()
    assert dispatched == [run.pk]


def test_a_queue_position_counts_those_before(db):
    first, second = queued(), queued(visitor="b" * 32)
    assert (first.queue_position(), second.queue_position()) == (0, 1)
    TrainingRun.objects.claim(first.pk, "one:1", "token")
    assert second.queue_position() == 1


def test_the_time_of_a_training_is_estimated_from_the_latest_ones_of_its_effort(db):
    for seconds, images in ((20.0, 5), (44.0, 10), (30.0, 5)):
        model = make(ALICE)
        type(model).objects.filter(pk=model.pk).update(seconds=seconds, image_count=images)
        queued(visitor=f"{seconds}", state=State.DONE, model=model, ended=timezone.now())
    assert runs.usual_seconds("quick", 5) == pytest.approx(22)
    assert runs.usual_seconds("quick", 20) == pytest.approx(88)
    assert runs.usual_seconds("quick", 1) == pytest.approx(22 * 0.7)
    assert runs.usual_seconds("thorough", 5) is None


def test_the_estimate_counts_the_whole_run_and_only_trainings_on_the_servers_base(db):
    now = timezone.now()
    for seconds, whole, base in (
        (20.0, 26, "efficientnet_lite0"),
        (20.0, 3600, "efficientnet_lite0"),
        (90.0, 99, "mit_b3"),
    ):
        model = make(ALICE)
        type(model).objects.filter(pk=model.pk).update(seconds=seconds, image_count=5, base_key=base)
        begun = now - timedelta(seconds=whole)
        queued(visitor=f"{whole}", state=State.DONE, model=model, started=begun, ended=now)
    assert runs.usual_seconds("quick", 5) == pytest.approx(23), "26 s, and 20 s where the clock must have jumped"


def test_before_the_first_training_the_estimate_is_what_a_worker_measured_with_the_same_base(db):
    assert runs.usual_seconds("quick", 5) is None
    info = {runs.SHORT_TRAINING: {"base": "mit_b3", "seconds": 9.0}}
    worker = Worker.objects.create(name="one", queues="train,video", seen=timezone.now(), info=info)
    assert runs.usual_seconds("quick", 5) is None
    info[runs.SHORT_TRAINING] = {"base": "efficientnet_lite0", "seconds": 3.0}
    Worker.objects.filter(pk=worker.pk).update(info=info)
    assert runs.usual_seconds("quick", 10) == pytest.approx(3 * runs.SHORT_TRAININGS["quick"] * 2)
    assert runs.usual_seconds("thorough", 5) == pytest.approx(3 * runs.SHORT_TRAININGS["thorough"])
