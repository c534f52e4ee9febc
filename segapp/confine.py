"""Limits on a process that reads uploaded files: memory, processor time, open files, paths, no secrets.

What it does to itself ends itself only. Knows nothing of what is read.
"""

import ctypes
import os
import resource
import socket
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# Linux's Landlock: the same numbers on every architecture. Rights that a kernel has by its version of the interface.
CREATE_RULESET, ADD_RULE, RESTRICT_SELF, VERSION, BENEATH = 444, 445, 446, 1, 1
READ_FILE = 1 << 2
PR_SET_NO_NEW_PRIVS = 38
PATHS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # number of rights on paths; later versions: as the last
NETWORK_SINCE, SCOPES_SINCE = 4, 6  # TCP; abstract sockets, and signals to processes that are not confined

ROOT = Path(__file__).resolve().parents[1]

_libc = ctypes.CDLL(None)


@dataclass(frozen=True)
class ResourceLimits:
    """Address space in bytes, seconds on a processor, seconds by the clock (longer: the machine may be busy), open
    files, and bytes that may be written to a file that is open already."""

    memory: int = 2 << 30
    processor: int = 60
    clock: float = 300
    files: int = 32
    written: int = 0


def environment() -> dict[str, str]:
    """What Python needs to start, and one thread in libraries that would reserve memory for each; no secrets."""
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "PYTHONPATH") if name in os.environ}
    return {"PATH": os.defpath, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", **kept}


def started(command: Sequence[str], **variables: str) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """A process that confines itself, with a socket as its input, and the other end of that.

    `variables` are added to its environment. Raises OSError.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        process = subprocess.Popen(
            [*command],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
            env={**environment(), **variables},
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return process, ours


def confine(limits: ResourceLimits) -> None:
    """Hold this very process to the limits, for good. Pipes and sockets are no files: an answer still goes out."""
    for what, most in (
        (resource.RLIMIT_AS, limits.memory),
        (resource.RLIMIT_CPU, limits.processor),
        (resource.RLIMIT_NOFILE, limits.files),
        (resource.RLIMIT_FSIZE, limits.written),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (allowed, allowed))


def forbid_paths(readable: Path | None = None) -> bool:
    """Take this very process, for good, all access to files by their path, also to remove or rename them; where the
    kernel knows it, TCP and signals to others, too. `readable`: a file that it may read. False where the kernel has no
    Landlock."""
    version = _libc.syscall(CREATE_RULESET, None, 0, VERSION)
    if version < 1:
        return False
    rights = [(1 << PATHS[min(version, max(PATHS))]) - 1]
    rights += [0b11] if version >= NETWORK_SINCE else []
    rights += [0b11] if version >= SCOPES_SINCE else []
    ruleset = struct.pack(f"{len(rights)}Q", *rights)
    descriptor = _libc.syscall(CREATE_RULESET, ruleset, len(ruleset), 0)
    if descriptor < 0:
        return False
    if readable is not None:
        file = os.open(readable, os.O_PATH | os.O_CLOEXEC)
        _libc.syscall(ADD_RULE, descriptor, BENEATH, struct.pack("=Qi", READ_FILE, file), 0)
        os.close(file)
    _libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    done = _libc.syscall(RESTRICT_SELF, descriptor, 0) == 0
    os.close(descriptor)
    return done
