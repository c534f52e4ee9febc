"""Trainings, videos and batches: a cap over all visitors, a place in the queue, and how long it takes."""

from datetime import timedelta

import pytest
from django.utils import timezone

from segapp.models import Analysis, Batch, State, TrainingRun, VideoJob
from segapp.services import analyses, queueing
from segapp.services.errors import Overloaded
from segapp.tests.services.test_painting import own_media
from segapp.tests.views.rows import pairs

__all__ = ["own_media"]
pytestmark = pytest.mark.django_db
ALICE, CHARLIE, DORA = "a" * 32, "c" * 32, "d" * 32


def job(visitor: str, **values) -> VideoJob:
    return VideoJob.objects.create(visitor=visitor, title="ride.mp4", **values)


def took(kind, seconds: float) -> None:
    """One that ended, after so long."""
    now = timezone.now()
    ended = {"state": State.DONE, "ended": now, "started": now - timedelta(seconds=seconds)}
    kind.objects.create(visitor=DORA, **ended)


@pytest.mark.parametrize(
    ("kind", "setting"),
    [(TrainingRun, "SEGAPP_TRAIN_QUEUE"), (VideoJob, "SEGAPP_VIDEO_QUEUE"), (Batch, "SEGAPP_BATCH_QUEUE")],
)
def test_a_kind_is_capped_over_all_visitors(settings, kind, setting):
    setattr(settings, setting, 2)
    kind.objects.create(visitor=ALICE)
    queueing.admit(kind)
    kind.objects.create(visitor=CHARLIE, state=State.RUNNING)
    with pytest.raises(Overloaded) as full:
        queueing.admit(kind)
    assert 30 <= full.value.retry_after <= 300
    kind.objects.filter(visitor=ALICE).update(state=State.DONE)
    queueing.admit(kind)


def test_a_training_too_many_is_a_503_with_retry_after_and_leaves_nothing(alice, charlie, settings):
    settings.SEGAPP_TRAIN_QUEUE = 1
    assert charlie.post("/api/finetune", pairs("one", "two")).status_code == 202
    full = alice.post("/api/finetune", pairs("one", "two"))
    assert full.status_code == 503 and full.json()["error"]["code"] == "overloaded"
    assert int(full.headers["Retry-After"]) >= 30
    assert not TrainingRun.objects.filter(visitor=alice.visitor).exists()
    again = charlie.post("/api/finetune", pairs("one", "two"))
    assert again.status_code == 409, "who has one already is shown it"


def test_on_the_page_the_images_stay_and_it_says_to_come_back(alice, settings):
    settings.SEGAPP_TRAIN_QUEUE = 0
    alice.post("/finetune/", pairs("one", "two"))
    full = alice.post("/finetune/train/", {"effort": "quick"})
    assert full.status_code == 503 and "Retry-After" in full.headers
    assert "Try again in a few minutes" in full.content.decode() and "one" in full.content.decode()


def test_the_place_counts_as_many_of_the_others_as_there_are_turns_to_wait_for():
    for _ in range(10):
        job(ALICE)
    first, second = job(CHARLIE), Batch.objects.create(visitor=CHARLIE)
    assert first.queue_position() == 1 and second.queue_position() == 3, "not ten and eleven"
    job(DORA, state=State.RUNNING)
    assert first.queue_position() == 2


def test_the_time_is_what_runs_and_what_waits_before_it_take():
    running = job(ALICE, state=State.RUNNING, eta_seconds=40)
    Batch.objects.create(visitor=ALICE)
    mine = job(CHARLIE)
    assert queueing.wait_seconds(mine) is None, "no batch has ended yet, so nobody knows"
    for seconds in (100, 20, 30):
        took(Batch, seconds)
    assert queueing.wait_seconds(mine) == 40 + 30
    TrainingRun.objects.create(visitor=ALICE, state=State.RUNNING, eta_seconds=25)
    assert queueing.wait_seconds(mine) == 40 + 30 + 25, "a training goes first"
    assert queueing.wait_seconds(running) == 0


def test_trainings_say_their_place_and_time(alice, charlie):
    took(TrainingRun, 50)
    alice.post("/api/finetune", pairs("one", "two"))
    sent = charlie.post("/api/finetune", pairs("one", "two")).json()
    status = charlie.get(sent["status_url"]).json()
    assert status["queue_position"] == 1 and status["wait_seconds"] == 50
    assert "1 training before yours, about 50 s" in " ".join(charlie.get("/finetune/").content.decode().split())


def test_an_image_that_is_read_in_parts_stands_in_the_queue_of_the_videos():
    Analysis.objects.create(
        visitor="dora", title="l", width=9, height=9, state=State.DONE, timings={"inference_ms": 50}
    )
    large = {"visitor": "alice", "title": "l", "width": 9, "height": 9, "windows": True}
    running = Analysis.objects.create(**large, state=State.RUNNING, passes=400, progress=0.5)
    Analysis.objects.create(**large, passes=100)
    job = VideoJob.objects.create(visitor="charlie", title="v")
    assert job.queue_position() == 2, "the one that runs and the first of hers"
    assert queueing.wait_seconds(job) == pytest.approx((200 + 100) * 0.05)
    mine = Analysis.objects.create(**{**large, "visitor": "charlie"}, passes=7)
    assert analyses.place(mine) == (3, None), "nothing tells how long a video takes"
    VideoJob.objects.filter(pk=job.pk).delete()
    assert analyses.place(mine) == (2, 15.0)
    assert analyses.place(running) == (0, 0.0)
    assert analyses.progress(mine)["queue_position"] == 2
