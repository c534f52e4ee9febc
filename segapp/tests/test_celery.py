"""Messages: where they go, and that a broker that is gone or frozen never holds a page for long."""

import socket
import subprocess
import time

import pytest
from django.conf import settings
from django.db import transaction

from segapp import dispatch, parts
from segapp.celery import app
from segapp.models import Analysis, TrainingRun, VideoJob
from segapp.tests.serving import until

LONGEST = 6.0  # seconds a page may take when the broker fails


@pytest.fixture
def frozen_broker():
    """Something that accepts connections on the broker's socket and never answers, as a stopped process does."""
    settings.REDIS_SOCKET.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(settings.REDIS_SOCKET))
        listener.listen(16)
        yield
    settings.REDIS_SOCKET.unlink()


@pytest.fixture
def broker(tmp_path):
    """The embedded Redis on the settings' socket."""
    command = parts.broker(tmp_path, settings.REDIS_SOCKET, print).command
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        until(settings.REDIS_SOCKET.exists, 20)
        yield
        process.terminate()


def test_messages_wait_until_a_worker_takes_them(broker, transactional_db):
    assert not dispatch.is_waiting(dispatch.PREDICT)
    dispatch.live(1)
    assert dispatch.is_waiting(dispatch.PREDICT) and not dispatch.is_waiting(dispatch.TRAIN)
    with app.connection_for_read() as connection:
        connection.SimpleQueue(dispatch.PREDICT).get(timeout=5).ack()
    assert not dispatch.is_waiting(dispatch.PREDICT)


def test_nothing_waits_without_a_broker():
    assert not dispatch.is_waiting(dispatch.PREDICT)


@pytest.mark.parametrize(("task", "queue"), [("train", "train"), ("video", "video"), ("analyze", "predict")])
def test_every_task_has_its_queue(task, queue):
    assert app.amqp.router.route({}, f"segapp.{task}")["queue"].name == queue


@pytest.mark.parametrize(("send", "kind"), [("training", TrainingRun), ("video", VideoJob), ("analysis", Analysis)])
def test_dispatch_names_the_queue_that_the_routes_name(send, kind, monkeypatch, transactional_db):
    sent = []
    monkeypatch.setattr(app, "send_task", lambda name, args, queue, headers: sent.append((name, args, queue)))
    with transaction.atomic():
        getattr(dispatch, send)(kind(pk=7))
        assert sent == []  # only after the commit
    ((name, args, queue),) = sent
    assert args == [7]
    assert app.conf.task_routes[name]["queue"] == queue


def test_a_worker_of_several_queues_empties_train_before_video():
    assert app.conf.broker_transport_options["queue_order_strategy"] == "sorted"
    assert sorted(["video", "train"]) == ["train", "video"]


def test_a_broker_that_is_down_costs_little_and_loses_nothing(transactional_db, caplog):
    began = time.monotonic()
    dispatch.training(TrainingRun(pk=1))
    dispatch.notify("nobody")
    assert time.monotonic() - began < LONGEST
    assert "stays queued" in caplog.text


@pytest.mark.parametrize("number", [1, 2])
def test_a_frozen_broker_costs_less_than_six_seconds(frozen_broker, transactional_db, caplog, number):
    began = time.monotonic()
    dispatch.training(TrainingRun(pk=1))
    assert time.monotonic() - began < LONGEST
    assert "stays queued" in caplog.text


def test_waiting_for_a_bell_at_a_frozen_broker_ends_soon(frozen_broker):
    began = time.monotonic()
    dispatch.wait_for_notification("nobody", 0.5)
    assert time.monotonic() - began < LONGEST
