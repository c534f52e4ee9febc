"""A request's id: taken from the proxy or made, sent back, and carried into the messages for workers."""

import json
import logging
import logging.config
import re

import pytest
from django.conf import settings as site
from django.test import Client

from segapp import dispatch, logs
from segapp.celery import app


def test_an_answer_names_its_request(db):
    first, second = (Client().get("/api/health")[logs.HEADER] for _ in range(2))
    assert re.fullmatch("[0-9a-f]{16}", first) and first != second


def test_the_proxys_id_is_kept_and_anything_odd_is_replaced(db):
    assert Client().get("/api/health", headers={logs.HEADER: "abc-123.x_9"})[logs.HEADER] == "abc-123.x_9"
    for odd in ("short", "a" * 65, "with space here", '"}{injected'):
        assert Client().get("/api/health", headers={logs.HEADER: odd})[logs.HEADER] != odd


def test_a_message_carries_the_id_of_its_request(monkeypatch):
    sent = {}
    monkeypatch.setattr(app, "send_task", lambda name, **options: sent.update(options))
    token = logs.request_id.set("the-request")
    try:
        dispatch._publish("segapp.train", 7, "train")
    finally:
        logs.request_id.reset(token)
    assert sent["headers"] == {logs.MESSAGE_HEADER: "the-request"}


def test_a_task_logs_with_the_id_of_its_message():
    seen = []

    @app.task(name="segapp.tests.logs")
    def task() -> None:
        seen.append(logs.request_id.get())

    task.apply(headers={logs.MESSAGE_HEADER: "the-request"})
    assert seen == ["the-request"] and logs.request_id.get() == "-"


@pytest.mark.parametrize("kind", ["text", "json"])
def test_lines_have_the_id_in_both_formats(kind, capsys):
    formatter = site.LOGGING["formatters"][kind]
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "filters": site.LOGGING["filters"],
            "formatters": {"it": formatter},
            "handlers": {
                "out": {
                    "class": "logging.StreamHandler",
                    "formatter": "it",
                    "filters": ["request"],
                    "stream": "ext://sys.stdout",
                }
            },
            "loggers": {"segapp.probe": {"handlers": ["out"], "level": "INFO", "propagate": False}},
        }
    )
    logging.getLogger("segapp.probe").info("done in %s s", 3)
    line = capsys.readouterr().out.strip()
    if kind == "json":
        row = json.loads(line)
        assert (row["message"], row["request_id"], row["level"], row["logger"]) == (
            "done in 3 s",
            "-",
            "INFO",
            "segapp.probe",
        )
    else:
        assert line == "INFO segapp.probe [-]: done in 3 s"
