"""The server at a glance: for staff only, complete, and without anybody's file names."""

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from segapp.models import Analysis, LedgerEntry, State, TrainingRun, VideoJob, Worker

ADDRESS = "/admin/overview/"


@pytest.fixture
def staff(client, db):
    client.force_login(User.objects.create_superuser("root"))
    return client


def test_others_are_sent_to_the_login(alice):
    response = alice.get(ADDRESS)
    assert response.status_code == 302 and "/admin/login/" in response["Location"]


def test_an_empty_server_says_that_no_worker_runs(staff):
    page = staff.get(ADDRESS).content.decode()
    assert "No worker runs" in page and "None." in page
    assert ADDRESS in staff.get("/admin/").content.decode()


def test_queues_workers_storage_and_failures_are_on_one_page(staff, settings):
    settings.SEGAPP_TRAIN_QUEUE = 77
    TrainingRun.objects.create(visitor="a" * 32, name="r")
    Analysis.objects.create(visitor="a" * 32, title="my secret.png", width=9, height=9, state=State.RUNNING)
    VideoJob.objects.create(
        visitor="a" * 32,
        title="x",
        state=State.FAILED,
        ended=timezone.now(),
        message="Disk <full>",
        error="OSError(28)",
    )
    Worker.objects.create(name="host:1", queues="predict", device="CPU", seen=timezone.now(), info={"memory_mb": 812})
    Worker.objects.create(name="host:2", queues="train,video", device="CPU", seen="2020-01-01T00:00Z")
    LedgerEntry.objects.create(place="videos/x", visitor="a" * 32, bytes=3 * 2**20)
    response = staff.get(ADDRESS)
    page = response.content.decode()
    rows = {row["name"]: row for row in response.context["queues"]}
    assert (rows["trainings"]["queued"], rows["trainings"]["limit"], rows["images"]["running"]) == (1, 77, 1)
    assert rows["videos"]["failed"] == 1
    assert "Disk &lt;full&gt;" in page and "OSError(28)" in page
    assert "812 MB" in page and "silent" in page and "3.0\xa0MB" in page
    assert "my secret" not in page and "a" * 32 not in page
