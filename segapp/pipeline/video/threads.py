"""Two small threads around the forward pass: one that makes its input ahead of it, one that writes its output.

Both queues are short, so memory stays bounded whichever side is slower. An error in a thread is raised in the caller.
"""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

POLL = 0.1  # seconds between checks whether the other side has given up


class _End:
    pass


class Prefetcher(Generic[T]):
    """Iterate over `items` while a thread already makes the next few."""

    def __init__(self, items: Iterable[T], depth: int) -> None:
        self._queue: queue.Queue[T | _End] = queue.Queue(depth)
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(items,), name="decode", daemon=True)
        self._thread.start()

    def _run(self, items: Iterable[T]) -> None:
        try:
            for item in items:
                if not self._put(item):
                    break
        except BaseException as error:
            self._error = error
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()  # closes a generator's files at once
            self._put(_End())

    def _put(self, item: "T | _End") -> bool:
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=POLL)
                return True
            except queue.Full:
                continue
        return False

    def __iter__(self) -> Iterator[T]:
        while True:
            item = self._queue.get()
            if isinstance(item, _End):
                break
            yield item
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Stop making items and wait for the thread."""
        self._stop.set()
        self._thread.join()


class WriterThread(Generic[T]):
    """Hand items to a thread that processes them in order."""

    def __init__(self, work: Callable[[T], None], depth: int) -> None:
        self._work = work
        self._queue: queue.Queue[T | _End] = queue.Queue(depth)
        self._error: BaseException | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="encode", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not isinstance(item := self._queue.get(), _End):
            if self._stopped.is_set():
                return
            try:
                self._work(item)
            except BaseException as error:
                self._error = error
                return

    def put(self, item: T) -> None:
        self._put(item)
        self._raise()

    def _put(self, item: "T | _End") -> None:
        while self._thread.is_alive():
            try:
                self._queue.put(item, timeout=POLL)
                return
            except queue.Full:
                continue

    def close(self) -> None:
        """Wait until every item is processed; raises what the thread ran into."""
        self._put(_End())
        self._thread.join()
        self._raise()

    def stop(self) -> None:
        """Drop what waits; return when the thread has ended. Raises nothing."""
        self._stopped.set()
        self._put(_End())
        self._thread.join()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error
