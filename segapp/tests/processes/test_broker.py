"""A broker of its own that goes away, freezes and comes back, while pages and runs go on."""

import signal
import socket
import subprocess
import time

import pytest
from celery import Celery

from segapp.parts import redis_server
from segapp.tests.processes import training
from segapp.tests.serving import Served, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

LONGEST = 6.0  # seconds a page may take when the broker fails


class Broker:
    """A redis-server on a port, in the test's hands; REDIS_URL names it."""

    def __init__(self, folder) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url, self.folder = f"redis://127.0.0.1:{self.port}/0", folder
        self.start()

    def start(self) -> None:
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--appendonly", "yes"]
        self.process = subprocess.Popen([str(redis_server()), *options, "--save", ""], stdout=subprocess.DEVNULL)
        until(self._answers)

    def _answers(self) -> bool:
        try:
            return bool(socket.create_connection(("127.0.0.1", self.port), timeout=1))
        except OSError:
            return False

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    broker = Broker(tmp_path_factory.mktemp("redis"))
    yield broker
    broker.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory, broker):
    server = Served(tmp_path_factory.mktemp("home"), REDIS_URL=broker.url)
    try:
        server.start().wait_ready()
        yield server
    finally:
        server.stop()


def test_with_redis_url_no_embedded_broker_runs(server):
    assert not [process for process in server.family() if "redis-server" in " ".join(process.cmdline())]
    assert not (server.home / "var" / "redis").exists()


def timed_start(visitor) -> str:
    visitor.get("/api/health")
    began = time.monotonic()
    status_url = training.start(visitor)
    assert time.monotonic() - began < LONGEST
    return status_url


@pytest.mark.fault(34)
def test_a_broker_that_is_down_holds_no_page_and_its_run_starts_when_it_is_back(server, visitor, broker):
    broker.stop()
    try:
        status_url = timed_start(visitor)
        training.stays(lambda: training.row(server, status_url)["state"] == "queued", 3)
        assert server.visitor().get("/").status == 200
    finally:
        broker.start()
    assert training.follow(visitor, status_url)["state"] == "done"


@pytest.mark.fault(34)
def test_a_frozen_broker_holds_no_page_and_its_run_starts_when_it_thaws(server, visitor, broker):
    broker.process.send_signal(signal.SIGSTOP)
    try:
        status_url = timed_start(visitor)
        training.stays(lambda: training.row(server, status_url)["state"] == "queued", 3)
    finally:
        broker.process.send_signal(signal.SIGCONT)
    assert training.follow(visitor, status_url)["state"] == "done"


@pytest.mark.fault(35)
def test_a_broker_restarted_during_a_training_changes_nothing(server, visitor, broker):
    status_url = training.start(visitor)
    training.under_way(visitor, status_url)
    broker.stop()
    time.sleep(2)
    broker.start()
    assert training.follow(visitor, status_url)["state"] == "done"
    assert training.row(server, status_url)["attempts"] == 1
    again = server.visitor()
    assert training.follow(again, training.start(again))["state"] == "done"


def test_a_broker_that_forgot_everything_is_told_again(server, visitor, broker):
    """Messages lost: the rows are dispatched again."""
    busy = server.visitor()
    first = training.start(busy)
    training.under_way(busy, first)
    status_url = training.start(visitor)  # waits behind the first, in the broker only
    with socket.create_connection(("127.0.0.1", broker.port)) as connection:
        connection.sendall(b"FLUSHALL\r\n")
        assert connection.recv(100).startswith(b"+OK")
    assert training.follow(busy, first)["state"] == "done"
    assert training.follow(visitor, status_url)["state"] == "done"


@pytest.mark.fault(36)
def test_the_same_message_many_times_is_one_run_and_one_model(server, visitor, broker):
    status_url = training.start(visitor)
    sender = Celery("test", broker=broker.url)
    pk = training.row(server, status_url)["id"]
    for _ in range(3):
        sender.send_task("segapp.train", args=[pk], queue="train")
    training.under_way(visitor, status_url)
    sender.send_task("segapp.train", args=[pk], queue="train")
    run = training.follow(visitor, status_url)
    assert run["state"] == "done"
    ended = [training.row(server, status_url)[name] for name in ("model_id", "ended")]
    sender.send_task("segapp.train", args=[pk], queue="train")
    after = server.visitor()
    assert training.follow(after, training.start(after))["state"] == "done"  # behind the doubled messages
    assert training.row(server, status_url)["attempts"] == 1
    assert len(training.models(visitor)) == 1
    assert ended == [training.row(server, status_url)[name] for name in ("model_id", "ended")]
    assert (server.home / "media" / run["model_path"]).is_file()
