"""A training as it happens, as server-sent events: `progress`, `preview`, `end`.

Each open stream holds a thread of the web process (gunicorn_conf.py has so many more), so their number is bounded, per
visitor too, and none stays open for ever: clients connect again by themselves, and Last-Event-ID says what they have.
"""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

from django.db import DatabaseError
from django.urls import reverse

from registry import store
from segapp.models import TrainingRun
from segapp.services import runs
from segapp.services.errors import Overloaded

MAX_OPEN = 8  # of this process
MAX_PER_VISITOR = 2
LOOK_SECONDS = 0.5
HEARTBEAT_SECONDS = 10  # a comment line; also what shows that a client has gone
MAX_SECONDS = 900
RETRY_MS = 2000  # after which a client connects again
LAST = "end"  # id of the last event

closing = threading.Event()  # set when this process is asked to end
_lock = threading.Lock()
_open: Counter[str] = Counter()  # streams by visitor


class TooManyStreams(Overloaded):
    """As many trainings are watched as may be."""

    code = "too_many_streams"
    title = "Too many trainings are watched"
    message = "Too many event streams are open."
    advice = "Close one, or ask for the training's state every second instead."
    retry_after = 10


class Stream:
    """The events of one run from now on, as encoded pieces. `close` gives its place back, also when never begun."""

    def __init__(self, visitor: str, run: TrainingRun, last_id: str, is_allowed: Callable[[], bool]) -> None:
        """`last_id`: of the last event that the client has, or "". Raises TooManyStreams."""
        with _lock:
            if _open.total() >= MAX_OPEN or _open[visitor] >= MAX_PER_VISITOR:
                raise TooManyStreams
            _open[visitor] += 1
        self._visitor, self._closed = visitor, False
        self._pieces = _pieces(run.pk, last_id, is_allowed)

    def __iter__(self) -> Iterator[bytes]:
        return (piece.encode() for piece in self._pieces)

    def close(self) -> None:
        with _lock:
            if self._closed:
                return
            self._closed = True
            _open[self._visitor] -= 1
            if not _open[self._visitor]:
                del _open[self._visitor]


def _pieces(pk: int, last_id: str, is_allowed: Callable[[], bool]) -> Iterator[str]:
    yield f"retry: {RETRY_MS}\n\n"
    began = spoke = time.monotonic()
    while not closing.is_set() and time.monotonic() - began < MAX_SECONDS:
        try:
            run = TrainingRun.objects.filter(pk=pk).select_related("model").first()
            if run is None or not is_allowed():
                return
            for name, id_, data in _news(run, last_id):
                yield f"id: {id_}\nevent: {name}\ndata: {json.dumps(data)}\n\n"
                last_id, spoke = id_, time.monotonic()
        except (DatabaseError, store.StoreUnreachable):
            return  # the client comes again
        if not run.unfinished:
            return
        if time.monotonic() - spoke > HEARTBEAT_SECONDS:
            yield ": still here\n\n"
            spoke = time.monotonic()
        closing.wait(LOOK_SECONDS)


def _news(run: TrainingRun, last_id: str) -> Iterator[tuple[str, str, object]]:
    """(event, id, data) of what has changed since the event with that id, which names the state that it described."""
    if not run.unfinished:
        if last_id != LAST:
            yield "end", LAST, runs.status(run)
        return
    position = run.queue_position()
    told, _, shown = last_id.partition("/")
    known = f"{run.state}-{run.attempts}-{position}-{run.progress:.4f}"
    if told == known:
        return
    preview = store.fetch(run.folder / "preview.webp", newer=True)
    stamp = str(preview.stat().st_mtime_ns) if preview.exists() else ""
    yield "progress", f"{known}/{shown}", runs.status(run)
    if stamp != shown:
        address = reverse("run-file", args=[run.public_id, "preview.webp"])
        yield "preview", f"{known}/{stamp}", {"url": f"{address}?{stamp}"}
