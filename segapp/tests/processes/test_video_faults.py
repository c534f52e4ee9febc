"""What machines do to a video, on the real thing: killed workers, trainings that go first, a full disk."""

import os
import signal
import sqlite3
import subprocess
from pathlib import Path

import pytest

from segapp.tests.processes import training
from segapp.tests.serving import Browser, Served, until
from segapp.tests.video.clips import decoded_frames, write_clip

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Served(tmp_path_factory.mktemp("video-faults"))
    try:
        server.start().wait_ready()
        yield server
    finally:
        server.stop()


@pytest.fixture
def visitor(server):
    return server.visitor()


@pytest.fixture(scope="module")
def ride(tmp_path_factory) -> Path:
    """Forty seconds: four segments."""
    return write_clip(tmp_path_factory.mktemp("clips") / "ride.mp4", 160, 120, frames=400, rate=10, audio="aac")


def send(visitor: Browser, clip: Path, rate: str = "2") -> str:
    answer = visitor.post("/api/video", {"rate": rate}, [("file", clip.name, clip.read_bytes())])
    assert answer.status == 202, answer.body
    return answer.json()["status_url"]


def row(server: Served, status_url: str) -> dict:
    with sqlite3.connect(server.home / "var" / "segapp.sqlite3", timeout=20) as database:
        database.row_factory = sqlite3.Row
        wanted = [status_url.rpartition("/")[2]]
        return dict(database.execute("SELECT * FROM segapp_videojob WHERE public_id = ?", wanted).fetchone())


def at_segment(visitor: Browser, status_url: str, number: int) -> dict:
    """The job once so many segments are complete, while it still runs."""
    job = until(lambda: (job := visitor.get(status_url).json()) and job["segments_done"] >= number and job, 120)
    assert job["state"] == "running", job
    return job


def film(visitor: Browser, job: dict, tmp_path: Path) -> list:
    """Times of all frames of the overlay, as downloaded."""
    path = tmp_path / "overlay.mp4"
    path.write_bytes(visitor.get(job["overlay_url"]).body)
    return decoded_frames(path)[0]


def test_a_killed_worker_is_followed_by_another_that_goes_on_behind_the_last_segment(server, visitor, ride, tmp_path):
    status_url = send(visitor, ride, "every")
    at_segment(visitor, status_url, 1)
    records = {path: path.stat().st_mtime_ns for path in (server.home / "media" / "videos").rglob("*.json")}
    os.kill(server.pid("train"), signal.SIGKILL)
    until(lambda: row(server, status_url)["attempts"] == 2, 60)
    job = training.follow(visitor, status_url, 300)
    assert job["state"] == "done", job
    assert job["frames"] == 400
    assert records
    assert film(visitor, job, tmp_path) == decoded_frames(ride)[0]


def test_a_training_goes_first_and_the_video_goes_on_after_it(server, visitor, ride):
    status_url = send(visitor, ride, "every")
    until(lambda: visitor.get(status_url).json()["frames"] > 20, 60)
    run_url = training.start(server.visitor())
    until(lambda: row(server, status_url)["state"] == "queued", 20)
    assert row(server, status_url)["attempts"] == 0
    run = until(lambda: training.row(server, run_url)["state"] in ("done", "running"), 30)
    assert run
    job = training.follow(visitor, status_url, 300)
    assert (job["state"], job["frames"]) == ("done", 400)
    assert training.row(server, run_url)["ended"] < row(server, status_url)["ended"]


def test_stop_and_keep_and_cancel_are_acknowledged_at_once(server, visitor, ride, tmp_path):
    status_url = send(visitor, ride, "every")
    until(lambda: visitor.get(status_url).json()["frames"] > 10, 60)
    visitor.post(f"{status_url}/stop", {"keep": "true"})
    job = training.follow(visitor, status_url, 10)
    assert job["state"] == "done"
    assert 0 < job["frames"] < 400
    assert len(film(visitor, job, tmp_path)) == job["frames"]

    status_url = send(visitor, ride, "every")
    until(lambda: visitor.get(status_url).json()["frames"] > 10, 60)
    visitor.post(f"{status_url}/stop", {"keep": "false"})
    assert training.follow(visitor, status_url, 5)["state"] == "cancelled"
    assert not (server.home / "media" / "videos" / status_url.rpartition("/")[2]).exists()


def test_a_long_video_never_holds_up_a_picture(server, visitor, ride):
    status_url = send(visitor, ride, "every")
    until(lambda: visitor.get(status_url).json()["frames"] > 10, 60)
    picture = training.pairs(1)[0][2]
    answer = visitor.post("/api/segment", {}, [("file", "a.png", picture)])
    assert answer.status == 200, answer.body
    assert visitor.get(status_url).json()["state"] == "running"
    visitor.post(f"{status_url}/stop", {"keep": "false"})
    training.follow(visitor, status_url, 10)


def test_a_full_disk_ends_the_video_with_a_reason_and_leaves_nothing(tmp_path, ride):
    folder = tmp_path / "small"
    folder.mkdir()
    if os.getuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", str(folder)]).returncode:
        pytest.skip("only root can mount a small file system")
    server = Served(folder / "home")
    try:
        server.start().wait_ready()
        visitor = server.visitor()
        status_url = send(visitor, ride, "every")
        until(lambda: visitor.get(status_url).json()["frames"] > 10, 60)
        with open(folder / "filler", "wb", buffering=0) as file:
            while (left := os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize - 60_000) > 0:
                file.write(b"\0" * min(left, 2**16))
        job = training.follow(visitor, status_url, 120)
        assert job["state"] == "failed", job
        assert "disk is full" in job["message"]
        assert not list((server.home / "media" / "videos").iterdir())
        (folder / "filler").unlink()
        assert training.follow(visitor, send(visitor, ride, "1"), 120)["state"] == "done"
    finally:
        server.stop()
        subprocess.run(["umount", "-l", str(folder)], check=True)
