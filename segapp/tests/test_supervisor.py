"""The supervisor with small shell commands as its parts, watched from outside as `serve` would be."""

import os
import re
import signal
import subprocess
import sys
import time

import psutil
import pytest

from segapp.home import PROJECT
from segapp.parts import TRAIN_NICE
from segapp.tests.serving import lives, until

SCRIPT = """
import os, sys
from segapp.supervisor import Part, Supervisor
def shell(name, words, phase=0, patience=2.0, **more):
    return Part(name, ["/bin/sh", "-c", words], phase, patience, **more)
parts = eval(sys.argv[1])
supervisor = Supervisor(parts, os.environ, on_stop=lambda: print("stopping", flush=True))
supervisor.run()
print("gone", flush=True)
"""


@pytest.fixture
def group(tmp_path):
    """start(parts as Python text) -> the running supervisor; `.log()` is what it printed."""
    started = []

    def start(parts):
        log = tmp_path / f"{len(started)}.log"
        with open(log, "wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-c", SCRIPT, parts],
                env={**os.environ, "PYTHONPATH": str(PROJECT)},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        process.log = log.read_text
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def children(process, patience=10):
    return until(lambda: psutil.Process(process.pid).children(recursive=True), patience)


def test_it_passes_on_what_parts_print_with_their_name(group):
    supervisor = group("[shell('one', 'echo hello; sleep 60'), shell('other', 'echo oops >&2; sleep 60')]")
    until(lambda: "one   | hello" in supervisor.log() and "other | oops" in supervisor.log())


def test_lines_a_part_hides_are_not_passed_on(group):
    supervisor = group("[shell('one', 'echo chatter; echo news; sleep 60', hide=(b'chatter',))]")
    until(lambda: "news" in supervisor.log())
    assert "chatter" not in supervisor.log()


def test_a_part_that_dies_starts_again_and_waits_longer_each_time(group):
    supervisor = group("[shell('one', 'echo try; exit 3')]")
    until(lambda: supervisor.log().count("| try") >= 3, 10)
    assert re.findall(r"ended with status 3; starts again in (\d+) s", supervisor.log())[:2] == ["1", "2"]


def test_a_killed_part_is_named_with_its_signal(group):
    supervisor = group("[shell('one', 'kill -9 $$')]")
    until(lambda: "one | was ended by SIGKILL; starts again in 1 s" in supervisor.log())


def test_a_command_that_does_not_exist_is_said_and_tried_again(group):
    supervisor = group("[Part('one', ['/no/such/command'], 0, 1.0)]")
    until(lambda: supervisor.log().count("cannot start") >= 2, 10)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_end_it_ends_everything_phase_by_phase(group, number):
    says = 'trap "echo bye; exit 0" TERM; echo up; while :; do sleep 0.1; done'
    supervisor = group(f"[shell('last', {says!r}, 1), shell('first', {says!r}, 0)]")
    until(lambda: supervisor.log().count("| up") == 2)
    family = children(supervisor)
    supervisor.send_signal(number)
    assert supervisor.wait(10) == 0
    log = supervisor.log()
    assert log.index("stopping") < log.index("first | bye") < log.index("last  | bye") < log.index("gone")
    assert not [process for process in family if lives(process)]


def test_a_part_that_ignores_the_request_is_killed_within_ten_seconds(group):
    supervisor = group("[shell('deaf', 'trap : TERM; echo up; while :; do sleep 0.1; done')]")
    until(lambda: "up" in supervisor.log())
    family, began = children(supervisor), time.monotonic()
    supervisor.terminate()
    assert supervisor.wait(15) == 0
    assert time.monotonic() - began < 10
    assert "deaf | did not end in time and is killed" in supervisor.log()
    until(lambda: not [process for process in family if lives(process)], 2)


def test_nothing_is_left_when_the_supervisor_itself_is_killed(group):
    supervisor = group("[Part('one', ['sleep', '600'], 0, 1.0), Part('two', ['sleep', '600'], 1, 1.0, nice=19)]")
    family = until(lambda: len(found := children(supervisor)) == 2 and found)
    until(lambda: {"sleep"} == {process.name() for process in family})
    assert {process.nice() for process in family} == {os.nice(0), 19}
    supervisor.kill()
    until(lambda: not [process for process in family if lives(process)], 5)


def test_what_a_dead_part_left_behind_is_killed_before_it_starts_again(group):
    supervisor = group("[shell('one', 'sleep 600 & echo pid $!; exit 1')]")
    pid = int(until(lambda: re.search(r"pid (\d+)", supervisor.log())).group(1))
    until(lambda: not psutil.pid_exists(pid) or not lives(psutil.Process(pid)), 5)


def test_a_closed_terminal_does_not_end_it(group):
    supervisor = group("[shell('one', 'echo up; sleep 600')]")
    until(lambda: "up" in supervisor.log())
    supervisor.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert supervisor.poll() is None


def test_a_part_that_closes_its_output_is_still_watched(group):
    supervisor = group("[shell('one', 'exec >&- 2>&-; sleep 0.5; exit 4')]")
    until(lambda: "ended with status 4" in supervisor.log(), 10)
    assert psutil.Process(supervisor.pid).cpu_times().user < 1.5  # it did not spin on the closed pipe


@pytest.mark.slow
def test_the_training_worker_gets_a_share_of_the_cores_beside_busy_ones(group):
    """At the lowest priority it got a fiftieth of what they did."""
    busy = f"[{sys.executable!r}, '-c', 'while True: pass']"
    parts = [f"Part('busy{number}', {busy}, 0, 1.0)" for number in range(os.cpu_count() or 1)]
    supervisor = group(f"[{', '.join(parts)}, Part('train', {busy}, 0, 1.0, nice={TRAIN_NICE})]")
    family = until(lambda: len(found := children(supervisor)) == len(parts) + 1 and found)
    until(lambda: any(process.nice() == os.nice(0) + TRAIN_NICE for process in family))
    time.sleep(1)
    before = {process: process.cpu_times().user for process in family}
    time.sleep(5)
    spent = {process: process.cpu_times().user - before[process] for process in family}
    train = [seconds for process, seconds in spent.items() if process.nice() == os.nice(0) + TRAIN_NICE]
    assert sum(train) > 0.1 * (sum(spent.values()) - sum(train)) / len(parts)
