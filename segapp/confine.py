"""Limits on a process that reads uploaded files: memory, processor time, open files, no secrets.

What it does to itself ends itself only. Knows nothing of what is read.
"""

import os
import resource
from dataclasses import dataclass


@dataclass(frozen=True)
class ResourceLimits:
    """Address space in bytes, seconds on a processor, seconds by the clock (longer: the machine may be busy)."""

    memory: int = 2 << 30
    processor: int = 60
    clock: float = 300
    files: int = 32


def environment() -> dict[str, str]:
    """What Python needs to start, and one thread in libraries that would reserve memory for each; no secrets."""
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "PYTHONPATH") if name in os.environ}
    return {"PATH": os.defpath, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", **kept}


def confine(limits: ResourceLimits) -> None:
    """Hold this very process to the limits, for good; it can write to no file, only to what is open already."""
    for what, most in (
        (resource.RLIMIT_AS, limits.memory),
        (resource.RLIMIT_CPU, limits.processor),
        (resource.RLIMIT_NOFILE, limits.files),
        (resource.RLIMIT_FSIZE, 0),  # pipes are no files: the answer still goes out
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (allowed, allowed))
