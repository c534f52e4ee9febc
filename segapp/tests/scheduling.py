"""How the kernel schedules this process's threads.

Some encoders (SVT-AV1 as root) give every thread of the process real-time priority and leave it so. Threads that wait
for each other by spinning, as torch's do, then keep the whole machine from anything else, and nothing inside the
process can end it.
"""

import os
from pathlib import Path

TASKS = Path("/proc/self/task")


def policies() -> dict[int, int]:
    """The scheduling policy of every thread by its id; empty where the system does not tell (no Linux)."""
    found = {}
    for thread in TASKS.iterdir() if TASKS.is_dir() else ():
        try:
            found[int(thread.name)] = os.sched_getscheduler(int(thread.name))
        except ProcessLookupError:
            continue  # it has just ended
    return found


def restore(policy: int) -> list[int]:
    """Give every thread of another policy this one, which must need no priority; returns their ids."""
    changed = [thread for thread, found in policies().items() if found != policy]
    for thread in changed:
        os.sched_setscheduler(thread, policy, os.sched_param(0))
    return changed
