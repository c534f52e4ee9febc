"""A real decoder of a real worker stops in the middle of a file, while a second worker has other work."""

import signal
import subprocess
import time
from collections.abc import Iterator

import numpy as np
import psutil
import pytest

from segapp.home import PROJECT
from segapp.imaging import confined
from segapp.tests.imaging.drawing import photo, saved
from segapp.tests.processes import training
from segapp.tests.readers.making import tiff
from segapp.tests.serving import Served, lives, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
DECODER = "segapp.imaging.readers.child"


@pytest.fixture
def workers(own_server: Served) -> Iterator[list[psutil.Process]]:
    """The server's own worker, and the same once more in the same home."""
    own_server.start().wait_ready(300)
    first = psutil.Process(own_server.pid("train"))
    with open(own_server.home / "second.log", "wb") as log:
        process = subprocess.Popen(
            first.cmdline(), env=first.environ(), cwd=PROJECT, stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
    try:
        browser = own_server.visitor()
        until(lambda: sum(worker["ready"] for worker in browser.get("/api/health").json()["workers"]) == 3, 300)
        yield [first, psutil.Process(process.pid)]
    finally:
        process.kill()
        process.wait()


def decoders(workers: list[psutil.Process]) -> list[psutil.Process]:
    """The decoders that read a file for these workers right now."""
    found = []
    for process in [child for worker in workers for child in worker.children(recursive=True)]:
        try:
            if DECODER in process.cmdline() and lives(process):
                found.append(process)
        except psutil.Error:
            continue
    return found


def ended(browser, status_url: str, patience: float) -> dict:
    """The batch when it has ended."""
    return until(
        lambda: (row := browser.get(status_url).json())["state"] in training.ENDED and row, patience, pause=0.2
    )


@pytest.mark.fault(54)
def test_a_decoder_that_stops_is_ended_by_its_deadline_and_other_work_goes_on(own_server, workers):
    alice, charlie = own_server.visitor(), own_server.visitor()
    pixels = np.random.default_rng(0).integers(0, 255, (3000, 3000, 3), dtype=np.uint8)
    large, good = tiff(pixels).getvalue(), saved(photo(96)).getvalue()
    answer = alice.post("/api/batch", {}, [("files", "hangs.tif", large), ("files", "good.png", good)])
    assert answer.status == 202, answer.body
    hers = answer.json()["status_url"]
    (hanging,) = until(lambda: decoders(workers), 120, pause=0.01)
    hanging.send_signal(signal.SIGSTOP)
    stopped = time.monotonic()

    his = charlie.post("/api/batch", {}, [("files", "his.png", good)]).json()["status_url"]
    assert ended(charlie, his, 300)["done"] == 1
    assert charlie.get("/analyze/").status == 200

    batch = ended(alice, hers, 300)
    assert time.monotonic() - stopped >= confined.LIMITS.clock - 5, "its deadline and nothing else ended it"
    assert not hanging.is_running()
    assert batch["state"] == "done" and batch["done"] == 1 and batch["failed"] == 1, batch
    assert training.row(own_server, hers, "batch")["attempts"] == 1, "its worker went on"
