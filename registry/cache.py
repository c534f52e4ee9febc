"""Loaded values in memory, bounded by bytes.

The least recently used goes first, one in use never goes. Loads of the same key
happen once while others wait; different keys load side by side. Knows nothing of
networks or files.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Loaded:
    """What a loader gives: the value, its size in bytes, and what to do when it goes."""

    value: Any
    size: int
    close: Callable[[], None] | None = None


@dataclass
class _Entry:
    users: int = 0
    loaded: Loaded | None = None
    error: BaseException | None = None
    ready: threading.Event = field(default_factory=threading.Event)


class NetworkCache:
    """Values by key, within `limit_bytes` but for what is in use."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._lock = threading.Lock()
        self._bytes = 0
        self._counters = {
            "hits": 0,
            "misses": 0,
            "loads": 0,
            "failures": 0,
            "evictions": 0,
            "load_ms": 0.0,
            "load_ms_last": 0.0,
            "load_ms_most": 0.0,
        }

    @contextmanager
    def use(self, key: Hashable, loader: Callable[[], Loaded]) -> Iterator[Any]:
        """The value of `key`, loaded when it is not there, held while the block runs.

        An error of the loader reaches everyone who waits for it and is not kept.
        """
        entry = self.acquire(key, loader)
        try:
            assert entry.loaded is not None
            yield entry.loaded.value
        finally:
            self.release(entry)

    def acquire(self, key: Hashable, loader: Callable[[], Loaded]) -> _Entry:
        """Hold the entry of `key` until `release`; loads it when it is not there."""
        with self._lock:
            entry = self._entries.get(key)
            mine = entry is None
            if entry is None:
                entry = self._entries[key] = _Entry()
                self._counters["misses"] += 1
            else:
                self._counters["hits"] += 1
                self._entries.move_to_end(key)
            entry.users += 1
        if mine:
            self._load(key, entry, loader)
        else:
            entry.ready.wait()
        if entry.error is not None:
            raise entry.error
        return entry

    def release(self, entry: _Entry) -> None:
        """Release what `acquire` returned; may free memory at once."""
        with self._lock:
            entry.users -= 1
        self._make_room()

    def clear(self) -> None:
        """Let go of everything that is not in use."""
        self._make_room(limit=0)

    def stats(self) -> dict[str, float]:
        """Counters so far, and what is held now."""
        with self._lock:
            return {
                **{name: round(value, 2) for name, value in self._counters.items()},
                "bytes": self._bytes,
                "limit_bytes": self._limit,
                "entries": len(self._entries),
                "in_use": sum(1 for e in self._entries.values() if e.users),
            }

    def _load(self, key: Hashable, entry: _Entry, loader: Callable[[], Loaded]) -> None:
        started = time.monotonic()
        try:
            loaded = loader()
        except BaseException as error:
            entry.error = error
            with self._lock:
                entry.users -= 1
                self._counters["failures"] += 1
                if self._entries.get(key) is entry:
                    del self._entries[key]
            entry.ready.set()
            raise
        with self._lock:
            entry.loaded = loaded
            self._bytes += loaded.size
            self._counters["loads"] += 1
            took = (time.monotonic() - started) * 1000
            self._counters["load_ms"] += took
            self._counters["load_ms_last"] = took
            self._counters["load_ms_most"] = max(took, self._counters["load_ms_most"])
        entry.ready.set()
        self._make_room()

    def _make_room(self, limit: int | None = None) -> None:
        """Evict from the oldest on; closing one may free another, so look again until done."""
        limit = self._limit if limit is None else limit
        while True:
            with self._lock:
                victim = self._oldest_idle() if self._bytes > limit else None
                if victim is None:
                    return
                loaded = self._entries.pop(victim).loaded
                assert loaded is not None
                self._bytes -= loaded.size
                self._counters["evictions"] += 1
            if loaded.close is not None:
                loaded.close()

    def _oldest_idle(self) -> Hashable | None:
        for key, entry in self._entries.items():
            if entry.users == 0 and entry.loaded is not None:
                return key
        return None
