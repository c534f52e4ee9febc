"""The reference base one variable away: the service fetches its weights from a stand-in for the hub and makes it."""

import os
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from registry.network import ClassInfo, Spec, build
from segapp.tests.hub import Hub
from segapp.tests.processes.training import follow, pairs
from segapp.tests.serving import Served, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """What the hub has: the right names and shapes, and values of no worth."""
    torch.manual_seed(0)
    spec = Spec("mit_b3", "mit_b3", {}, 512, (0.5,) * 3, (0.5,) * 3, (ClassInfo(0, "disc", "#ffffff"),))
    path = tmp_path_factory.mktemp("hub") / "model.safetensors"
    save_file(build(spec).encoder.state_dict(), path)
    return path


def test_the_named_base_is_made_while_another_one_answers_and_trains(tmp_path, weights):
    with Hub(weights) as hub:
        hub.refusing = True
        own = {"SEGAPP_BASE": "mit_b3", "SEGAPP_PREPARE_STEPS": "4", **hub.environment(tmp_path / "hub")}
        server = Served(tmp_path / "home", **own)
        try:
            server.start()
            alice = server.visitor()

            def told() -> dict:
                return alice.get("/api/health").json()["preparing"] or {}

            # Out of reach: another base answers, and everything says what failed and what to do.
            until(lambda: told().get("state") == "failed", 120)
            assert "Put the weights file into that folder" in told()["message"]
            assert b"MiT-B3 </span>failed" in alice.get("/").body
            hub.refusing = False
            os.kill(server.pid("train"), signal.SIGKILL)  # a worker that starts tries at once

            # Half of the file is here: the packaged base answers and trains.
            until(lambda: told().get("progress", 0) > 0.05, 120)
            server.wait_ready(240)
            assert alice.get("/api/health").json()["active_model"] == "efficientnet_lite0"
            assert "fetching its weights" in told()["message"]
            run = follow(alice, alice.post("/api/finetune", {}, pairs(3)).json()["status_url"], patience=400)
            assert run["state"] == "done", run["message"]

            # Its worker is killed; the child dies with it, and the next one starts over.
            children = [process for process in server.family() if "build_base" in " ".join(process.cmdline())]
            assert len(children) == 1
            os.kill(server.pid("train"), signal.SIGKILL)
            until(lambda: not children[0].is_running() or children[0].status() == "zombie", 20)
            hub.gate.set()
            until(lambda: alice.get("/api/health").json()["base"]["key"] == "mit_b3", 400)
            assert hub.downloads > 1, "another worker has fetched it again"

            bob = server.visitor()
            health = bob.get("/api/health").json()
            assert (health["active_model"], health["active_model_name"]) == ("mit_b3", "MiT-B3")
            assert health["preparing"] is None and health["base"]["weights"] == "hub"
            image = next(upload for upload in pairs(1) if upload[0] == "images")
            assert bob.post("/api/segment", {}, [("file", *image[1:])]).json()["model_key"] == "mit_b3"
            found = alice.post("/api/segment", {}, [("file", *image[1:])]).json()
            assert (found["model_key"], found["base"]) == (f"user_{run['user_id']}", "efficientnet_lite0")
            assert b"MiT-B3" in bob.get("/").body
        finally:
            server.stop()
