"""What pages and the API say of times while the clock has jumped by an hour, forwards or back."""

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from segapp.models import Batch, State, TrainingRun, VideoJob, Worker
from segapp.tests.services.test_painting import own_media

__all__ = ["own_media"]
pytestmark = pytest.mark.django_db
KINDS = {TrainingRun: "/finetune/", VideoJob: "/video/{}/", Batch: "/analyze/batch/{}/"}
STATUS = {TrainingRun: "/api/finetune/{}", VideoJob: "/api/video/{}", Batch: "/api/batch/{}"}


def text_of(client, address: str) -> str:
    response = client.get(address)
    assert response.status_code == 200
    return " ".join(re.sub(r"<[^>]+>", " ", response.content.decode()).split())


@pytest.mark.fault(48)
@pytest.mark.parametrize("hours", [-1, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_the_time_left_is_what_the_worker_counted(alice, kind, hours):
    jumped = timezone.now() - timedelta(hours=hours)
    row = kind.objects.create(visitor=alice.visitor, state=State.RUNNING, progress=0.4, eta_seconds=40)
    kind.objects.filter(pk=row.pk).update(created=jumped, started=jumped)
    assert "about 40 s left" in text_of(alice, KINDS[kind].format(row.public_id))
    assert alice.get(STATUS[kind].format(row.public_id)).json()["eta_seconds"] == 40


@pytest.mark.fault(48)
@pytest.mark.parametrize("hours", [-1, 1])
def test_a_job_during_which_the_clock_jumped_makes_no_negative_time(alice, charlie, hours):
    """It ended an hour before it began, or took an hour too long; the median of the latest and 0 bound it."""
    now = timezone.now()
    for seconds in (30, 30, 30):
        VideoJob.objects.create(visitor="x", state=State.DONE, started=now - timedelta(seconds=seconds), ended=now)
    VideoJob.objects.create(visitor="x", state=State.DONE, started=now, ended=now + timedelta(hours=hours))
    VideoJob.objects.create(visitor=charlie.visitor)
    row = VideoJob.objects.create(visitor=alice.visitor)
    assert alice.get(STATUS[VideoJob].format(row.public_id)).json()["wait_seconds"] == 30


def test_a_worker_seen_in_the_future_counts_as_alive(alice):
    Worker.objects.create(
        name="h:1", queues="predict", device="CPU", ready=True, seen=timezone.now() + timedelta(hours=1)
    )
    assert len(alice.get("/api/health").json()["workers"]) == 1
