"""Admission control: how many images may be queued, and how many requests may wait for them.

A full server says so instead of queueing on. What is admitted is answered; what is not leaves nothing behind. Knows
nothing of images or of who asks.
"""

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings

from segapp.models import UNFINISHED, Analysis, State, Worker
from segapp.services.errors import Overloaded

MIN_ADMITTED = 16  # accepted however slow the workers are (unless SEGAPP_QUEUE itself is less)
MAX_WAIT = 40.0  # seconds that the last of the queue may expect to wait; the API gives up after 60
PACE_OF = 8  # latest results that say how long one takes
GUESSED_SECONDS = 1.0  # an image, until a first one was measured
# Requests of this process that may sleep until a worker has answered. The web server has 56 threads (gunicorn_conf),
# and the others must stay free for pages, however many wait.
MAX_WAITERS = 24

_waiter_slots = threading.BoundedSemaphore(MAX_WAITERS)


def admit() -> None:
    """Return when one more image may wait. Raises Overloaded when the queue is full, or would take too long.

    Counted without a lock: requests of the same moment may overstep the limit by as many as there are web threads.
    """
    waiting = Analysis.objects.filter(windows=False, state__in=UNFINISHED).count()
    if waiting < min(MIN_ADMITTED, settings.SEGAPP_QUEUE):
        return
    seconds = expected_seconds(waiting)
    if waiting >= settings.SEGAPP_QUEUE or seconds > MAX_WAIT:
        raise Overloaded(retry_after=_retry_after(seconds))


def expected_seconds(waiting: int) -> float:
    """How long it takes to answer so many, at the pace of the latest results and with the workers there are."""
    latest = (
        Analysis.objects.filter(windows=False, state=State.DONE)
        .order_by("-pk")
        .values_list("timings", flat=True)[:PACE_OF]
    )
    taken = [sum(timings.get(part, 0) for part in ("decode_ms", "inference_ms", "encode_ms")) for timings in latest]
    pace = sum(taken) / len(taken) / 1000 if taken else GUESSED_SECONDS
    workers = Worker.objects.alive().filter(queues__contains="predict").count()
    return waiting * pace / max(1, workers)


@contextmanager
def waiter_slot() -> Iterator[None]:
    """Held while a request waits for a worker. Raises Overloaded at once when all are taken."""
    if not _waiter_slots.acquire(blocking=False):
        raise Overloaded(retry_after=_retry_after(expected_seconds(MAX_WAITERS)))
    try:
        yield
    finally:
        _waiter_slots.release()


def _retry_after(seconds: float) -> int:
    """When a third of what waits is done, between 2 and 30 seconds."""
    return max(2, min(30, math.ceil(seconds / 3)))
