"""Imports of large libraries without Python's garbage collector, which takes a fifth of their time.

It would run hundreds of times, and nothing that an import makes is garbage. Needs no Django.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collection() -> Iterator[None]:
    """Collect nothing while the block runs, and do not look at what it made again: it stays until the process ends."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
