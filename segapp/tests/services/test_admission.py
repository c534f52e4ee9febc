"""How many images may wait: a full server says so, and whatever it took it keeps."""

from datetime import timedelta

import pytest
from django.utils import timezone

from registry.models import UserModel
from segapp.models import Analysis, State, Worker
from segapp.services import admission, analyses
from segapp.services.admission import MIN_ADMITTED, Overloaded, admit, waiter_slot

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def silent(monkeypatch):
    """Nothing is dispatched: there is no broker here."""
    dispatched: list[int] = []
    monkeypatch.setattr("segapp.dispatch.analysis", lambda row: dispatched.append(row.pk))
    return dispatched


def waiting(count: int, **values) -> list[Analysis]:
    return [Analysis.objects.create(visitor="alice", title="p", width=9, height=9, **values) for _ in range(count)]


def measured(milliseconds: float) -> None:
    """A finished result that took so long."""
    ended = {"state": State.DONE, "ended": timezone.now(), "timings": {"inference_ms": milliseconds}}
    waiting(1, **ended)


def worker(name: str = "host:1", queues: str = "predict") -> Worker:
    return Worker.objects.create(name=name, queues=queues, seen=timezone.now(), ready=True)


def aged(rows: list[Analysis], minutes: float) -> list[Analysis]:
    pks = [row.pk for row in rows]
    Analysis.objects.filter(pk__in=pks).update(created=timezone.now() - timedelta(minutes=minutes))
    return rows


def test_sixteen_are_taken_at_any_pace():
    worker()
    measured(100_000)
    for _ in range(MIN_ADMITTED):
        admit("alice")
        waiting(1)
    with pytest.raises(Overloaded) as full:
        admit("alice")
    assert full.value.retry_after == 30, "never longer than that, though it takes 1600 s"


def test_a_quick_server_takes_as_many_as_its_queue_holds(settings):
    worker()
    measured(200)
    waiting(settings.SEGAPP_QUEUE - 1)
    admit("alice")
    waiting(1)
    with pytest.raises(Overloaded) as full:
        admit("alice")
    assert 2 <= full.value.retry_after <= 30


def test_more_workers_take_more(settings):
    settings.SEGAPP_QUEUE = 1000
    worker()
    measured(1000)
    waiting(60)
    with pytest.raises(Overloaded):
        admit("alice")
    worker("host:2")
    worker("host:3", "train,video")
    admit("alice")


def test_a_smaller_queue_is_the_operators_word(settings):
    settings.SEGAPP_QUEUE = 1
    admit("alice")
    waiting(1)
    with pytest.raises(Overloaded):
        admit("alice")


def test_requests_that_wait_leave_threads_for_pages(monkeypatch):
    from segapp import gunicorn_conf

    assert gunicorn_conf.threads - admission.MAX_WAITERS >= 16
    with waiter_slot():
        pass  # given back
    taken = [waiter_slot() for _ in range(admission.MAX_WAITERS)]
    for one in taken:
        one.__enter__()
    try:
        with pytest.raises(Overloaded), waiter_slot():
            pass
        monkeypatch.setattr(analyses, "wait", lambda row, seconds: seconds)
        assert analyses.wait_if_free(Analysis(), 20) == 0, "a page looks and comes back"
    finally:
        for one in taken:
            one.__exit__(None, None, None)
    assert analyses.wait_if_free(Analysis(), 20) == 20


def test_what_was_accepted_is_kept_while_there_is_a_worker(silent):
    worker()
    (row,) = aged(waiting(1), 15)
    analyses.reap()
    row.refresh_from_db()
    assert row.state == State.QUEUED and silent == [row.pk], "and it is dispatched again"


@pytest.fixture
def clock(monkeypatch):
    """The monotonic clock that the reaper looks at."""
    now = [1000.0]
    monkeypatch.setattr(analyses.time, "monotonic", lambda: now[0])
    for name, empty in (("_unfinished", {}), ("_beats", {}), ("_without_worker", [])):
        monkeypatch.setattr(analyses, name, empty)
    return now


def test_without_any_worker_it_is_given_up_in_words(clock):
    (row,) = waiting(1)
    analyses.reap()
    clock[0] += 60
    (fresh,) = waiting(1)
    analyses.reap()
    clock[0] += 61
    analyses.reap()
    row.refresh_from_db()
    fresh.refresh_from_db()
    assert row.state == State.FAILED and "No worker answered within 2 minutes" in row.message
    assert fresh.state == State.QUEUED


@pytest.mark.fault(48)
def test_a_wall_clock_that_jumps_an_hour_fails_nothing(clock):
    """Rows look an hour old and heartbeats an hour silent, but their counters move."""
    made = worker("host:1")
    (queued,), (held,) = waiting(1), waiting(1, state=State.RUNNING, worker="host:1", attempts=1)
    for beats in range(1, 5):
        aged(Analysis.objects.all(), 90)
        Worker.objects.filter(pk=made.pk).update(beats=beats, seen=timezone.now() - timedelta(hours=1))
        analyses.reap()
        clock[0] += 3
    assert dict(Analysis.objects.values_list("pk", "state")) == {queued.pk: State.QUEUED, held.pk: State.RUNNING}


def test_a_worker_whose_beats_stand_still_loses_its_image(clock):
    worker("host:1")
    (held,) = waiting(1, state=State.RUNNING, worker="host:1", attempts=1)
    analyses.reap()
    clock[0] += Worker.SILENCE + 1
    analyses.reap()
    held.refresh_from_db()
    assert held.state == State.QUEUED


def test_a_dead_workers_image_goes_to_another_one_and_not_for_ever():
    worker("host:2")
    first, second = waiting(2, state=State.RUNNING, worker="host:1", attempts=1)
    Analysis.objects.filter(pk=second.pk).update(attempts=2)
    (held,) = waiting(1, state=State.RUNNING, worker="host:2", attempts=1)
    analyses.reap()
    states = dict(Analysis.objects.values_list("pk", "state"))
    assert states[first.pk] == State.QUEUED
    assert states[second.pk] == State.FAILED
    assert states[held.pk] == State.RUNNING, "a large image may take a while"


# --- cost ------------------------------------------------------------------------------------------------


def test_a_model_that_looks_twice_takes_twice_the_passes():
    model = UserModel(input_size=512, classes=[{"id": 0}, {"id": 1}])
    once = analyses._passes(model, (640, 480))
    model.recipe = {"mirrored": True}
    assert (once, analyses._passes(model, (640, 480))) == (1, 2)


def test_one_image_of_many_passes_counts_as_many():
    """48 passes at a second each are left of an image of somebody else's."""
    worker()
    measured(1000)
    waiting(MIN_ADMITTED - 1)
    waiting(1, passes=60, state=State.RUNNING, progress=0.2)
    with pytest.raises(Overloaded):
        admit("charlie")
    Analysis.objects.filter(passes=60).update(progress=0.9)
    admit("charlie")


def test_the_pace_is_that_of_a_pass():
    worker()
    ended = {"state": State.DONE, "ended": timezone.now(), "timings": {"inference_ms": 100_000}}
    waiting(1, passes=1000, **ended)
    assert admission.pace() == pytest.approx(0.1)


def test_a_visitor_with_images_waiting_adds_no_costly_one_beyond_two_minutes_of_work():
    worker()
    measured(1000)
    admit("alice", passes=500)
    waiting(1, passes=100)
    with pytest.raises(Overloaded, match="500 passes"):
        admit("alice", passes=500)
    admit("alice", passes=20)
    admit("alice")
    admit("charlie", passes=500)


def test_costly_images_of_all_together_are_capped():
    worker()
    measured(1000)
    for number in range(7):
        Analysis.objects.create(visitor=f"guest{number}", title="p", width=9, height=9, passes=100)
    with pytest.raises(Overloaded, match="such images are waiting"):
        admit("charlie", passes=100)
    admit("charlie")


def test_place_and_time_count_what_turns_by_cost_put_before_it():
    worker()
    measured(100)
    (running,) = waiting(1, passes=200, state=State.RUNNING, progress=0.75)
    hers = waiting(3, passes=10)
    mine = Analysis.objects.create(visitor="charlie", title="p", width=9, height=9, passes=4)
    later = Analysis.objects.create(visitor="charlie", title="p", width=9, height=9)
    assert admission.wait(running) == (0, 0.0)
    assert admission.wait(mine) == (2, 6.0), "50 passes that run and one image of ten"
    assert admission.wait(later) == (3, 6.4)
    assert admission.wait(hers[2]) == (5, 7.5), "both of hers, both of his"
    assert admission.seconds_left(mine) == pytest.approx(0.4)


def test_an_image_costs_what_its_model_takes(settings, tmp_path):
    from registry.tests.test_services import make
    from segapp.tests.imaging.drawing import photo, saved

    settings.MEDIA_ROOT = tmp_path
    measured(10)
    model = make("alice", active=True)
    type(model).objects.filter(pk=model.pk).update(input_size=64, example_side=64)
    small, large = (analyses.submit("alice", saved(photo(side)), "p.png") for side in (96, 640))
    assert (small.passes, large.passes) == (1, 1 + 13 * 13)
    assert analyses.submit("charlie", saved(photo(640)), "p.png").passes == 1, "the base takes one"
