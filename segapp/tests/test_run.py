"""The process that watches the tests: it ends what hangs, counts what ran, and says which tests it was."""

import os
import sys
import time

import psutil
import pytest

from segapp.tests.run import NO_TESTS, Tally, result, watched

HANGING = """
import ctypes, subprocess, sys

def test_good():
    pass

def test_hangs_in_c_code_with_a_child_in_a_session_of_its_own(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    with open({pid!r}, "w") as file:
        file.write(str(child.pid))
    ctypes.PyDLL(None).sleep(600)  # holds the interpreter's lock: no signal handler of Python runs
"""
MIXED = """
import pytest

def test_good():
    pass

def test_bad():
    assert False

def test_left_out():
    pytest.skip("no such device")
"""


def command(path, *options: str) -> list[str]:
    """pytest on one file, without this project's configuration."""
    plain = ["-c", os.devnull, "--rootdir", str(path.parent), "-p", "no:cacheprovider", "-p", "no:django"]
    return [sys.executable, "-m", "pytest", "-q", *plain, "-p", "segapp.tests.progress", *options, str(path)]


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["-n", "1"]])
def test_a_test_that_hangs_in_c_code_is_killed_with_all_it_started_and_named(tmp_path, options):
    path, pid = tmp_path / "test_hanging.py", tmp_path / "pid"
    path.write_text(HANGING.format(pid=str(pid)))
    tally, began = Tally(), time.monotonic()
    statuses, hung = watched([("hanging tests", command(path, *options))], tally, patience=20)
    assert time.monotonic() - began < 120
    assert statuses == [1]
    assert [name.partition("::")[2] for name in hung] == ["test_hangs_in_c_code_with_a_child_in_a_session_of_its_own"]
    assert tally.outcomes == {"passed": 1}
    assert not psutil.pid_exists(int(pid.read_text()))


def test_passed_failed_and_skipped_are_counted_and_named(tmp_path, capfd):
    path, tally = tmp_path / "test_mixed.py", Tally()
    path.write_text(MIXED)
    steps = [("mixed tests", command(path)), ("no tests", command(path, "-k", "nothing"))]
    assert watched(steps, tally, patience=60) == ([1, NO_TESTS], [])
    printed = capfd.readouterr().out
    assert printed.index("1 failed") < printed.index("--- no tests") < printed.index("3 deselected")
    assert tally.outcomes == {"passed": 1, "failed": 1, "skipped": 1}
    said = result("fast", False, tally, [], 3.2)
    assert "fast tests FAILED: 1 passed, 1 failed, 1 skipped in 3 s" in said
    assert "skipped 1: no such device" in said and "test_mixed.py::test_bad" in said
