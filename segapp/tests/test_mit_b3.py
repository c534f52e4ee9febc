"""The reference base, on weights that the test makes: a weights file and a built base, and everything names MiT-B3."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from registry.network import ClassInfo, Spec, build
from segapp.home import PROJECT
from segapp.tests.processes.training import follow, pairs
from segapp.tests.serving import Served

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A folder with mit_b3.pth: the right names and shapes, and values of no worth."""
    torch.manual_seed(0)
    spec = Spec("mit_b3", "mit_b3", {}, 512, (0.5,) * 3, (0.5,) * 3, (ClassInfo(0, "disc", "#ffffff"),))
    folder = tmp_path_factory.mktemp("weights")
    torch.save(build(spec).encoder.state_dict(), folder / "mit_b3.pth")
    return folder


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("set")
    for kind, name, content in pairs(4):
        path = folder / kind / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    return folder


def build_base(home: Path, weights: Path, *arguments: str) -> dict:
    """The card that `build_base mit_b3` prints."""
    environment = {**os.environ, "SEGAPP_HOME": str(home), "SEGAPP_WEIGHTS": str(weights)}
    command = [sys.executable, str(PROJECT / "manage.py"), "build_base", "mit_b3", *arguments, "--steps", "2", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_packaged_base_teaches_it_on_sample_images_or_on_ones_own(tmp_path, weights, data_folder):
    card = build_base(tmp_path, weights)
    assert (card["key"], card["recipe"]["teacher"]) == ("mit_b3", "efficientnet_lite0")
    assert "sky" in [found["name"] for found in card["classes"]]
    again = build_base(tmp_path, weights, "--images", str(data_folder / "images"))
    assert again["recipe"]["teacher"] == "efficientnet_lite0", "not the one that is built here"
    assert (again["recipe"]["pictures"], again["recipe"]["encoder"]) == (4, "frozen")


def test_a_weights_file_and_one_command_make_mit_b3_answer_everywhere(tmp_path, weights, data_folder):
    home = tmp_path / "home"
    assert build_base(home, weights, "--data", str(data_folder))["key"] == "mit_b3"
    server = Served(home, SEGAPP_WEIGHTS=str(weights), SEGAPP_BASE="mit_b3")
    try:
        server.start()
        server.wait_ready(patience=240)
        alice = server.visitor()
        health = alice.get("/api/health").json()
        assert (health["active_model"], health["active_model_name"]) == ("mit_b3", "MiT-B3")
        assert health["base"]["weights"] == "local file"
        for address in ("/", "/finetune/", "/analyze/", "/video/", "/models/", "/reset/"):
            assert b"MiT-B3" in alice.get(address).body, address
        image = next(upload for upload in pairs(1) if upload[0] == "images")
        found = alice.post("/api/segment", {}, [("file", *image[1:])]).json()
        assert found["model_key"] == "mit_b3"
        run = follow(alice, alice.post("/api/finetune", {}, pairs(3)).json()["status_url"], patience=400)
        assert run["state"] == "done", run["message"]
        size = (home / "media" / run["model_path"]).stat().st_size
        assert size < 30_000_000, "of the encoder, 88 MB in half precision, only the last stage is in the file"
        found = alice.post("/api/segment", {}, [("file", *image[1:])]).json()
        assert (found["model_key"], found["base"]) == (f"user_{run['user_id']}", "mit_b3")
    finally:
        server.stop()
