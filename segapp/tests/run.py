"""`python -m segapp.tests.run fast|slow|faults|faults-postgres [pytest's arguments]`: the tests in two steps, watched
from outside; `faults-postgres` with PostgreSQL and Redis instead of SQLite and the embedded broker.

One step has whatever can run beside other tests, on all cores; the other has the tests that start the service or a
browser, and often waits. The fast tests' steps run at the same time where there is memory for both, the others' one
after the other: many of those measure, start services and look at how long something takes.
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
STEPS = (
    ("parallel tests", "not processes and not browser"),
    ("tests with the running service and browsers", "(processes or browser)"),
)
SERVICES = 2  # processes of the second step: its tests often wait; every process has a service of its own
TOGETHER_BYTES = 12 * 2**30  # memory of a machine that both steps at once do not fill
BESIDE_NICE = "5"  # of parallel tests beside the others, which look at how soon the service answers
# Seconds without a test that begins or ends: longer than the longest timeout of a test in the suite.
PATIENCE = {"fast": 400.0, "slow": 3100.0, "faults": 3100.0, SECOND_PAIR: 3100.0}
LOOK_SECONDS = 1.0
DUMP_SECONDS = 5.0  # that killed processes have to print where they were
MAX_WORKERS = 8
NO_TESTS, INTERRUPTED = 5, 2  # exit statuses of pytest


@dataclass
class Tally:
    """What the progress files say."""

    outcomes: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    faults: Faults = field(default_factory=Faults)

    def read(self, line: bytes, running: dict[str, None]) -> None:
        """Count one line. running: tests of the same file that have begun and not ended, in order."""
        found = json.loads(line)
        test, event = found["test"], found["event"]
        if event == "started":
            running[test] = None
        elif event == "ended":
            running.pop(test, None)
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
    together = suite == "fast" and may_run_together()
    steps: list[tuple[str, list[str]]] = []
    for (title, expression), processes in zip(STEPS, (workers(), SERVICES), strict=True):
        command = [sys.executable, "-m", "pytest", "-m", f"{SUITES[suite]} and {expression}"]
        if processes > 1:
            # Files in the order of marking.LONG_FILES, not by their number of tests.
            command += ["-n", str(processes), "--dist", "loadfile", "--no-loadscope-reorder"]
        nice = ["nice", "-n", BESIDE_NICE] if together and not steps else []
        steps.append((title, [*nice, *command, *arguments]))
    for at_once in [steps] if together else [[step] for step in steps]:
        found, stuck = watched(at_once, tally, patience or PATIENCE[suite])
        statuses += found
        hung += stuck
        if INTERRUPTED in found:
            break
    good = set(statuses) <= {0, NO_TESTS} and 0 in statuses
    if SUITES[suite] == "fault" and not arguments:
        good = good and not tally.faults.untried()
    print(result(suite, good, tally, hung, time.monotonic() - began), flush=True)
    return 0 if good else 1


def may_run_together() -> bool:
    """Whether there is memory for both steps, and no database that both would take."""
    return psutil.virtual_memory().total > TOGETHER_BYTES and not os.environ.get("SEGAPP_TEST_DATABASE_URL")


def workers() -> int:
    """Parallel test processes: one more than there are cores, because some tests wait rather than compute."""
    return min(MAX_WORKERS, 1 + (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2))


class Step:
    """pytest on its way: its process, the file that says how far it is, and where it prints."""

    def __init__(self, title: str, command: list[str], folder: Path, printed: Path | None) -> None:
        """printed: a file for what pytest prints; without one it prints at once."""
        self.title, self.printed = title, printed
        self.running: dict[str, None] = {}
        self.moved = time.monotonic()
        self.killed: list[str] = []  # tests that were running when the step had to be killed
        handle, progress = tempfile.mkstemp(dir=folder)
        os.close(handle)
        self._progress, self._read = Path(progress), 0
        with open(printed, "wb") if printed else contextlib.nullcontext() as output:
            self.process = subprocess.Popen(
                command,
                cwd=PROJECT,
                # Without this where it is set, every process that a test starts would compile the project again.
                env={**os.environ, VARIABLE: progress, "PYTHONDONTWRITEBYTECODE": ""},
                stdout=output,
                stderr=subprocess.STDOUT if output else None,
            )

    def read(self, tally: Tally) -> None:
        """Count whole new lines."""
        with open(self._progress, "rb") as lines:
            lines.seek(self._read)
            for line in lines:
                if not line.endswith(b"\n"):
                    return
                self._read += len(line)
                self.moved = time.monotonic()
                tally.read(line, self.running)

    def watch(self, tally: Tally, patience: float) -> bool:
        """Whether it still runs. It is killed when no test has begun or ended for so many seconds."""
        self.read(tally)
        if self.process.poll() is None and time.monotonic() - self.moved > patience:
            print(f"\nNo test began or ended in {patience:.0f} s; killing {self.title}.", flush=True)
            self.killed = list(self.running) or ["(no test had begun)"]
            end(self.process)
        return self.process.poll() is None

    def close(self) -> None:
        """Kill what still runs, and print what was kept back."""
        end(self.process)
        if self.printed is not None:
            print(f"\n--- {self.title}", flush=True)
            print(self.printed.read_text(errors="replace"), end="", flush=True)
        if self.process.returncode < 0:
            print(f"\n{self.title} ended by signal {-self.process.returncode}", flush=True)


def watched(commands: list[tuple[str, list[str]]], tally: Tally, patience: float) -> tuple[list[int], list[str]]:
    """Run steps, (title, command) each, to their ends at the same time; returns their exit statuses and the tests that
    had to be killed. The first prints at once, the others when all have ended."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as closing:
        folder = Path(name)
        steps: list[Step] = []
        print(f"\n--- {' | '.join(title for title, _ in commands)}", flush=True)
        for number, (title, command) in enumerate(commands):
            steps.append(Step(title, command, folder, folder / f"{number}.printed" if number else None))
            closing.callback(steps[-1].close)
        try:
            while [step for step in steps if step.watch(tally, patience)]:
                time.sleep(LOOK_SECONDS)
        except KeyboardInterrupt:
            for step in steps:
                step.process.wait()
            return [INTERRUPTED], []
        for step in steps:
            step.read(tally)
        statuses = [1 if step.killed else step.process.returncode for step in steps]
        return statuses, [test for step in steps for test in step.killed]


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
