"""A pytest plugin that tells another process what the tests are doing: one JSON line for every start and every end.

The file is named by SEGAPP_TEST_PROGRESS; segapp/tests/run.py reads it. With parallel workers only the process that
gives out the tests writes.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest

VARIABLE = "SEGAPP_TEST_PROGRESS"


def pytest_configure(config: pytest.Config) -> None:
    path = os.environ.get(VARIABLE)
    if path and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Progress(Path(path)))


def faults_of(report: pytest.TestReport) -> list[int]:
    """The rows of the fault list that the test of this report tries; segapp/tests/faults.py puts them there."""
    found: list[Any] = [rows for name, rows in report.user_properties if name == "faults"]
    return [row for rows in found for row in rows]


class Progress:
    def __init__(self, path: Path) -> None:
        self._path = path

    def _write(self, **values: Any) -> None:
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._write(test=nodeid, event="started")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        faults = faults_of(report)
        if report.failed:
            self._write(test=report.nodeid, event="failed", faults=faults)
        elif report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            self._write(test=report.nodeid, event="skipped", faults=faults, reason=reason.removeprefix("Skipped: "))
        elif report.when == "call":
            self._write(test=report.nodeid, event="passed", faults=faults)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._write(test=nodeid, event="ended")
