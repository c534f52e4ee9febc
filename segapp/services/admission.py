"""Admission control: how much work with images may be queued, and how many requests may wait for it.

An image costs as many forward passes as its model takes for it (imaging/tiling.py): one, or a thousand where examples
were tiny and the image is large. A full server says so instead of queueing on. What is admitted is answered; what is
not leaves nothing behind. Knows nothing of pixels.
"""

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings

from segapp.models import UNFINISHED, Analysis, State, Worker
from segapp.services.errors import Overloaded

MIN_ADMITTED = 16  # images accepted however slow the workers are (unless SEGAPP_QUEUE itself is less)
MAX_WAIT = 40.0  # seconds that an image may expect to wait; the API gives up after 60
COSTLY = 16  # passes from which an image is held to the two limits below
MAX_OWN = 120.0  # seconds of work that one visitor's images in the queue may hold when a costly one is among them
MAX_COSTLY = 600.0  # seconds of work in the queue up to which costly images are taken
PACE_OF = 8  # latest results that say how long a pass takes
GUESSED_SECONDS = 0.2  # a pass, until a first one was measured
# Requests of this process that may sleep until a worker has answered. The web server has 56 threads (gunicorn_conf),
# and the others must stay free for pages, however many wait.
MAX_WAITERS = 24

_waiter_slots = threading.BoundedSemaphore(MAX_WAITERS)


def admit(visitor: str, passes: int = 1) -> None:
    """Return when one more image of so many passes may wait. Raises Overloaded when the queue is full, when it would
    wait too long, or when it is a costly one and enough of these wait.

    Counted without a lock: requests of the same moment may overstep the limit by as many as there are web threads.
    """
    waiting = _waiting()
    if passes >= COSTLY:
        _hold_costly(visitor, passes, waiting)
    if len(waiting) < min(MIN_ADMITTED, settings.SEGAPP_QUEUE):
        return
    seconds = _seconds(_before(waiting, visitor))
    if len(waiting) >= settings.SEGAPP_QUEUE or seconds > MAX_WAIT:
        raise Overloaded(retry_after=_retry_after(seconds))


def _hold_costly(visitor: str, passes: int, waiting: list[Analysis]) -> None:
    own = sum(_left(row) for row in waiting if row.visitor == visitor)
    if own and _seconds(own + passes) > MAX_OWN:
        raise Overloaded(
            f"This image takes {passes} passes of your model, and images of yours are waiting already. "
            "Send it when they are done; nothing was stored.",
            retry_after=_retry_after(_seconds(own)),
        )
    total = _seconds(sum(map(_left, waiting)))
    if total > MAX_COSTLY:
        raise Overloaded(
            f"This image takes {passes} passes of your model, and many such images are waiting. "
            "Try again in a few minutes; nothing was stored.",
            retry_after=_retry_after(total),
        )


def wait(analysis: Analysis) -> tuple[int, float]:
    """(how many images are done before a queued one at most, seconds until its turn); (0, 0.0) when it has begun.

    Of images that are not read in parts; the others wait beside the videos, see services/queueing.py.
    """
    if analysis.state != State.QUEUED:
        return 0, 0.0
    ahead = _ahead([row for row in _waiting() if row.pk != analysis.pk], analysis.visitor, analysis.pk)
    return len(ahead), round(_seconds(sum(map(_left, ahead))), 1)


def seconds_left(analysis: Analysis) -> float:
    """How long the image itself still takes, once it is its turn."""
    return _left(analysis) * pace()


def pace() -> float:
    """Seconds of one pass, as the latest results took."""
    done = Analysis.objects.filter(windows=False, state=State.DONE).order_by("-pk")
    taken = passes = 0.0
    for timings, count in done.values_list("timings", "passes")[:PACE_OF]:
        taken += sum(timings.get(part, 0) for part in ("decode_ms", "inference_ms", "encode_ms"))
        passes += count
    return taken / passes / 1000 if passes else GUESSED_SECONDS


@contextmanager
def waiter_slot() -> Iterator[None]:
    """Held while a request waits for a worker. Raises Overloaded at once when all are taken."""
    if not _waiter_slots.acquire(blocking=False):
        raise Overloaded(retry_after=_retry_after(_seconds(MAX_WAITERS)))
    try:
        yield
    finally:
        _waiter_slots.release()


def _waiting() -> list[Analysis]:
    """The images in the queue and at work, oldest first; those read in parts stand in another one."""
    rows = Analysis.objects.filter(windows=False, state__in=UNFINISHED).order_by("pk")
    return list(rows.only("pk", "visitor", "state", "passes", "progress"))


def _ahead(waiting: list[Analysis], visitor: str, before: int | None = None) -> list[Analysis]:
    """What is done before an image of the visitor's at most: what runs, the visitor's own older ones, and of each
    other visitor's what costs as much as these and the first behind them, since turns are taken by cost."""
    own = [row for row in waiting if row.visitor == visitor and (before is None or row.pk < before)]
    running = [row for row in waiting if row.state == State.RUNNING and row not in own]
    share = sum(map(_left, own))
    taken: dict[str, float] = {}
    others = []
    for row in waiting:
        if row.visitor == visitor or row.state == State.RUNNING:
            continue
        if taken.get(row.visitor, 0) <= share:
            taken[row.visitor] = taken.get(row.visitor, 0) + _left(row)
            others.append(row)
    return [*running, *own, *others]


def _before(waiting: list[Analysis], visitor: str) -> float:
    return sum(map(_left, _ahead(waiting, visitor)))


def _left(row: Analysis) -> float:
    """Passes that are still to be done."""
    return row.passes * (1 - row.progress) if row.state == State.RUNNING else row.passes


def _seconds(passes: float) -> float:
    workers = Worker.objects.alive().filter(queues__contains="predict").count()
    return passes * pace() / max(1, workers)


def _retry_after(seconds: float) -> int:
    """When a third of what waits is done, between 2 and 30 seconds."""
    return max(2, min(30, math.ceil(seconds / 3)))
