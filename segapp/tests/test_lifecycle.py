"""The promise, end to end over HTTP with real workers: five photos with masks become a visitor's own model."""

import hashlib
import io
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segapp.tests import second_pair
from segapp.tests.processes.training import follow
from segapp.tests.serving import Browser, Served, Upload


def few_shot(folder: Path, count: int, seed: int = 0) -> list[str]:
    """Stems of the few-shot pool, shuffled as the data's protocol says."""
    stems = sorted(path.stem for path in (folder / "images").iterdir())
    pool = [stem for stem in stems if int(hashlib.sha256(stem.encode()).hexdigest(), 16) % 2 == 1]
    random.Random(seed).shuffle(pool)
    return pool[:count]


def file_of(folder: Path, kind: str, stem: str) -> Path:
    return next((folder / kind).glob(f"{stem}.*"))


@pytest.fixture(scope="module")
def cats(data) -> Path:
    return data / "cats_feral"


@pytest.fixture(scope="module")
def trained(served: Served, cats: Path) -> tuple[Browser, dict]:
    """A visitor who trained on five cats, and the ended run."""
    served.wait_ready()
    alice = served.visitor()
    uploads: list[Upload] = []
    for stem in few_shot(cats, 5):
        for kind in ("images", "masks"):
            path = file_of(cats, kind, stem)
            uploads.append((kind, path.name, path.read_bytes()))
    answer = alice.post("/api/finetune", {"name": "Cats"}, uploads)
    assert answer.status == 202, answer.body
    return alice, follow(alice, answer.json()["status_url"], patience=300)


def analyze(browser: Browser, path: Path) -> dict:
    answer = browser.post("/api/segment", {}, [("file", path.name, path.read_bytes())])
    assert answer.status == 200, answer.body
    return answer.json()


def mask_of(browser: Browser, found: dict) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(browser.get(found["mask_url"]).body)))


def test_the_training_ends_with_an_active_model(trained):
    alice, run = trained
    assert run["state"] == "done" and run["active"], run["message"]
    assert run["model_path"] == f"models/user_{run['user_id']}.pth" and run["restore_token"]
    health = alice.get("/api/health").json()
    assert (health["active_model"], health["active_model_name"]) == (f"user_{run['user_id']}", "Custom Model")


def test_the_file_opens_with_weights_only_and_holds_what_differs(trained, served):
    _, run = trained
    path = served.home / "media" / run["model_path"]
    content = torch.load(path, map_location="cpu", weights_only=True)
    assert content["base_sha256"] and content["spec"]["classes"]
    assert not any(name.startswith("encoder.") for name in content["tensors"]), "a quick training leaves the encoder"
    assert path.stat().st_size < 8_000_000
    query = "select sha256 from registry_usermodel where public_id = %s"
    (recorded,) = second_pair.select(served.home, query, run["user_id"])
    assert recorded["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_model_finds_cats_it_has_not_seen(trained, cats):
    """mIoU over the next six photos of the protocol above 0.60."""
    alice, run = trained
    both, either = np.zeros(2), np.zeros(2)
    for stem in few_shot(cats, 11)[5:]:
        found = analyze(alice, file_of(cats, "images", stem))
        assert found["model_key"] == f"user_{run['user_id']}" and found["inference_ms"] > 0
        truth, mask = np.asarray(Image.open(file_of(cats, "masks", stem))), mask_of(alice, found)
        assert mask.shape == truth.shape
        known = truth != 255
        for k in (0, 1):
            both[k] += ((mask == k) & (truth == k) & known).sum()
            either[k] += (((mask == k) | (truth == k)) & known).sum()
    assert (both / either).mean() > 0.60


def test_nobody_else_gets_it(trained, served, cats):
    alice, run = trained
    charlie = served.visitor()
    photo = file_of(cats, "images", few_shot(cats, 6)[5])
    assert analyze(charlie, photo)["model_key"] == charlie.get("/api/health").json()["base"]["key"]
    hers = analyze(alice, photo)
    for url in (hers["mask_url"], hers["overlay_url"], hers["confidence_url"]):
        assert alice.get(url).status == 200
        assert charlie.get(url).status == 404
    answer = charlie.post("/api/load-user-model", {"user_id": run["user_id"]})
    assert answer.status == 404 and answer.json()["error"]["code"] == "not_found"


def test_reset_and_back(trained, cats):
    alice, run = trained
    photo = file_of(cats, "images", few_shot(cats, 6)[5])
    custom = mask_of(alice, analyze(alice, photo))
    base = alice.post("/api/reset-to-base-model").json()["active_model"]
    assert analyze(alice, photo)["model_key"] == base
    assert alice.post(f"/api/models/{run['user_id']}/activate").status == 200
    assert np.array_equal(mask_of(alice, analyze(alice, photo)), custom)


def test_a_browser_that_lost_its_cookie_is_given_its_model_back(trained, served):
    _, run = trained
    browser = served.visitor()
    sent = {"user_id": run["user_id"], "token": run["restore_token"]}
    assert browser.post("/api/load-user-model", sent).status == 200
    assert browser.get("/api/health").json()["active_model_name"] == "Custom Model"


@pytest.mark.parametrize("how", ["damaged", "deleted"])
def test_a_lost_file_falls_back_without_an_error(trained, served, cats, how):
    """While it is cached in the worker, too. The file comes back afterwards: other tests use it."""
    alice, run = trained
    photo = file_of(cats, "images", few_shot(cats, 6)[5])
    path = served.home / "media" / run["model_path"]
    assert analyze(alice, photo)["model_key"] == f"user_{run['user_id']}"
    content = path.read_bytes()
    try:
        if how == "deleted":
            path.unlink()
        else:
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        health = alice.get("/api/health").json()
        assert analyze(alice, photo)["model_key"] == health["base"]["key"] == health["active_model"]
        assert "Cats" in health["notice"]
        answer = alice.post("/api/load-user-model", {"user_id": run["user_id"]})
        assert answer.status == 404
    finally:
        path.write_bytes(content)
        assert alice.post(f"/api/models/{run['user_id']}/activate").status == 200
    assert alice.get("/api/health").json()["notice"] is None
