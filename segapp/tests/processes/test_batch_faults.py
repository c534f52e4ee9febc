"""What machines and people do to a batch, on the real thing: killed workers, trainings that go first, a reset."""

import io
import os
import signal
import zipfile
from functools import partial

import numpy as np
import pytest
from PIL import Image

from segapp.imaging import sample
from segapp.tests.processes import training
from segapp.tests.serving import Browser, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
COUNT = 14


@pytest.fixture(scope="module")
def photos() -> dict[str, bytes]:
    """Large enough that a worker is busy for a moment with each, and no larger than one look of the network."""
    found = {}
    for k in range(COUNT):
        out = io.BytesIO()
        Image.fromarray(sample.draw(k % 6)[0]).resize((900 + 10 * k, 700)).save(out, "JPEG", quality=90)
        found[f"photo{k}"] = out.getvalue()
    return found


def send(visitor: Browser, photos: dict[str, bytes]) -> str:
    files = [("files", f"{stem}.jpg", content) for stem, content in photos.items()]
    answer = visitor.post("/api/batch", {}, files)
    assert answer.status == 202, answer.body
    return answer.json()["status_url"]


def train(visitor: Browser) -> str:
    """A training on examples about as large as the photos, to its end."""
    status_url = visitor.post("/api/finetune", {}, training.pairs(5, side=512)).json()["status_url"]
    assert training.follow(visitor, status_url, 900)["state"] == "done"
    return status_url


def at(visitor: Browser, status_url: str, done: int) -> dict:
    """The batch once so many images are done, while it still runs."""
    batch = until(lambda: (found := visitor.get(status_url).json()) and found["done"] >= done and found, 600)
    assert batch["state"] in ("running", "queued"), batch
    return batch


row = partial(training.row, table="batch")


def masks(visitor: Browser, batch: dict) -> dict[str, np.ndarray]:
    """Stem -> class ids, of the zip as it is downloaded."""
    with zipfile.ZipFile(io.BytesIO(visitor.get(batch["zip_url"], timeout=120).body)) as archive:
        assert archive.testzip() is None
        names = [name for name in archive.namelist() if name.startswith("masks/")]
        return {name[6:-4]: np.asarray(Image.open(io.BytesIO(archive.read(name)))) for name in names}


def alone(visitor: Browser, content: bytes) -> tuple[np.ndarray, dict]:
    """The mask of single Analyze, and what the API says of it."""
    answer = visitor.post("/api/segment", {}, [("file", "photo.jpg", content)], timeout=180)
    if answer.status == 503 and answer.headers["Location"]:  # a busy machine: the image keeps its place
        later = answer.headers["Location"]
        answer = until(lambda: (found := visitor.get(later)).status != 503 and found, 300, pause=0.5)
    assert answer.status == 200, answer.body
    told = answer.json()
    return np.asarray(Image.open(io.BytesIO(visitor.get(told["mask_url"]).body))), told


def test_a_killed_worker_is_followed_by_another_that_finishes_with_the_pinned_model(server, visitor, photos):
    train(visitor)
    custom = training.active(visitor)
    assert custom.startswith("user_")
    wanted = {stem: alone(visitor, content)[0] for stem, content in list(photos.items())[::5]}

    status_url = send(visitor, photos)
    batch = at(visitor, status_url, 3)
    folder = server.home / "media" / "batches" / batch["batch_id"] / "masks"
    visitor.post("/api/reset-to-base-model")
    early = {path.name: path.stat().st_mtime_ns for path in sorted(folder.glob("*.png"))[:3]}
    os.kill(server.pid("train"), signal.SIGKILL)
    batch = training.follow(visitor, status_url, 600)

    assert (batch["state"], batch["done"], batch["failed"]) == ("done", COUNT, 0), batch
    assert training.active(visitor) != custom
    assert batch["model_key"] == custom, "the reset came later and changed nothing"
    assert {name: (folder / name).stat().st_mtime_ns for name in early} == early, "finished images stay as they are"
    found = masks(visitor, batch)
    assert set(found) == set(photos)
    for stem, mask in wanted.items():
        assert np.array_equal(found[stem], mask), f"{stem} differs from single Analyze's"
    assert any(len(np.unique(mask)) > 1 for mask in wanted.values()), "masks of one class would prove little"
    assert not (folder.parent / "sources").exists()


def test_a_training_goes_first_and_the_batch_goes_on_with_the_model_of_before(server, visitor, photos):
    base = training.active(visitor)
    status_url = send(visitor, photos)
    at(visitor, status_url, 1)
    run_url = train(visitor)
    assert training.active(visitor).startswith("user_")
    batch = training.follow(visitor, status_url, 600)
    assert (batch["state"], batch["done"], batch["model_key"]) == ("done", COUNT, base)
    assert training.row(server, run_url)["ended"] < row(server, status_url)["ended"]
    assert row(server, status_url)["attempts"] == 1


def test_a_batch_never_holds_up_an_image_and_stops_at_once(server, visitor, photos):
    status_url = send(visitor, photos)
    at(visitor, status_url, 1)
    alone(visitor, training.pairs(1)[0][2])
    assert visitor.get(status_url).json()["state"] == "running"
    batch = visitor.post(f"{status_url}/stop", {"keep": "true"}).json()
    assert batch["state"] == "done", "ended with the answer, not some time after it"
    assert 0 < batch["done"] < COUNT
    assert len(masks(visitor, batch)) == batch["done"]

    status_url = send(visitor, photos)
    at(visitor, status_url, 1)
    assert visitor.post(f"{status_url}/stop", {"keep": "false"}).json()["state"] == "cancelled"
    folder = server.home / "media" / "batches" / status_url.rpartition("/")[2]
    send_one(visitor, photos)
    assert not folder.exists(), "nor does the image leave anything at which the worker was"


def send_one(visitor: Browser, photos: dict[str, bytes]) -> str:
    """A batch of one image, to its end: whatever was being done before it is over then."""
    status_url = send(visitor, dict(list(photos.items())[:1]))
    training.follow(visitor, status_url, 300)
    return status_url


def test_a_restarted_server_goes_on(server, visitor, photos):
    status_url = send(visitor, photos)
    at(visitor, status_url, 1)
    server.stop()
    server.start(patience=120)
    again = server.visitor()
    again.cookies = visitor.cookies
    batch = training.follow(again, status_url, 600)
    assert (batch["state"], batch["done"]) == ("done", COUNT)
    assert row(server, status_url)["attempts"] == 1, "being asked to end uses up no attempt"
