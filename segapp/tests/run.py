"""`python -m segapp.tests.run fast|slow|faults|faults-postgres [pytest's arguments]`: the tests in two steps, watched
from outside; `faults-postgres` with PostgreSQL and Redis instead of SQLite and the embedded broker.

First whatever can run beside other tests, on all cores; then the tests that start the service or a browser.
A test that hangs where pytest-timeout cannot end it (in C code, or with the machine starved) is ended from here: when
no test has begun or ended for longer than one may take, all processes of the step are killed and the tests that were
running are named. Prints one result at the end, with a table of the faults that were tried; the exit status is 0 only
when every step was good, and of the faults when every one was tried.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from segapp.home import PROJECT
from segapp.tests import second_pair
from segapp.tests.faults import Faults
from segapp.tests.progress import VARIABLE

SECOND_PAIR = "faults-postgres"
SUITES = {"fast": "not slow", "slow": "slow", "faults": "fault", SECOND_PAIR: "fault"}
# Files with many tests begin first, or, where few tests take most of the time, those that marking.LONG_FILES names.
STEPS: tuple[tuple[str, str, list[str]], ...] = (
    ("parallel tests", "not processes and not browser", []),
    ("tests with the running service and browsers", "(processes or browser)", ["--no-loadscope-reorder"]),
)
SERVICES = 2  # processes of the second step: its tests mostly wait; every process has a service of its own
# Seconds without a test that begins or ends: longer than the longest timeout of a test in the suite.
PATIENCE = {"fast": 400.0, "slow": 3100.0, "faults": 3100.0, SECOND_PAIR: 3100.0}
LOOK_SECONDS = 1.0
DUMP_SECONDS = 5.0  # that killed processes have to print where they were
MAX_WORKERS = 8
NO_TESTS, INTERRUPTED = 5, 2  # exit statuses of pytest


@dataclass
class Tally:
    """What the progress file says. running: tests that have begun and not ended, in order."""

    outcomes: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    running: dict[str, None] = field(default_factory=dict)
    faults: Faults = field(default_factory=Faults)

    def read(self, line: str) -> None:
        found = json.loads(line)
        test, event = found["test"], found["event"]
        if event == "started":
            self.running[test] = None
        elif event == "ended":
            self.running.pop(test, None)
        else:
            self.outcomes[event] += 1
            self.faults.count(test, event, found.get("faults", []))
            if event == "failed":
                self.failed.append(test)
            elif event == "skipped":
                self.skipped[found["reason"]] += 1


def run(suite: str, arguments: list[str], patience: float | None = None) -> int:
    """Both steps of a suite, the second even when the first has failures; returns the exit status."""
    began, tally, statuses, hung = time.monotonic(), Tally(), [], []
    for (title, expression, order), processes in zip(STEPS, (workers(), SERVICES), strict=True):
        print(f"\n--- {title}", flush=True)
        command = [sys.executable, "-m", "pytest", "-m", f"{SUITES[suite]} and {expression}"]
        if processes > 1:
            command += ["-n", str(processes), "--dist", "loadfile", *order]
        status, stuck = watched([*command, *arguments], tally, patience or PATIENCE[suite])
        statuses.append(status)
        hung += stuck
        if status == INTERRUPTED:
            break
    good = set(statuses) <= {0, NO_TESTS} and 0 in statuses
    if SUITES[suite] == "fault" and not arguments:
        good = good and not tally.faults.untried()
    print(result(suite, good, tally, hung, time.monotonic() - began), flush=True)
    return 0 if good else 1


def workers() -> int:
    """Parallel test processes: one for each core, two at least because some tests wait rather than compute."""
    return min(MAX_WORKERS, max(2, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2))


def watched(command: list[str], tally: Tally, patience: float) -> tuple[int, list[str]]:
    """Run a step to its end; returns its exit status and the tests that had to be killed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "progress"
        path.touch()
        process = subprocess.Popen(command, cwd=PROJECT, env={**os.environ, VARIABLE: str(path)})
        try:
            with open(path, encoding="utf-8") as lines:
                moved = time.monotonic()
                while process.poll() is None:
                    time.sleep(LOOK_SECONDS)
                    if read(lines, tally):
                        moved = time.monotonic()
                    elif time.monotonic() - moved > patience:
                        stuck = list(tally.running) or ["(no test had begun)"]
                        print(f"\nNo test began or ended in {patience:.0f} s; killing the step.", flush=True)
                        return 1, stuck
                read(lines, tally)
            return process.returncode, []
        except KeyboardInterrupt:
            process.wait()
            return INTERRUPTED, []
        finally:
            end(process)
            tally.running.clear()


def read(lines, tally: Tally) -> bool:
    """Count whole new lines; returns whether there were any."""
    moved = False
    while True:
        place = lines.tell()
        line = lines.readline()
        if not line.endswith("\n"):
            lines.seek(place)
            return moved
        tally.read(line)
        moved = True


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a step that still runs, with everything it has started; pytest's processes print where they are first."""
    if process.poll() is not None:
        return
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for one in family:
        signal_to(one, signal.SIGABRT if is_pytest(one) else signal.SIGTERM)
    psutil.wait_procs(family, timeout=DUMP_SECONDS)
    for one in family:
        signal_to(one, signal.SIGKILL)
    process.wait()


def is_pytest(process: psutil.Process) -> bool:
    """Whether this is pytest or one of its workers, whose faulthandler answers an abort with all stacks."""
    try:
        return any("pytest" in word or "execnet" in word for word in process.cmdline())
    except psutil.Error:
        return False


def signal_to(process: psutil.Process, number: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)


def result(suite: str, good: bool, tally: Tally, hung: list[str], seconds: float) -> str:
    counts = ", ".join(f"{tally.outcomes[name]} {name}" for name in ("passed", "failed", "skipped"))
    lines = [f"  skipped {count}: {reason}" for reason, count in sorted(tally.skipped.items())]
    lines += [f"  failed: {test}" for test in dict.fromkeys(tally.failed)]
    lines += [f"  hung and killed: {test}" for test in hung]
    verdict = "PASSED" if good else "FAILED"
    table = tally.faults.table()
    if table:
        lines.append(f"\n{table}")
    if SUITES[suite] == "fault" and tally.faults.untried():
        lines.append(f"  not tried: {', '.join(map(str, tally.faults.untried()))}")
    return "\n".join([f"\n=== {suite} tests {verdict}: {counts} in {seconds:.0f} s", *lines])


if __name__ == "__main__":
    if sys.argv[1:2] not in [[name] for name in SUITES]:
        raise SystemExit(__doc__)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if sys.argv[1] == SECOND_PAIR:
        with second_pair.variables() as variables:
            os.environ.update(variables)
            raise SystemExit(run(sys.argv[1], sys.argv[2:]))
    raise SystemExit(run(sys.argv[1], sys.argv[2:]))
