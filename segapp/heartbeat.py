"""A worker process's sign of life: its row, the leases it holds, and the chores it runs beside its work.

Two daemon threads with database connections of their own, so that a worker whose main thread computes for minutes
still counts as alive, and a chore that hangs on a broken broker never delays a beat. A task reports progress by
`tick`. One that has not for `SEGAPP_STALL_SECONDS` hangs: the worker beats no more, so that others take over what it
holds, and `LAST_SECONDS` later the process ends, which no lock or library can prevent. Knows nothing of what the work
is, and nothing of torch.
"""

import faulthandler
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.db.models import F
from django.utils import timezone

from segapp import owner
from segapp.models import Worker

logger = logging.getLogger(__name__)

BEAT_SECONDS = 3.0
LAST_SECONDS = 45.0  # from the last beat of a process that hangs to its end; others take over after 30
FORGET_SECONDS = 600  # rows of workers that were last seen so long ago are deleted

NAME = owner.name()
stopping = threading.Event()  # set when the process was asked to end: hand work back at the next chance

_described: dict[str, Any] = {"queues": "", "device": "", "ready": False}
_info: Callable[[], dict[str, Any]] | None = None
_count = itertools.count(1)
_held: dict[tuple[str, int], tuple[str, bool]] = {}  # -> token, and whether the task's own thread works on it
_ticked: float | None = None  # when the task last made progress, on the monotonic clock; None between two tasks
_chores: list["_Chore"] = []
_lock = threading.Lock()
_beating: threading.Thread | None = None
_left = threading.Event()
_wake = threading.Event()


class _Chore:
    def __init__(self, seconds: float, work: Callable[[], object], apart: bool) -> None:
        self.seconds, self.work, self.apart, self.due = seconds, work, apart, time.monotonic()


def describe(
    *,
    queues: str | None = None,
    device: str | None = None,
    ready: bool | None = None,
    info: Callable[[], dict[str, Any]] | None = None,
) -> None:
    """What the row says from now on. `info` is asked at every beat and must be quick (cache counters, memory)."""
    global _info
    given = {"queues": queues, "device": device, "ready": ready}
    with _lock:
        _described.update({key: value for key, value in given.items() if value is not None})
        _info = info or _info
    _wake.set()


def queues() -> list[str]:
    """What this worker takes from, as it was started."""
    with _lock:
        return str(_described["queues"]).split(",")


def hold(label: str, pk: int, token: str, apart: bool = False) -> None:
    """From now on every beat counts up `lease_beats` of this row ("segapp.TrainingRun", pk), while `token` is its
    lease. `apart`: it is worked on beside the tasks, so a task that hangs takes no lease from it."""
    with _lock:
        _held[label, pk] = token, apart


def task_began() -> None:
    """From now on the task is to `tick`."""
    tick(begin=True)


def task_ended() -> None:
    global _ticked
    _ticked = None


def tick(begin: bool = False) -> None:
    """The task under way made progress: a step, a tile, a frame. Cheap; without effect between two tasks."""
    global _ticked
    if begin or _ticked is not None:
        _ticked = time.monotonic()


def stalled_seconds() -> float:
    """How long the task under way has hung beyond the time it may take for one step; 0 or less: it does not."""
    since = _ticked
    return -1.0 if since is None else time.monotonic() - since - settings.SEGAPP_STALL_SECONDS


def release(label: str, pk: int) -> None:
    """The work on this row is over; without effect when it is not held."""
    with _lock:
        _held.pop((label, pk), None)


def holds(label: str, pk: int) -> bool:
    """Whether the lease was still this process's at the last beat."""
    with _lock:
        return (label, pk) in _held


def every(seconds: float, work: Callable[[], object], apart: bool = False) -> None:
    """Run `work` about this often in the chore thread. What it raises is logged.

    `apart`: in a thread of its own, for what waits for other machines and would hold up the other chores.
    """
    with _lock:
        _chores.append(_Chore(seconds, work, apart))


def start() -> None:
    """Begin to beat; a second call does nothing."""
    global _beating
    with _lock:
        if _beating:
            return
        _beating = threading.Thread(target=_beat_on, name="heartbeat", daemon=True)
    _beating.start()
    threading.Thread(target=_do_chores, name="chores", daemon=True).start()


def leave() -> None:
    """Stop beating and take the row away, so that pages know at once."""
    _left.set()
    _wake.set()
    if _beating:
        _beating.join(timeout=2)


def beat() -> None:
    """One sign of life: the row, and the beats of what is held, in one transaction."""
    hangs = stalled_seconds() > 0
    with _lock:
        values, ask = dict(_described), _info
        held = {key: token for key, (token, apart) in _held.items() if apart or not hangs}
    lost = []
    with transaction.atomic():
        if not hangs:
            values["info"] = {**_process(), **(ask() if ask else {})}
            values["seen"], values["beats"] = timezone.now(), next(_count)
            Worker.objects.update_or_create(name=NAME, defaults=values)
        for (label, pk), token in held.items():
            rows: Any = apps.get_model(label)._default_manager
            if not rows.held(pk, token).update(lease_beats=F("lease_beats") + 1):
                lost.append((label, pk, token))
    with _lock:
        for label, pk, token in lost:
            if _held.get((label, pk), ("", False))[0] == token:
                del _held[label, pk]
                logger.warning("%s %s: the lease was lost", label, pk)


def forget_the_gone() -> None:
    """Delete rows of workers that fell silent long ago, or were processes of this host that no longer exist."""
    Worker.objects.filter(seen__lt=timezone.now() - timedelta(seconds=FORGET_SECONDS)).delete()
    for worker in Worker.objects.exclude(name=NAME):
        if owner.has_died(worker.name):
            worker.delete()


def _beat_on() -> None:
    while not _left.is_set():
        _wake.clear()
        if stalled_seconds() > LAST_SECONDS:
            _end_process()
        try:
            beat()
            if stalled_seconds() <= 0:
                _touch()
        except Exception as error:  # a locked or restarting database: the next beat tries again
            logger.warning("no heartbeat: %s", error)
            connection.close()
        _wake.wait(BEAT_SECONDS)
    try:
        Worker.objects.filter(name=NAME).delete()
    except DatabaseError as error:
        logger.info("could not sign off: %s", error)
    connection.close()


def _do_chores() -> None:
    every(60, forget_the_gone)
    while not _left.wait(0.5):
        with _lock:
            due = [chore for chore in _chores if chore.due <= time.monotonic()]
        for chore in due:
            if chore.apart:
                chore.due = float("inf")
                threading.Thread(target=_repeat, args=[chore], name="chore", daemon=True).start()
            else:
                _do(chore)
                chore.due = time.monotonic() + chore.seconds


def _repeat(chore: _Chore) -> None:
    while not _left.is_set():
        _do(chore)
        _left.wait(chore.seconds)
    connection.close()


def _do(chore: _Chore) -> None:
    try:
        chore.work()
    except Exception:
        logger.exception("chore %s failed; it is tried again", getattr(chore.work, "__qualname__", chore.work))
        connection.close()


def _end_process() -> None:
    """End at once, whatever the threads are at; where they are goes into the log."""
    logger.critical("the task under way made no progress for %s s: this worker ends", settings.SEGAPP_STALL_SECONDS)
    faulthandler.dump_traceback()
    os._exit(1)


def _process() -> dict[str, Any]:
    """Memory in MB as the kernel counts it; empty where there is no /proc."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return {}
    resident = next((line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")), "0")
    return {"memory_mb": int(resident) // 1024}


def _touch() -> None:
    """For health checks that must not ask the database: a file whose time is the last beat's."""
    path = os.environ.get("SEGAPP_BEAT_FILE")
    if path:
        Path(path).touch()
