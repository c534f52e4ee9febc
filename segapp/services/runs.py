"""Training runs as the web sees them: start, look, stop, and the reaper that keeps them moving. Free of torch."""

import logging
import time
from collections.abc import Iterable
from statistics import median
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F, QuerySet
from django.urls import reverse
from django.utils import timezone

from registry import services as registry
from registry.models import UserModel
from segapp import dispatch, owner
from segapp.imaging import InvalidFile, class_mapping
from segapp.imaging.class_mapping import ClassMapping
from segapp.models import (
    MAX_ATTEMPTS,
    UNFINISHED,
    Batch,
    Example,
    Export,
    State,
    Stop,
    TrainingRun,
    TrainingSet,
    VideoJob,
    Work,
    Worker,
)
from segapp.services import queueing, restore, schemas, storage
from segapp.services.errors import Conflict, NotFound

logger = logging.getLogger(__name__)

LEASE_SECONDS = 30  # without a beat of its owner for so long, a running row is taken over
RECENT = 5  # trainings that say how long the next one takes
PUBLISHING_SECONDS = 60  # that a run may take beside its training, at most
SHORT_TRAINING = "short_training"  # in a worker's info: what worker/pace.py measured
# How many times as long as the short one a training of five images takes: measured for quick in one process (5.2 by the
# clock, 4.9 by processor time); thorough by the engine's usual seconds beside quick's.
SHORT_TRAININGS = {"quick": 5.0, "thorough": 10.5}
REDISPATCH_SECONDS = 15  # a queued row is dispatched again this often


class AlreadyTraining(Conflict):
    """The visitor has a run in progress; the API names its address."""

    code = "already_training"
    message = "A training of yours is already in progress."
    advice = "Wait for it, or stop it first."

    def __init__(self, run: TrainingRun) -> None:
        super().__init__(location=reverse("api-run", args=[run.public_id]))


def start(
    visitor: str,
    examples: Iterable[Example],
    mapping: ClassMapping,
    *,
    name: str = "",
    effort: str = "quick",
    continued_from: UserModel | None = None,
    keep_drafts: bool = False,
) -> TrainingRun:
    """Queue a training on these examples. They are drafts no longer, unless `keep_drafts` leaves them beside others.

    Raises InvalidFile when there is one class only, Overloaded, and AlreadyTraining, which the database holds against
    two tabs.
    """
    class_mapping.hold_trainable(mapping)
    refuse_second(visitor)  # checked first: its message names what the visitor can wait for
    queueing.admit(TrainingRun)
    examples = list(examples)
    try:
        with transaction.atomic():
            _hold(examples)
            run = TrainingRun.objects.create(
                visitor=visitor,
                name=name or registry.default_name(visitor),
                effort=effort,
                classes=mapping.trained,
                reading=mapping.to_dict(),
                continued_from=continued_from,
            )
            run.examples.set(examples)
            storage.enter(run)
            if not keep_drafts:
                if any(example.draft for example in examples):
                    TrainingSet.objects.close(visitor)  # it keeps these images, which are drafts no longer
                Example.objects.filter(pk__in=[example.pk for example in examples]).update(draft=False)
            dispatch.training(run)
    except IntegrityError:
        unfinished = in_progress(visitor)
        if unfinished is None:
            raise
        raise AlreadyTraining(unfinished) from None
    return run


def _hold(examples: list[Example]) -> None:
    """Lock the images, so that cleanup removes none of them before the run has them. Raises InvalidFile."""
    there = set(
        Example.objects.select_for_update().filter(pk__in=[one.pk for one in examples]).values_list("pk", flat=True)
    )
    if gone := [example.stem for example in examples if example.pk not in there]:
        raise InvalidFile(gone[0], "This image was deleted in the meantime.", "Reload the page and add it again.")


def notes(run: TrainingRun) -> list[str]:
    """What was decided about its files and masks, and what looks odd."""
    notes = [note for example in run.examples.all() for note in example.notes]
    return list(dict.fromkeys([*notes, *run.reading.get("rules", []), *run.reading.get("warnings", [])]))


def usual_seconds(effort: str, images: int) -> float | None:
    """What a training of so many images is likely to take here from its start to its end.

    The median of the latest ones of this effort on the server's base, scaled to the number of images; before the first,
    what a training worker's short training says. None where there is neither.
    """
    base = registry.current_base()
    key = base.key if base else ""
    done = TrainingRun.objects.filter(effort=effort, state=State.DONE, model__base_key=key).order_by("-ended")
    latest = [(_duration(run), run.model.image_count) for run in done.select_related("model")[:RECENT] if run.model]
    if latest:
        return median(seconds / _size_factor(count) for seconds, count in latest) * _size_factor(images)
    short = _short_training(key)
    return short * SHORT_TRAININGS[effort] * _size_factor(images) if short else None


def _duration(run: TrainingRun) -> float:
    """Seconds from its claim to its end, drawing and publishing included; the engine's own where clocks have jumped."""
    trained = run.model.seconds if run.model else 0.0
    whole = (run.ended - run.started).total_seconds() if run.ended and run.started else trained
    return whole if trained <= whole <= 2 * trained + PUBLISHING_SECONDS else trained


def _short_training(base_key: str) -> float | None:
    """Seconds of the short training with this base, as a training worker has measured it at its start."""
    infos = (worker.info.get(SHORT_TRAINING) or {} for worker in Worker.objects.alive())
    return next((info["seconds"] for info in infos if info.get("base") == base_key), None)


def _size_factor(images: int) -> float:
    """Steps of a training, relative to one of five images; the engine's own rule."""
    return max(0.7, images / 5)


def in_progress(visitor: str) -> TrainingRun | None:
    return TrainingRun.objects.filter(visitor=visitor, state__in=UNFINISHED).first()


def refuse_second(visitor: str) -> None:
    """Raises AlreadyTraining while the visitor has a run in progress."""
    if (busy := in_progress(visitor)) is not None:
        raise AlreadyTraining(busy)


def current(visitor: str) -> TrainingRun | None:
    """The run to show: the one in progress, else the newest."""
    return in_progress(visitor) or TrainingRun.objects.filter(visitor=visitor).first()


def owned(visitor: str, public_id: str) -> TrainingRun:
    """The visitor's run; raises NotFound, the same for what is another's and what does not exist."""
    run = TrainingRun.objects.filter(visitor=visitor, public_id=public_id).select_related("model").first()
    if run is None:
        raise NotFound("There is no such training among yours. Open Fine-tune to see the current one.")
    return run


def stop(run: Work, keep: bool) -> None:
    """Stop a run or a video, keeping the best so far or not; what is still queued never starts. Idempotent."""
    rows: Any = type(run)._default_manager
    if not rows.cancel_queued(run.pk):
        rows.ask_to_stop(run.pk, Stop.KEEP if keep else Stop.DISCARD)
    run.refresh_from_db()


@transaction.atomic
def use_base_model(visitor: str) -> None:
    """Back to the base model; a training in progress is finished and kept without becoming active."""
    TrainingRun.objects.filter(visitor=visitor, state__in=UNFINISHED).update(activate=False)
    registry.reset(visitor)


def status(run: TrainingRun) -> schemas.Run:
    """The run as the JSON API shows it."""
    model = run.model
    return {
        "run_id": run.public_id,
        "state": run.state,
        "progress": round(run.progress, 4),
        "eta_seconds": run.eta_seconds,
        "queue_position": run.queue_position(),
        "wait_seconds": queueing.wait_seconds(run),
        "loss": run.losses,
        "scores": run.scores,
        "metrics": run.metrics,
        "user_id": model.public_id if model else None,
        "model_path": model.file_name if model else None,
        "restore_token": restore.token(run.visitor) if model else None,
        "active": bool(model and model.active),
        "message": run.message,
    }


# --- the reaper: workers call it every few seconds ------------------------------------------------------

# What this process saw last: (table, pk, lease) -> (beats, when), and (table, pk) -> when it was last dispatched.
# Measured on the monotonic clock, so that a wall clock that jumps an hour neither robs a living owner nor keeps a
# dead one's row.
_seen: dict[tuple[str, int, str], tuple[int, float]] = {}
_redispatched: dict[tuple[str, int], float] = {}


def reap() -> None:
    """Take rows back from owners that died, and dispatch rows again whose message was lost."""
    for kind in (TrainingRun, VideoJob, Batch, Export):
        rows = kind._default_manager.all()
        requeue_expired(rows)
        for row in rows.filter(state=State.QUEUED).order_by("pk")[:20]:
            if _due(row):
                dispatch.redispatch(row)


def requeue_expired(rows: QuerySet[Any]) -> None:
    running = list(rows.filter(state=State.RUNNING))
    table = rows.model.__name__
    for row in running:
        if not (owner.has_died(row.lease_owner) or _stands_still(table, row)):
            continue
        held = rows.filter(pk=row.pk, state=State.RUNNING, lease=row.lease, lease_beats=row.lease_beats)
        if row.stop == Stop.DISCARD:
            held.update(state=State.CANCELLED, ended=timezone.now(), message="Cancelled.")
        elif row.attempts < MAX_ATTEMPTS:
            if held.update(state=State.QUEUED, lease="", lease_owner="", lease_beats=F("lease_beats") + 1):
                logger.warning("%s %s: its worker is gone, queued again", table, row.public_id)
                _redispatched.pop((table, row.pk), None)
        else:
            message = "Its worker stopped twice, so it was ended. Nothing of yours was lost; start it again."
            held.update(state=State.FAILED, ended=timezone.now(), message=message)
    alive = {(table, row.pk, row.lease) for row in running}
    for key in [key for key in _seen if key[0] == table and key not in alive]:
        del _seen[key]


def _stands_still(table: str, row: Work) -> bool:
    key, now = (table, row.pk, row.lease), time.monotonic()
    beats, since = _seen.get(key, (-1, now))
    if beats != row.lease_beats:
        _seen[key] = (row.lease_beats, now)
        return False
    return now - since > LEASE_SECONDS


def _due(row: Work) -> bool:
    """Whether this process is to dispatch a queued row (again). The first message was sent with the commit."""
    key, now = (type(row).__name__, row.pk), time.monotonic()
    if len(_redispatched) > 10_000:
        _redispatched.clear()
    if key not in _redispatched:
        fresh = (timezone.now() - row.created).total_seconds() < REDISPATCH_SECONDS and row.attempts == 0
        _redispatched[key] = now if fresh else now - REDISPATCH_SECONDS
    if now - _redispatched[key] < REDISPATCH_SECONDS:
        return False
    _redispatched[key] = now
    return True
