"""How a process that runs networks treats memory it has freed.

glibc gives every large block back to the system when it is freed, and each layer of the next pass asks for it again:
a page fault per four kilobytes, a third of a small encoder's time on a CPU.
"""

import ctypes
from functools import cache

# Parameters of mallopt(3).
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3

LARGEST_KEPT = 32 << 20  # bytes; glibc's own limit, larger blocks go back at once
MAX_KEPT = 256 << 20  # bytes; more that is free at the end of the main heap goes back


@cache
def keep_freed() -> bool:
    """Let freed memory serve this process's next pass. False where the C library cannot be told.

    That is for passes of the main thread. The threads that predict a video's frames have smaller heaps of their own,
    which give more back; one heap for all (ARENA_MAX) made videos no faster.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):  # not glibc
        return False
    wanted = {MMAP_THRESHOLD: LARGEST_KEPT, TRIM_THRESHOLD: MAX_KEPT}
    taken = [mallopt(parameter, value) for parameter, value in wanted.items()]
    return all(taken)
