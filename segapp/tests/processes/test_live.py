"""Live answers of the running service: strokes in, an index mask out; newest wins; a worker that is away is said."""

import base64
import io
import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from segapp.tests.imaging.drawing import saved
from segapp.tests.serving import until

SIDE = 256


@pytest.fixture(scope="module")
def server(served):
    """Nothing here leaves the service otherwise than it was."""
    served.wait_ready()
    return served


CLASSES = [{"id": 0, "name": "background", "color": "#4b5563"}, {"id": 3, "name": "disc", "color": "#00ff00"}]


def scene(number: int) -> tuple[Image.Image, np.ndarray]:
    """A red disc on noisy green, and its mask with ids 0 and 3."""
    noise = np.random.default_rng(number)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    inside = (rows - noise.integers(90, 160)) ** 2 + (columns - noise.integers(90, 160)) ** 2 < 60**2
    image = noise.integers(60, 120, (SIDE, SIDE, 3), dtype=np.uint8) + np.array([0, 60, 0], np.uint8)
    image[inside] = noise.integers(0, 50, (int(inside.sum()), 3)) + np.array([180, 0, 0])
    return Image.fromarray(image), np.where(inside, 3, 0).astype(np.uint8)


def strokes(truth: np.ndarray) -> np.ndarray:
    """A short line in each class."""
    painted = np.full_like(truth, 255)
    for value in np.unique(truth):
        y, x = np.argwhere(truth == value)[len(np.argwhere(truth == value)) // 2]
        piece = (slice(y, y + 3), slice(max(0, x - 15), x + 15))
        painted[piece] = np.where(truth[piece] == value, value, 255)
    return painted


def grey(values: np.ndarray) -> bytes:
    return saved(Image.fromarray(values)).getvalue()


def begin(visitor, count: int) -> list[str]:
    """Upload so many scenes to paint on; their ids."""
    visitor.get("/finetune/")
    files = [("images", f"scene{k}.png", saved(scene(k)[0]).getvalue()) for k in range(count)]
    address = visitor.post("/finetune/paint/", {}, files).headers["Location"]
    page = visitor.get(address).body.decode()
    found = [part.split("/")[0] for part in page.split("/finetune/paint/")[1:]]
    ids = list(dict.fromkeys(one for one in found if len(one) > 20))
    assert len(ids) == count
    return [address.split("/")[3], *(one for one in ids if one not in address)]


def live(visitor, public_id: str, mask: np.ndarray | None = None, sequence: int = 1, editor: str = "ab" * 8):
    fields = {"editor": editor, "sequence": str(sequence), "classes": json.dumps(CLASSES)}
    files = [] if mask is None else [("mask", "mask.png", grey(mask))]
    return visitor.post(f"/finetune/paint/{public_id}/live", fields, files)


def decoded(answer) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(answer.json()["mask"]))))


def test_two_strokes_answer_the_whole_image_and_the_next_one(server, visitor):
    one, two = begin(visitor, 2)
    truth = scene(0)[1]
    assert live(visitor, one).json()["state"] == "waiting"
    answer = live(visitor, one, strokes(truth), 2)
    assert answer.status == 200 and answer.json()["state"] == "answered", answer.body
    found = decoded(answer)
    assert found.shape == truth.shape and (found == truth).mean() > 0.95
    said = answer.json()
    assert said["sequence"] == 2 and not said["proposal"] and said["images"] == 1
    assert {row["id"]: row["name"] for row in said["classes"]} == {0: "background", 3: "disc"}
    assert abs(sum(row["percent"] for row in said["classes"]) - 100) < 0.1
    saving = {"base": "0", "editor": "cd" * 8, "sequence": "1", "unpainted": "255", "classes": json.dumps(CLASSES)}
    visitor.post(f"/finetune/paint/{one}/mask", saving, [("mask", "mask.png", grey(strokes(truth)))])
    next_one = live(visitor, two)
    assert next_one.json()["proposal"] and (decoded(next_one) == scene(1)[1]).mean() > 0.9


def test_images_nobody_has_opened_get_a_doubt_one_after_each_answer(server, visitor):
    one, two = begin(visitor, 2)
    assert "Not reviewed yet" in visitor.get(f"/finetune/paint/{two}/").body.decode()
    live(visitor, one, strokes(scene(0)[1]))

    def ordered() -> bool:
        said = visitor.get(f"/finetune/paint/{one}/next").json()
        return said["id"] == two and said["why"] != "Not reviewed yet."

    until(ordered, 20)


def test_the_live_head_becomes_a_model_that_answers_as_it_did(server, visitor):
    (one,) = begin(visitor, 1)
    assert visitor.post("/finetune/paint/use-live/").status == 422, "nothing is painted"
    saving = {"base": "0", "editor": "cd" * 8, "sequence": "1", "unpainted": "255", "classes": json.dumps(CLASSES)}
    image, truth = scene(0)
    visitor.post(f"/finetune/paint/{one}/mask", saving, [("mask", "mask.png", grey(strokes(truth)))])
    before = decoded(live(visitor, one))
    made = visitor.post("/finetune/paint/use-live/")
    assert made.status == 302 and made.headers["Location"].startswith("/models/"), made.body
    assert visitor.get(made.headers["Location"]).status == 200 and visitor.get("/models/").status == 200
    answer = visitor.post("/api/segment", {}, [("file", "scene.png", saved(image).getvalue())]).json()
    assert answer["model_key"] == "user_" + made.headers["Location"].split("/")[2]
    assert [row["name"] for row in answer["classes"]] == ["background", "disc"]
    mask = np.asarray(Image.open(io.BytesIO(visitor.get(answer["mask_url"]).body)))
    assert (mask == before).mean() > 0.97


def test_a_mask_that_was_scaled_down_is_taken_and_one_of_another_shape_refused(server, visitor):
    (one,) = begin(visitor, 1)
    small = strokes(scene(0)[1])[::2, ::2]
    assert live(visitor, one, small).json()["state"] == "answered"
    assert live(visitor, one, small[:, :90], 2).status == 422


def test_another_visitor_gets_no_answer(server, visitor):
    (one,) = begin(visitor, 1)
    other = server.visitor()
    other.get("/finetune/")
    assert live(other, one, strokes(scene(0)[1])).status == 404


def test_the_newest_request_is_answered_and_older_ones_are_let_go(server, visitor):
    (one,) = begin(visitor, 1)
    live(visitor, one, strokes(scene(0)[1]))
    worker = server.pid("predict")
    os.kill(worker, signal.SIGSTOP)  # busy for as long as the test wants
    try:
        with ThreadPoolExecutor(3) as pool:
            sent = []
            for sequence in (2, 3, 4):
                sent.append(pool.submit(live, visitor, one, strokes(scene(0)[1]), sequence))
                time.sleep(0.3)
            until(lambda: sum(one.done() for one in sent) == 2, 10)
            os.kill(worker, signal.SIGCONT)
            states = [one.result().json()["state"] for one in sent]
    finally:
        os.kill(worker, signal.SIGCONT)
    assert states == ["superseded", "superseded", "answered"]
    assert live(visitor, one, strokes(scene(0)[1]), 3).json()["state"] == "superseded", "an older one that comes late"


def clicked(visitor, public_id: str, *clicks: tuple[float, float, int], sequence: int = 1):
    fields = {"editor": "ab" * 8, "sequence": str(sequence), "clicks": json.dumps(clicks)}
    return visitor.post(f"/finetune/paint/{public_id}/region", fields)


def test_a_click_finds_the_disc_and_another_takes_its_surroundings_alone(server, visitor):
    (one,) = begin(visitor, 1)
    truth = scene(0)[1] == 3
    y, x = (int(side) for side in np.argwhere(truth).mean(axis=0))
    assert clicked(visitor, one).json()["state"] == "ready"
    answer = clicked(visitor, one, (x, y, 1), sequence=2)
    assert answer.status == 200, answer.body
    found = decoded(answer) > 127
    assert (found & truth).sum() / (found | truth).sum() > 0.9
    assert abs(answer.json()["percent"] - 100 * truth.mean()) < 3
    around = decoded(clicked(visitor, one, (5, 5, 1), (x, y, 0), sequence=3)) > 127
    assert (around & ~truth).sum() / (around | ~truth).sum() > 0.9
    assert clicked(visitor, one, (SIDE, 5, 1), sequence=4).status == 422, "outside the image"
    other = server.visitor()
    other.get("/finetune/")
    assert clicked(other, one, (x, y, 1)).status == 404


@pytest.mark.slow
def test_a_worker_that_is_away_is_said_with_a_time_to_come_back(server, visitor):
    (one,) = begin(visitor, 1)
    worker = server.pid("predict")
    os.kill(worker, signal.SIGSTOP)
    try:
        answer = live(visitor, one, strokes(scene(0)[1]))
    finally:
        os.kill(worker, signal.SIGCONT)
    assert answer.status == 503 and int(answer.headers["Retry-After"]) >= 1
