"""Hooks: addresses that are notified when a visitor's work ends. Made, listed, tried and deleted here, never called.

What ended is found by looking (`collect`), not reported by the code that ends work, so that no end is missed.
Knows nothing of requests and connections.
"""

import base64
import json
import secrets
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.urls import reverse
from django.utils import timezone

from registry.models import new_public_id
from segapp.models import (
    UNFINISHED,
    Batch,
    Delivery,
    DeliveryState,
    Event,
    Hook,
    TrainingRun,
    VideoJob,
    VisitorAlias,
)
from segapp.services import hook_addresses
from segapp.services.errors import Conflict, NotFound

PREFIX = "whsec_"
MAX_HOOKS = 10  # of one visitor
SHOWN = 20  # deliveries in a log
LOOKED_BACK = timedelta(days=1)  # work that ended longer ago is old news
KEPT = timedelta(days=14)  # deliveries; longer than what is looked back on, so that nothing is sent twice
KINDS: dict[str, tuple[Any, str]] = {
    Event.TRAINING: (TrainingRun, "api-run"),
    Event.BATCH: (Batch, "api-batch-job"),
    Event.VIDEO: (VideoJob, "api-video-job"),
}


class TooManyHooks(Conflict):
    code = "too_many_hooks"
    message = f"There are {MAX_HOOKS} webhooks already."
    advice = "Delete one that is not needed any more."


def make(visitor: str, url: str, events: list[str] | None = None) -> Hook:
    """A new hook with a secret of its own, for all events unless some are named.

    Raises RefusedAddress and TooManyHooks.
    """
    hook_addresses.parsed(url)
    if listed(visitor).count() >= MAX_HOOKS:
        raise TooManyHooks
    secret = PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()
    return Hook.objects.create(visitor=visitor, url=url, events=events or list(Event.values), secret=secret)


def listed(visitor: str) -> QuerySet[Hook]:
    return Hook.objects.filter(visitor=visitor)


def owned(visitor: str, public_id: str) -> Hook:
    """Raises NotFound, the same for what is another's and what does not exist."""
    row = listed(visitor).filter(public_id=public_id).first()
    if row is None:
        raise NotFound("There is no such webhook among yours. Open Models to see the ones you have.")
    return row


def delete(visitor: str, public_id: str) -> Hook:
    """The hook and its log are gone; nothing more is sent, what waited included. Raises NotFound."""
    row = owned(visitor, public_id)
    Hook.objects.filter(pk=row.pk).delete()
    return row


def test(hook: Hook) -> Delivery:
    """Queue a delivery that only tests the hook; it is tried once."""
    subject = new_public_id()
    body = {"event": Delivery.TEST, "state": "done", "id": subject, "ended": timezone.now().isoformat()}
    row = Delivery(hook=hook, event=Delivery.TEST, subject=subject, body=_text(body), due=timezone.now())
    row.save(force_insert=True)
    return row


def log(hook: Hook) -> list[Delivery]:
    """The hook's latest deliveries, newest first."""
    return list(hook.deliveries.all()[:SHOWN])


# --- what ended: workers look every few seconds ---------------------------------------------------------------


def collect() -> int:
    """Make a delivery for each piece of work that ended since its visitor's hooks were made; how many were new.

    Several workers may do this at once: a database constraint allows one delivery of a piece of work to a hook.
    """
    hooks = list(Hook.objects.all())
    if not hooks:
        return 0
    since = timezone.now() - LOOKED_BACK
    joined = dict(VisitorAlias.objects.filter(new__in=[hook.visitor for hook in hooks]).values_list("old", "new"))
    visitors = {hook.visitor for hook in hooks} | joined.keys()
    known = set(Delivery.objects.filter(created__gte=since - LOOKED_BACK).values_list("hook", "event", "subject"))
    fresh = []
    for event, row in _ended(visitors, since):
        owner = joined.get(row.visitor, row.visitor)
        for hook in hooks:
            wanted = hook.visitor == owner and event in hook.events and row.ended and row.ended >= hook.created
            if wanted and (hook.pk, event, row.public_id) not in known:
                body = _text(_told(event, row))
                fresh.append(Delivery(hook=hook, event=event, subject=row.public_id, body=body, due=timezone.now()))
    Delivery.objects.bulk_create(fresh, ignore_conflicts=True)
    return len(fresh)


def expired() -> QuerySet[Delivery]:
    return Delivery.objects.exclude(state=DeliveryState.WAITING).filter(created__lt=timezone.now() - KEPT)


def _ended(visitors: set[str], since: datetime) -> Iterator[tuple[str, Any]]:
    for event, (kind, _) in KINDS.items():
        rows = kind._default_manager.filter(ended__gte=since, visitor__in=visitors).exclude(state__in=UNFINISHED)
        for row in rows.select_related("model"):
            yield event, row


def _told(event: str, row: Any) -> dict[str, Any]:
    """What a webhook sends of a piece of work: how it ended, and where to look. No secrets, no results."""
    found = {
        "event": event,
        "state": row.state,
        "id": row.public_id,
        "name": row.name if event == Event.TRAINING else row.title,
        "message": row.message,
        "ended": row.ended.isoformat(),
        "status_url": settings.SEGAPP_URL.rstrip("/") + reverse(KINDS[event][1], args=[row.public_id]),
    }
    if event == Event.TRAINING:
        return {**found, "user_id": row.model.public_id if row.model else None}
    counts = {"total": row.total, "done": row.done, "failed": row.failed} if event == Event.BATCH else {}
    return {**found, "model_key": row.model_key, **counts}


def _text(body: dict[str, Any]) -> str:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))
