"""A pytest plugin that counts the faults of docs/reliability.md that were tried: tests marked `fault(row, ...)`.

Under segapp/tests/run.py the rows go into the progress file and the table is printed there, over all steps.
"""

import os
import re
from collections import Counter
from dataclasses import dataclass, field

import pytest

from segapp.home import PROJECT
from segapp.tests.progress import VARIABLE, faults_of

DOCUMENT = PROJECT / "docs" / "reliability.md"
TITLE_WIDTH = 72


@dataclass(frozen=True)
class Fault:
    """A row of the fault list: what goes wrong, and the tests the row names, as (file below segapp/tests, function)."""

    title: str
    tests: frozenset[tuple[str, str]]


@dataclass
class Faults:
    """How the tests of each row ended; `outcomes` has the last word on each test, with its rows."""

    outcomes: dict[str, tuple[str, list[int]]] = field(default_factory=dict)

    def count(self, test: str, outcome: str, rows: list[int]) -> None:
        """A test that passed and whose teardown fails is one try, and lost."""
        if rows:
            self.outcomes[test] = outcome, rows

    def ended(self, outcome: str) -> Counter[int]:
        return Counter(row for found, rows in self.outcomes.values() if found == outcome for row in rows)

    def untried(self) -> list[int]:
        """Rows of the list of which no test ran; a skipped one is no try."""
        tried = {row for outcome, rows in self.outcomes.values() if outcome != "skipped" for row in rows}
        return [row for row in listed() if row not in tried]

    def table(self) -> str:
        """fault, tries, survived, lost; "" when no marked test ran."""
        if not self.outcomes:
            return ""
        survived, lost = self.ended("passed"), self.ended("failed")
        lines = [f"{'fault':<{TITLE_WIDTH + 5}}{'tries':>6}{'survived':>10}{'lost':>6}"]
        faults = listed()
        for row in sorted({row for _, rows in self.outcomes.values() for row in rows}):
            title = faults[row].title if row in faults else ""
            title = title if len(title) <= TITLE_WIDTH else f"{title[: TITLE_WIDTH - 1]}…"
            tries = survived[row] + lost[row]
            lines.append(f"{row:>3}  {title:<{TITLE_WIDTH}}{tries:>6}{survived[row]:>10}{lost[row]:>6}")
        title = f"{len(faults) - len(self.untried())} of {len(faults)} faults tried"
        tries = survived.total() + lost.total()
        lines.append(f"     {title:<{TITLE_WIDTH}}{tries:>6}{survived.total():>10}{lost.total():>6}")
        return "\n".join(lines)


def listed() -> dict[int, Fault]:
    """The rows of the fault list."""
    found: dict[int, Fault] = {}
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        row = re.match(r"\| (\d+) \| ([^|]*) \|", line)
        if row:
            tests = frozenset((path, name) for path, name in re.findall(r"`([\w/]+\.py)::(\w+)`", line))
            found[int(row[1])] = Fault(row[2], tests)
    return found


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(FaultTable())


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    rows = [row for marker in item.iter_markers("fault") for row in marker.args]
    if rows:
        item.user_properties.append(("faults", rows))  # reports carry these from parallel workers too


class FaultTable:
    def __init__(self) -> None:
        self._faults = Faults()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not report.passed or report.when == "call":
            self._faults.count(report.nodeid, report.outcome, faults_of(report))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        table = self._faults.table()
        if table and not os.environ.get(VARIABLE):
            terminalreporter.section("faults")
            terminalreporter.write_line(table)
