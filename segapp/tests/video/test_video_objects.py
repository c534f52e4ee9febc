"""How many objects a video shows over time: in its row, in the API and in its table of frames."""

import csv
from contextlib import contextmanager

import numpy as np
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from segapp.models import State, VideoJob
from segapp.pipeline.video.probe import probe
from segapp.services import videos
from segapp.tests.video.videos import bright_network, write_video
from segapp.worker import networks, video

pytestmark = pytest.mark.django_db
FRAMES, BEFORE = 20, 10  # two boxes until then, three afterwards


def boxes(number: int) -> np.ndarray:
    """Bright boxes on black: two, later three."""
    image = np.full((48, 64, 3), 20, np.uint8)
    for place in range(2 if number < BEFORE else 3):
        image[16:32, 4 + 20 * place : 16 + 20 * place] = 230
    return image


@pytest.fixture
def worker(monkeypatch, settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "media"
    network = bright_network(key="mit_b0")

    @contextmanager
    def pinned(work):
        yield network

    monkeypatch.setattr(networks, "pinned", pinned)
    monkeypatch.setattr(video, "examine", probe)


def sent(tmp_path) -> SimpleUploadedFile:
    path = write_video(tmp_path / "clip.mp4", frames=FRAMES, draw=boxes)
    return SimpleUploadedFile("clip.mp4", path.read_bytes())


def test_counts_over_time_are_in_the_answer_and_the_table(alice, worker, tmp_path):
    fields = {"file": sent(tmp_path), "objects": "true", "min_area": "20", "rate": videos.EVERY}
    made = alice.post("/api/video", fields).json()
    video.run(VideoJob.objects.get().pk)
    found = alice.get(made["status_url"]).json()
    assert found["state"] == "done", found["message"]
    with (VideoJob.objects.get().folder / "frames.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    (column,) = [name for name in rows[0] if name.endswith("objects")]
    assert column.startswith("3 ")
    counts = [int(row[column]) for row in rows]
    assert counts[:8] == [2] * 8 and counts[-5:] == [3] * 5  # in between masks are smoothed over time
    timeline = found["object_timeline"]
    assert timeline[0] == [0.0, {"3": 2.0}] and timeline[-1][1] == {"3": 3.0}
    (row,) = [one for one in found["classes"] if one["id"] == 3]
    assert row["objects_most"] == 3 and 2 < row["objects_mean"] < 3
    assert "objects a frame" in alice.get(f"/video/{made['job_id']}/").content.decode()


def test_nothing_is_counted_unless_asked_for(alice, worker, tmp_path):
    made = alice.post("/api/video", {"file": sent(tmp_path), "rate": videos.EVERY}).json()
    video.run(VideoJob.objects.get().pk)
    found = alice.get(made["status_url"]).json()
    assert found["state"] == "done" and found["object_timeline"] == []
    assert all("objects_mean" not in row for row in found["classes"])


def test_a_video_that_is_cancelled_while_counting_ends_so(alice, worker, tmp_path, monkeypatch):
    alice.post("/api/video", {"file": sent(tmp_path), "objects": "true"})
    job = VideoJob.objects.get()
    usual = video.video_objects.count

    def count(folder, network, options, hold):
        videos.stop(VideoJob.objects.get(), keep=False)
        return usual(folder, network, options, hold)

    monkeypatch.setattr(video.video_objects, "count", count)
    video.run(job.pk)
    job.refresh_from_db()
    assert job.state == State.CANCELLED and not job.folder.exists()


def test_an_invalid_value_is_a_422_that_names_the_field(alice, tmp_path):
    answer = alice.post("/api/video", {"file": sent(tmp_path), "objects": "true", "edges": "x"})
    assert answer.status_code == 422 and "edges: " in answer.json()["error"]["message"]
