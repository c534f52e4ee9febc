"""The base that SEGAPP_BASE names is made in the background, by one worker, while another base answers."""

import json
import time
from pathlib import Path

import pytest

from registry import bases
from segapp import heartbeat
from segapp.models import BasePreparation, Phase, State
from segapp.services import preparing as said
from segapp.worker import preparing

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def wanted(settings, tmp_path, monkeypatch):
    """A server that is to run MiT-B0 and has no weights for it, and a training worker that has just started."""
    settings.SEGAPP_BASE, settings.SEGAPP_WEIGHTS, settings.MEDIA_ROOT = "mit_b0", tmp_path / "weights", tmp_path
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setattr(preparing, "_failed_since", {})
    monkeypatch.setitem(heartbeat._described, "queues", "train,video")


def builds(monkeypatch, tmp_path: Path, during=lambda: None) -> list[tuple[str, ...]]:
    """Let the child be one that writes a base in no time; what it was called with."""
    calls: list[tuple[str, ...]] = []

    def run(row, *options: str) -> None:
        calls.append(options)
        during()
        (tmp_path / "weights").mkdir(exist_ok=True)
        (tmp_path / "weights" / "mit_b0.pth").write_bytes(b"weights")
        if "--out" in options:
            out = Path(options[options.index("--out") + 1])
            (out / "base_mit_b0.pth").write_bytes(b"network")
            (out / "base_mit_b0.json").write_text(json.dumps({"sha256": "0" * 64}))

    monkeypatch.setattr(preparing, "_run", run)
    return calls


def test_pages_and_health_say_what_is_prepared_and_how_far_it_is(alice):
    BasePreparation.objects.create(
        key="mit_b0", state=State.RUNNING, phase=Phase.DECODER, progress=0.42, eta_seconds=170
    )
    health = alice.get("/api/health").json()
    assert health["active_model"] == "efficientnet_lite0" and health["base"]["key"] == "efficientnet_lite0"
    told = health["preparing"]
    assert (told["key"], told["name"], told["state"], told["progress"]) == ("mit_b0", "MiT-B0", "running", 0.42)
    sentence = "MiT-B0 is being prepared: training its decoder, 42 %, about 3 min left."
    assert told["message"].startswith(sentence)
    for address in ("/", "/models/"):
        page = alice.get(address).content.decode()
        assert sentence in page and "MiT-B0 </span>42 %" in page, address


def test_nothing_is_said_or_done_where_the_base_answers_or_none_was_named(alice, settings, monkeypatch, tmp_path):
    settings.SEGAPP_BASE = "auto"
    calls = builds(monkeypatch, tmp_path)
    preparing.turn()
    assert alice.get("/api/health").json()["preparing"] is None and not BasePreparation.objects.exists() and not calls


def test_a_training_worker_makes_it_and_it_answers_from_then_on(alice, monkeypatch, tmp_path):
    calls = builds(monkeypatch, tmp_path)
    monkeypatch.setitem(heartbeat._described, "queues", "predict")
    preparing.turn()
    assert not calls
    monkeypatch.setitem(heartbeat._described, "queues", "train,video")
    preparing.turn()
    preparing.turn()
    assert len(calls) == 1 and BasePreparation.objects.get().state == State.DONE
    assert not list((tmp_path / "bases").glob(".*"))
    health = alice.get("/api/health").json()
    assert (health["active_model_name"], health["preparing"]) == ("MiT-B0", None)


def test_a_worker_that_lost_the_lease_publishes_nothing(monkeypatch, tmp_path):
    builds(monkeypatch, tmp_path, during=lambda: BasePreparation.objects.update(lease="another's"))
    preparing.turn()
    assert not list((tmp_path / "bases").iterdir()) and said.wanted() == "mit_b0"
    assert BasePreparation.objects.get().state == State.RUNNING, "the other one's"


def test_while_one_prepares_no_other_does(monkeypatch, tmp_path):
    calls = builds(monkeypatch, tmp_path)
    BasePreparation.objects.create(key="mit_b0", state=State.RUNNING, lease="x", lease_owner=heartbeat.NAME)
    preparing.turn()
    assert not calls


def test_a_failure_says_what_to_do_and_is_tried_again_later(alice, monkeypatch):
    def fail(row, *options):
        raise preparing.Failed("There are no weights for the encoder mit_b0. Put the weights file into that folder.")

    monkeypatch.setattr(preparing, "_run", fail)
    preparing.turn()
    told = alice.get("/api/health").json()["preparing"]
    assert told["state"] == "failed" and "Put the weights file" in told["message"]
    assert told["message"].endswith(preparing.AGAIN) and "MiT-B0 </span>failed" in alice.get("/").content.decode()
    attempts = []
    monkeypatch.setattr(preparing, "_run", lambda row, *options: attempts.append(row) or fail(row))
    preparing.turn()
    assert not attempts
    preparing._failed_since["mit_b0"] = time.monotonic() - preparing.RETRY_SECONDS
    preparing.turn()
    assert len(attempts) == 1


def test_where_only_the_weights_are_missing_nothing_is_built_again(monkeypatch, tmp_path):
    folder = tmp_path / "bases"
    folder.mkdir()
    (folder / "base_mit_b0.pth").write_bytes(b"made elsewhere")
    bases.write_card(folder / "base_mit_b0.json", {"sha256": "0" * 64})
    calls = builds(monkeypatch, tmp_path)
    preparing.turn()
    assert calls == [("--weights-only",)] and (folder / "base_mit_b0.pth").read_bytes() == b"made elsewhere"
    assert said.wanted() is None


def test_reports_of_the_child_become_one_rising_progress(monkeypatch):
    row = BasePreparation.objects.create(key="mit_b0", state=State.RUNNING, lease="x")
    seen = []
    clock = iter(range(100))
    monkeypatch.setattr(preparing.time, "monotonic", lambda: next(clock))
    began: dict = {}
    for stage, fraction in (
        *(("weights", 0.5), ("weights", 1.0), ("teacher", 0.2), ("features", 0.45)),
        *((None, 0.55), (None, 0.75), (None, 1.0)),
    ):
        assert preparing._note(row, {"stage": stage, "fraction": fraction}, began)
        row.refresh_from_db()
        seen.append((row.phase, row.progress, row.eta_seconds))
    assert [progress for _, progress, _ in seen] == sorted(progress for _, progress, _ in seen)
    assert [phase for phase, _, _ in seen] == ["weights"] * 2 + ["images"] * 2 + ["decoder"] * 3
    assert seen[5][2] == pytest.approx(1.25) and seen[0][2] is None
