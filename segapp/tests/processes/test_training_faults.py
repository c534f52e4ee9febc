"""What machines do to a training, on the real thing: the run survives, and nothing is published twice or by half."""

import os
import signal
import threading
import time

import pytest

from segapp.tests import second_pair
from segapp.tests.processes import training
from segapp.tests.processes.conftest import fill
from segapp.tests.serving import Served, lives, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_an_undisturbed_training_is_done_and_active(server, visitor, record_property):
    began = time.monotonic()
    run = training.follow(visitor, training.start(visitor))
    record_property("seconds", round(time.monotonic() - began, 1))
    assert run["state"] == "done", run
    assert training.active(visitor) == f"user_{run['user_id']}"
    assert (server.home / "media" / run["model_path"]).is_file()


@pytest.mark.fault(32)
def test_a_killed_training_worker_is_followed_by_another_and_the_old_model_answers_meanwhile(server, visitor):
    old = training.follow(visitor, training.start(visitor))
    status_url = training.start(visitor)
    training.under_way(visitor, status_url)
    killed = server.pid("train")
    os.kill(killed, signal.SIGKILL)
    died = time.monotonic()
    assert training.active(visitor) == f"user_{old['user_id']}"
    until(lambda: training.row(server, status_url)["attempts"] == 2, 60)
    assert time.monotonic() - died < 60  # the lease
    assert training.active(visitor) == f"user_{old['user_id']}"
    run = training.follow(visitor, status_url)
    assert run["state"] == "done", run
    assert training.recipe(server, run["user_id"])["batch"] == 2, "in case it was its memory that killed the worker"
    assert len(training.models(visitor)) == 2
    assert training.active(visitor) == f"user_{run['user_id']}"


def test_a_run_whose_worker_dies_twice_is_given_up_with_a_reason(server, visitor):
    status_url = training.start(visitor)
    for attempt in (1, 2):
        until(lambda n=attempt: training.row(server, status_url)["attempts"] == n, 90)
        training.under_way(visitor, status_url)
        os.kill(server.pid("train"), signal.SIGKILL)
    run = training.follow(visitor, status_url)
    assert run["state"] == "failed"
    assert run["message"]
    assert training.models(visitor) == []
    server.wait_ready()


@pytest.mark.fault(47)
def test_a_training_worker_asked_to_end_hands_its_run_back_unspent(server, visitor):
    status_url = training.start(visitor)
    training.under_way(visitor, status_url)
    os.kill(server.pid("train"), signal.SIGTERM)
    until(lambda: training.row(server, status_url)["lease"] == "", 8)
    assert training.row(server, status_url)["attempts"] == 0
    assert training.follow(visitor, status_url)["state"] == "done"
    assert len(training.models(visitor)) == 1


@pytest.mark.fault(35)
def test_a_restarted_web_server_does_not_disturb_a_training(server, visitor):
    status_url = training.start(visitor)
    training.under_way(visitor, status_url)
    os.kill(server.pid("web"), signal.SIGKILL)
    assert training.follow(visitor, status_url)["state"] == "done"
    assert training.row(server, status_url)["attempts"] == 1


@pytest.mark.fault(40)
@pytest.mark.timeout(1800)
def test_a_training_cancelled_under_way_publishes_nothing_and_its_worker_goes_on(server, visitor):
    old = training.follow(visitor, training.start(visitor), 600)
    before = model_files(server)
    status_url = training.start(visitor, "thorough")
    training.under_way(visitor, status_url, 300)
    began = time.monotonic()
    assert visitor.post(f"{status_url}/stop", {"keep": "false"}).status == 200
    assert time.monotonic() - began < 2, "acknowledged at once"
    run = training.follow(visitor, status_url, 120)
    assert run["state"] == "cancelled", run
    assert not run["user_id"]
    assert model_files(server) == before
    assert training.active(visitor) == f"user_{old['user_id']}"
    assert [model["id"] for model in training.models(visitor)] == [old["user_id"]]
    again = training.follow(visitor, training.start(visitor), 600)
    assert again["state"] == "done" and training.active(visitor) == f"user_{again['user_id']}"


@pytest.mark.fault(40)
@pytest.mark.timeout(1800)
def test_a_reset_under_way_keeps_the_new_model_and_leaves_the_base_in_use(server, visitor):
    base = server.visitor().get("/api/health").json()["active_model"]
    status_url = training.start(visitor)
    training.under_way(visitor, status_url, 300)
    assert visitor.post("/api/reset-to-base-model").status == 200
    assert training.active(visitor) == base
    run = training.follow(visitor, status_url, 600)
    assert run["state"] == "done", run
    assert training.active(visitor) == base, "the reset was the later wish"
    kept = {model["id"]: model for model in training.models(visitor)}
    assert set(kept) == {run["user_id"]}
    assert (server.home / "media" / run["model_path"]).is_file()
    assert visitor.post(f"/api/models/{run['user_id']}/activate").status == 200
    assert training.active(visitor) == f"user_{run['user_id']}"


def model_files(server: Served) -> set[str]:
    return {path.name for path in (server.home / "media" / "models").rglob("user_*")}


@pytest.mark.fault(37)
def test_a_database_locked_for_ten_seconds_loses_no_run(server, visitor):
    status_url = training.start(visitor)
    training.under_way(visitor, status_url)
    locked = threading.Event()

    def lock() -> None:
        with second_pair.locked(server.home):
            locked.set()
            time.sleep(10)

    thread = threading.Thread(target=lock)
    thread.start()
    locked.wait(30)
    answer = server.visitor().post("/api/reset-to-base-model")
    assert answer.status in (200, 503)
    assert answer.status == 200 or answer.json()["error"]["code"] == "busy"
    assert visitor.get(status_url).status == 200  # reading never waits
    thread.join()
    assert training.follow(visitor, status_url)["state"] == "done"
    assert training.row(server, status_url)["attempts"] == 1


@pytest.mark.fault(35)
def test_the_whole_server_ended_during_a_training_takes_it_up_again_when_it_starts(own_server):
    own_server.start().wait_ready()
    visitor = own_server.visitor()
    status_url = training.start(visitor)
    training.under_way(visitor, status_url)
    family = own_server.family()
    assert own_server.stop() < 10
    assert not [process for process in family if lives(process)]
    row = training.row(own_server, status_url)
    assert (row["state"], row["attempts"], row["lease"]) == ("queued", 0, "")
    visitor.host = own_server.start().url.partition("//")[2]
    assert training.follow(visitor, status_url)["state"] == "done"
    assert len(training.models(visitor)) == 1


@pytest.mark.fault(38)
def test_a_full_disk_is_said_and_leaves_nothing_behind(small_disk):
    server = Served(small_disk / "home", log=small_disk.with_suffix(".log"))
    try:
        server.start().wait_ready()
        visitor = server.visitor()
        old = training.follow(visitor, training.start(visitor))
        assert old["state"] == "done", old
        files = [path for path in (server.home / "media").rglob("*") if path.is_file()]
        before = {path.name for path in files}
        model_bytes = max(path.stat().st_size for path in files if path.name.startswith("user_"))

        status_url = training.start(visitor)
        training.under_way(visitor, status_url)
        fill(small_disk, leave=model_bytes * 2 // 3)  # room for rows, none for a model
        run = training.follow(visitor, status_url)
        assert run["state"] == "failed", run
        assert "disk is full" in run["message"], server.output()
        assert training.active(visitor) == f"user_{old['user_id']}"

        fill(small_disk, leave=20_000)
        answer = visitor.post("/api/finetune", {}, training.pairs(side=400))
        assert answer.status == 507, answer.body
        assert answer.json()["error"]["code"] == "disk_full"

        (small_disk / "filler").unlink()
        left = {path.name for path in (server.home / "media").rglob("*") if path.is_file()}
        assert not [name for name in left if "tmp" in name or name.startswith(".")]
        assert not [name for name in left - before if name.startswith("user_")]
        assert visitor.get("/").status == 200
        assert training.follow(visitor, training.start(visitor))["state"] == "done"
    finally:
        server.stop()
