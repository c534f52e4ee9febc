"""A process is known by machine, boot, id and start, so that one with a dead one's id does not pass for it."""

import os
import subprocess
import sys

import pytest

from segapp import owner


def named(**changed: str) -> str:
    parts = dict(zip(("host", "boot", "pid", "start"), owner.name().split(":"), strict=True))
    return ":".join({**parts, **changed}.values())


def test_a_living_process_has_not_died():
    assert not owner.has_died(owner.name())


def test_a_process_that_ended_has_died():
    code = "from segapp import owner; print(owner.name())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert owner.has_died(done.stdout.strip())


@pytest.mark.fault(55)
def test_another_process_under_a_dead_ones_id_is_not_taken_for_it():
    assert owner.has_died(named(start="1"))


def test_nothing_is_known_of_other_machines_other_boots_and_older_names():
    assert not owner.has_died(named(host="elsewhere", pid="99999999"))
    assert not owner.has_died(named(boot="00000000", pid="99999999"))
    assert not owner.has_died(f"{os.uname().nodename}:99999999")
    assert not owner.has_died("")
