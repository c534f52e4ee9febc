"""An overview of the server for its operator: queues, workers, storage, failures. Names no visitor and no file."""

import math
from datetime import timedelta
from operator import itemgetter
from typing import Any

from django.conf import settings
from django.db.models import Count, Min, Q, Sum
from django.utils import timezone

from segapp.models import Analysis, Batch, Export, LedgerEntry, State, TrainingRun, VideoJob, Worker
from segapp.services import storage

KINDS: dict[str, tuple[type[Any], str]] = {  # name -> rows, and the setting that limits them
    "trainings": (TrainingRun, "SEGAPP_TRAIN_QUEUE"),
    "images": (Analysis, "SEGAPP_QUEUE"),
    "videos": (VideoJob, "SEGAPP_VIDEO_QUEUE"),
    "batches": (Batch, "SEGAPP_BATCH_QUEUE"),
    "exports": (Export, ""),
}
SHOWN_FAILURES = 20


def overview() -> dict[str, Any]:
    """`queues`, `workers`, `storage` and `failures`, as the page lists them."""
    return {"queues": _queues(), "workers": _workers(), "storage": _storage(), "failures": _failures()}


def _queues() -> list[dict[str, Any]]:
    day = timezone.now() - timedelta(days=1)
    found = []
    for name, (kind, setting) in KINDS.items():
        counts = kind._default_manager.aggregate(
            queued=Count("pk", filter=Q(state=State.QUEUED)),
            running=Count("pk", filter=Q(state=State.RUNNING)),
            failed=Count("pk", filter=Q(state=State.FAILED, ended__gte=day)),
            oldest=Min("created", filter=Q(state=State.QUEUED)),
        )
        found.append({"name": name, "limit": getattr(settings, setting) if setting else None, **counts})
    return found


def _workers() -> list[Worker]:
    """All that are known; `silent` marks those without a recent beat."""
    alive = set(Worker.objects.alive().values_list("pk", flat=True))
    workers = list(Worker.objects.order_by("queues", "name"))
    for worker in workers:
        worker.silent = worker.pk not in alive  # type: ignore[attr-defined]
    return workers


def _storage() -> dict[str, Any]:
    size, free = storage.disk()
    limit = storage.server_limit(size)
    kinds: dict[str, dict[str, Any]] = {}
    for kind in storage.COUNTED:
        name = storage.place_of(kind(public_id="x")).partition("/")[0]
        sums = LedgerEntry.objects.filter(place__startswith=f"{name}/").aggregate(bytes=Sum("bytes"), count=Count("pk"))
        kinds[name] = {"name": name, "bytes": sums["bytes"] or 0, "count": sums["count"]}
    return {
        "used": sum(kind["bytes"] for kind in kinds.values()),
        "limit": None if math.isinf(limit) else limit,
        "size": size,
        "free": free,
        "floor": storage.free_floor(size),
        "kinds": sorted(kinds.values(), key=itemgetter("bytes"), reverse=True),
    }


def _failures() -> list[dict[str, Any]]:
    """The latest of all kinds, newest first."""
    found = []
    for name, (kind, _) in KINDS.items():
        rows = kind._default_manager.filter(state=State.FAILED, ended__isnull=False).order_by("-ended")[:SHOWN_FAILURES]
        for row in rows:
            shown = {"kind": name, "error": getattr(row, "error", "")}
            found.append({**shown, "public_id": row.public_id, "ended": row.ended, "message": row.message})
    return sorted(found, key=itemgetter("ended"), reverse=True)[:SHOWN_FAILURES]
