"""Machines that share nothing but database, broker and bucket: each part has a home of its own."""

import io
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segapp import parts
from segapp.home import PROJECT
from segapp.tests.buckets import Bucket, new_bucket, s3_server
from segapp.tests.processes.training import follow, pairs, start
from segapp.tests.serving import Browser, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


class Fleet:
    """The broker, the bucket, and the machines that were started."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        self.folder = folder
        self.bucket: Bucket = new_bucket(endpoint)
        self.processes: list[subprocess.Popen] = []
        self.redis = free_port()
        self._run([str(parts.redis_server()), "--port", str(self.redis), "--bind", "127.0.0.1", "--save", ""], {})
        self.port = free_port()
        self.browser = Browser(f"http://127.0.0.1:{self.port}")

    def machine(self, name: str, part: str, *arguments: str) -> Path:
        """Start one part on a home of its own; returns its media folder."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SEGAPP_")}
        shared = {
            "DATABASE_URL": f"sqlite:///{self.folder / 'shared.sqlite3'}",
            "REDIS_URL": f"redis://127.0.0.1:{self.redis}/0",
            "SEGAPP_RATE_LIMITS": "off",
            "OMP_WAIT_POLICY": "passive",
            **self.bucket.environment,
        }
        home = self.folder / name
        home.mkdir(exist_ok=True)
        command = [sys.executable, str(PROJECT / "manage.py"), "serve", "--only", part, *arguments]
        self._run(command, {**inherited, **shared, "SEGAPP_HOME": str(home)})
        return home / "media"

    def web(self) -> Path:
        media = self.machine("web", "web", "--port", str(self.port))
        until(lambda: self._answers(), 120, pause=0.3)
        return media

    def ready(self, count: int) -> bool:
        workers = self.browser.get("/api/health").json()["workers"]
        return sum(worker["ready"] for worker in workers) >= count

    def end(self) -> None:
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
        for process in reversed(self.processes):
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _answers(self) -> bool:
        try:
            return self.browser.get("/api/health").status == 200
        except OSError:
            return False

    def _run(self, command: list[str], environment: dict[str, str]) -> None:
        with open(self.folder / "fleet.log", "ab") as log:
            self.processes.append(
                subprocess.Popen(
                    command,
                    env=environment or None,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=self.folder,
                )
            )


@pytest.fixture
def fleet(tmp_path):
    with s3_server() as endpoint:
        made = Fleet(tmp_path, endpoint)
        try:
            yield made
        finally:
            made.end()


def test_a_model_trained_on_one_machine_answers_on_another(fleet):
    web = fleet.web()
    trainer, predictor = fleet.machine("trainer", "train"), fleet.machine("predictor", "predict")
    until(lambda: fleet.ready(2), 300, pause=0.5)
    alice = fleet.browser
    run = follow(alice, start(alice), patience=300)
    assert run["state"] == "done" and run["active"], run["message"]
    assert (trainer / run["model_path"]).exists() and not (predictor / run["model_path"]).exists()

    image = next(content for field, _, content in pairs(1) if field == "images")
    found = alice.post("/api/segment", {}, [("file", "disc.png", image)]).json()
    assert found["model_key"] == f"user_{run['user_id']}", found
    assert (predictor / run["model_path"]).read_bytes() == (trainer / run["model_path"]).read_bytes()
    assert not list((trainer / "analyses").glob("*")), "an image goes where it is analyzed, and nowhere else"
    mask = np.asarray(Image.open(io.BytesIO(alice.get(found["mask_url"]).body)))
    assert mask.shape == (found["height"], found["width"]) and 1 in mask
    assert alice.get(found["overlay_url"]).status == 200
    assert alice.get("/finetune/").status == 200, "its images come from the trainer"

    fleet.bucket.delete(run["model_path"])
    for media in (web, trainer, predictor):
        (media / run["model_path"]).unlink(missing_ok=True)
    found = alice.post("/api/segment", {}, [("file", "disc.png", image)]).json()
    assert found["model_key"] == alice.get("/api/health").json()["base"]["key"] and found["notice"]


def test_a_worker_on_a_machine_without_the_bucket_says_so_and_does_not_start(fleet):
    process = fleet.processes[0]
    assert process.poll() is None
    environment = {**os.environ, **fleet.bucket.environment, "SEGAPP_S3_ENDPOINT": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, str(PROJECT / "manage.py"), "serve", "--only", "predict"],
        env={**environment, "SEGAPP_HOME": str(fleet.folder / "lost"), "REDIS_URL": f"redis://127.0.0.1:{fleet.redis}/0"},
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "SEGAPP_MEDIA" in done.stderr and len(done.stderr.strip().splitlines()) == 1
