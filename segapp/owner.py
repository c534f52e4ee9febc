"""A name for this start of this process, which rows of work carry, and whether the process behind a name has died.

`host:boot:pid:start`: the same host and process id after a restart make another name. Only a process of this very
machine since its last boot can be looked for; for others nothing is known here.
"""

import os
import socket
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def name() -> str:
    return f"{socket.gethostname()}:{_boot()}:{os.getpid()}:{_start(os.getpid())}"


def has_died(owner: str) -> bool:
    """Whether the process was one of this machine and is gone; its id may belong to another one by now."""
    host, _, rest = owner.partition(":")
    boot, _, process = rest.partition(":")
    pid, _, start = process.partition(":")
    if (host, boot) != (socket.gethostname(), _boot()) or not pid.isdigit() or not Path("/proc/self").exists():
        return False
    return _start(int(pid)) != start


def _boot() -> str:
    """Part of the kernel's id of this boot; "" where there is no /proc."""
    try:
        return BOOT_ID.read_text()[:8]
    except OSError:
        return ""


def _start(pid: int) -> str:
    """When the process started, in the kernel's ticks since boot; "" when there is none of this id."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]
