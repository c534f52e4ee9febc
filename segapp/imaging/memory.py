"""How much memory decoded images may take in one process, by the size that their headers declare.

A file of 44 kB may be an image of half a gigabyte, and a web server has many threads. A thread that is about to
decode takes its share first; what does not fit waits, in the order of arrival and for a bounded time.
"""

import ctypes
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

# Bytes a pixel, as measured at 40 megapixels for the costliest usual kinds of each.
READ = 12  # decoded, turned upright and brought to RGB
READ_MASK = 18  # decoded as a mask
READ_BY = {"WEBP": 20, "AVIF": 16}  # decoders that hold more than one canvas
READ_CONFINED = 24  # in the process apart and in the one that takes its answer
SHOWN = 24  # a stored image and its mask, laid over one another
MASKED = 32  # an image with its masks, as they come in
STORED = 8  # one stored image or mask

MMAP_THRESHOLD, LARGEST_KEPT = -3, 2**20  # of mallopt(3)
LIMIT = 640 * 2**20  # unless the settings say otherwise
PATIENCE = 20.0  # seconds that one waits for its turn
MAX_WAITING = 16  # further ones are turned away at once: each that waits holds a thread of the web server


class DecodersBusy(Exception):
    """Too many files are being read right now; nothing was stored. `retry_after` is in seconds."""

    retry_after = 10
    message = "Many files are being read right now. Try again in a few seconds; nothing was stored."

    def __init__(self) -> None:
        super().__init__(self.message)


class Budget:
    """A semaphore of bytes. A request for more than the whole gets all of it, alone."""

    def __init__(self, limit: int, patience: float = PATIENCE, most: int = MAX_WAITING) -> None:
        self.limit, self.patience, self.most = limit, patience, most
        self._taken = 0
        self._queue: deque[object] = deque()
        self._changed = threading.Condition()
        self._mine = threading.local()

    @contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Held while an image of so many bytes is in memory. Raises DecodersBusy.

        What the same thread holds within counts as part of the outermost, which must be large enough for all: a thread
        that waited for more while it holds some could wait for ever.
        """
        if getattr(self._mine, "size", 0):
            yield
            return
        share = min(max(1, size), self.limit)
        self._take(share)
        self._mine.size = share
        try:
            yield
        finally:
            self._mine.size = 0
            with self._changed:
                self._taken -= share
                self._changed.notify_all()

    def held(self) -> int:
        """Bytes that this thread holds."""
        return int(getattr(self._mine, "size", 0))

    def _take(self, share: int) -> None:
        turn, until = object(), time.monotonic() + self.patience
        with self._changed:
            if self._queue and len(self._queue) >= self.most:
                raise DecodersBusy
            self._queue.append(turn)
            try:
                while self._queue[0] is not turn or self._taken + share > self.limit:
                    left = until - time.monotonic()
                    if left <= 0:
                        raise DecodersBusy
                    self._changed.wait(left)
                self._taken += share
            finally:
                self._queue.remove(turn)
                self._changed.notify_all()


decoding = Budget(LIMIT)


def return_freed() -> bool:
    """Give large blocks back to the system as soon as they are freed, for processes of many threads.

    glibc learns from each freed block to keep the next ones, in a heap for each thread: hundreds of megabytes that
    stay unused. False where the C library has no such setting.
    """
    try:
        return bool(ctypes.CDLL(None).mallopt(MMAP_THRESHOLD, LARGEST_KEPT))
    except (OSError, TypeError, AttributeError):  # not glibc
        return False
