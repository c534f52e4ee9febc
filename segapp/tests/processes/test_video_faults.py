"""What machines do to a video, on the real thing: killed workers, trainings that go first, a full disk."""

import os
import signal
from fractions import Fraction
from functools import partial
from pathlib import Path

import pytest

from segapp.tests.processes import training
from segapp.tests.processes.conftest import fill
from segapp.tests.serving import Browser, Served, until
from segapp.tests.video.videos import decoded_frames, write_video

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
PATIENCE = 300  # seconds; a busy machine is no fault


@pytest.fixture(scope="module")
def ride(tmp_path_factory) -> Path:
    """Forty seconds: four segments."""
    return write_video(tmp_path_factory.mktemp("videos") / "ride.mp4", 160, 120, frames=400, rate=10, audio="aac")


def send(visitor: Browser, clip: Path, rate: str = "2") -> str:
    answer = visitor.post("/api/video", {"rate": rate}, [("file", clip.name, clip.read_bytes())])
    assert answer.status == 202, answer.body
    return answer.json()["status_url"]


row = partial(training.row, table="videojob")


def at_segment(visitor: Browser, status_url: str, number: int) -> dict:
    """The job once so many segments are complete, while it still runs."""
    job = until(lambda: (job := visitor.get(status_url).json()) and job["segments_done"] >= number and job, PATIENCE)
    assert job["state"] == "running", job
    return job


def overlay(visitor: Browser, job: dict, tmp_path: Path) -> list:
    """Times of all frames of the overlay, as downloaded."""
    path = tmp_path / "overlay.mp4"
    path.write_bytes(visitor.get(job["overlay_url"]).body)
    return decoded_frames(path)[0]


def test_a_killed_worker_is_followed_by_another_that_goes_on_behind_the_last_segment(server, visitor, ride, tmp_path):
    status_url = send(visitor, ride, "every")
    at_segment(visitor, status_url, 1)
    records = {path: path.stat().st_mtime_ns for path in (server.home / "media" / "videos").rglob("*.json")}
    os.kill(server.pid("train"), signal.SIGKILL)
    until(lambda: row(server, status_url)["attempts"] == 2, PATIENCE)
    job = training.follow(visitor, status_url, PATIENCE)
    assert job["state"] == "done", job
    assert job["frames"] == 400
    assert records
    assert overlay(visitor, job, tmp_path) == decoded_frames(ride)[0]


def test_a_training_goes_first_and_the_video_goes_on_after_it(server, visitor, ride):
    status_url = send(visitor, ride, "every")
    until(lambda: visitor.get(status_url).json()["frames"] > 20, PATIENCE)
    run_url = training.start(server.visitor())
    until(lambda: row(server, status_url)["state"] == "queued", PATIENCE)
    assert row(server, status_url)["attempts"] == 0
    until(lambda: training.row(server, run_url)["state"] in ("done", "running"), PATIENCE)
    job = training.follow(visitor, status_url, PATIENCE)
    assert (job["state"], job["frames"]) == ("done", 400)
    assert training.row(server, run_url)["ended"] < row(server, status_url)["ended"]


def test_stop_and_keep_and_cancel_are_acknowledged_at_once(server, visitor, ride, tmp_path):
    status_url = send(visitor, ride, "every")
    until(lambda: visitor.get(status_url).json()["frames"] > 10, PATIENCE)
    visitor.post(f"{status_url}/stop", {"keep": "true"})
    job = training.follow(visitor, status_url, PATIENCE)
    assert job["state"] == "done"
    assert 0 < job["frames"] < 400
    assert len(overlay(visitor, job, tmp_path)) == job["frames"]

    status_url = send(visitor, ride, "every")
    until(lambda: visitor.get(status_url).json()["frames"] > 10, PATIENCE)
    visitor.post(f"{status_url}/stop", {"keep": "false"})
    assert training.follow(visitor, status_url, PATIENCE)["state"] == "cancelled"
    assert not (server.home / "media" / "videos" / status_url.rpartition("/")[2]).exists()


def test_a_long_video_never_holds_up_an_image(server, visitor, ride):
    status_url = send(visitor, ride, "every")
    until(lambda: visitor.get(status_url).json()["frames"] > 10, PATIENCE)
    image = training.pairs(1)[0][2]
    answer = visitor.post("/api/segment", {}, [("file", "a.png", image)])
    assert answer.status == 200, answer.body
    assert visitor.get(status_url).json()["state"] == "running"
    visitor.post(f"{status_url}/stop", {"keep": "false"})
    training.follow(visitor, status_url, PATIENCE)


@pytest.mark.fault(25)
def test_what_is_no_whole_short_small_video_ends_with_a_reason_and_leaves_nothing(server, visitor, tmp_path):
    """Refused on the spot by the first bytes, or failed by what only the probe shows."""
    for content in (b"", b"#EXTM3U\n#EXTINF:9,\nfile:///etc/hostname\n", b"Dear all, this is text. " * 99):
        answer = visitor.post("/api/video", {}, [("file", "clip.mp4", content)])
        assert (answer.status, bool(answer.json()["error"]["message"])) == (422, True), answer.body
    minutes = [k * 60_000 for k in range(62)]
    hour = write_video(tmp_path / "hour.mp4", frames=61, times=minutes, clock=Fraction(1, 1000))
    large = write_video(tmp_path / "8k.mp4", 7680, 4320, frames=1, options={"preset": "ultrafast"})
    corrupt = tmp_path / "corrupt.mp4"
    corrupt.write_bytes(hour.read_bytes()[:32] + os.urandom(50_000))
    folder = server.home / "media" / "videos"
    folder.mkdir(exist_ok=True)  # there is none before the first video
    before = set(folder.iterdir())
    for clip, words in ((hour, "the limit is 10 minutes"), (large, "7680 x 4320"), (corrupt, "broken or incomplete")):
        job = training.follow(visitor, send(visitor, clip), PATIENCE)
        assert job["state"] == "failed"
        assert words in job["message"]
    assert set(folder.iterdir()) == before


@pytest.mark.fault(38)
def test_a_full_disk_ends_the_video_with_a_reason_and_leaves_nothing(small_disk, ride):
    server = Served(small_disk / "home", log=small_disk.with_suffix(".log"))
    try:
        server.start().wait_ready()
        visitor = server.visitor()
        status_url = send(visitor, ride, "every")
        until(lambda: visitor.get(status_url).json()["frames"] > 10, PATIENCE)
        fill(small_disk, leave=60_000)
        job = training.follow(visitor, status_url, PATIENCE)
        assert job["state"] == "failed", job
        assert "disk is full" in job["message"], server.output()
        assert not list((server.home / "media" / "videos").iterdir())
        (small_disk / "filler").unlink()
        assert training.follow(visitor, send(visitor, ride, "1"), PATIENCE)["state"] == "done"
    finally:
        server.stop()
