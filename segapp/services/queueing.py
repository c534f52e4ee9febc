"""Queues of trainings, videos and batches: how many may wait over all visitors, and how long one is likely to wait."""

from statistics import median
from typing import Any

from django.conf import settings

from segapp.models import UNFINISHED, Analysis, Batch, State, TrainingRun, VideoJob, Work, Worker
from segapp.models.work import ahead_by_turn
from segapp.services import admission
from segapp.services.errors import Overloaded

RECENT = 5  # ended ones that say how long one takes
RETRY_SECONDS = 30, 300  # least and most that a refusal asks to wait
GUESSED_SECONDS = 60.0  # of one, before the first has ended; only for saying when to come back
NAMES: dict[type[Work], str] = {TrainingRun: "trainings", VideoJob: "videos", Batch: "batches"}


def admit(kind: type[Work]) -> None:
    """Raises Overloaded when as many are unfinished as this server takes, all visitors together.

    Counted without a lock: requests of the same moment may overstep the limit by as many as there are web threads.
    """
    limits: dict[type[Work], int] = {
        TrainingRun: settings.SEGAPP_TRAIN_QUEUE,
        VideoJob: settings.SEGAPP_VIDEO_QUEUE,
        Batch: settings.SEGAPP_BATCH_QUEUE,
    }
    if kind._default_manager.filter(state__in=UNFINISHED).count() >= limits[kind]:
        least, longest = RETRY_SECONDS
        seconds = (usual_seconds(kind) or GUESSED_SECONDS) / _workers(kind)
        raise Overloaded(
            f"This server takes {limits[kind]} {NAMES[kind]} at a time, and so many are waiting or running. "
            "Try again in a few minutes; nothing was changed.",
            retry_after=round(max(least, min(longest, seconds))),
        )


def usual_seconds(kind: type[Work]) -> float | None:
    """How long one of the latest took from its last start to its end, the median; None before the first."""
    done = kind._default_manager.filter(state=State.DONE, started__isnull=False, ended__isnull=False)
    latest = done.order_by("-ended").values_list("started", "ended")[:RECENT]
    taken = [max(0.0, (ended - started).total_seconds()) for started, ended in latest if started and ended]
    return median(taken) if taken else None


def wait_seconds(row: Work | Analysis) -> float | None:
    """How long a queued row is likely to wait, as the latest of each kind took; 0 when nothing stands before it.

    None when nothing tells: none of what waits before it has ended before, nor says how long it still takes.
    """
    before = ahead(row)
    by_turn = isinstance(row, Analysis) or row.by_turn
    if by_turn and row.state == State.QUEUED:  # a training goes before these
        before += TrainingRun.objects.filter(state__in=UNFINISHED)
    usual = {kind: usual_seconds(kind) for kind in {type(each) for each in before} - {Analysis}}
    total = 0.0
    for each in before:
        if isinstance(each, Analysis):
            total += admission.seconds_left(each)
            continue
        left = each.eta_seconds if each.state == State.RUNNING else None
        left = usual[type(each)] if left is None else left
        if left is None:
            return None
        total += left
    return round(total / _workers(type(row)), 1)


def ahead(row: Work | Analysis) -> list[Any]:
    """What is done before a queued row at most; `row` may be an image that is read in parts."""
    if isinstance(row, Work):
        return row.ahead()
    return ahead_by_turn(row) if row.state == State.QUEUED else []


def _workers(kind: type[Work | Analysis]) -> int:
    queue = "train" if kind is TrainingRun else "video"
    return max(1, Worker.objects.alive().filter(queues__contains=queue).count())
