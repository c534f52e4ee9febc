"""Telling hooks that work has ended: signed, tried again with growing pauses, written down. Runs beside the work.

Signed as https://www.standardwebhooks.com describes. Delivery is at least once: its id stays the same at every attempt.
"""

import base64
import hashlib
import hmac
import logging
import time
from datetime import timedelta

from django.db.models import F
from django.utils import timezone

from segapp import heartbeat
from segapp.models import Delivery, DeliveryState
from segapp.services import hooks
from segapp.worker import hook_posts
from segapp.worker.hook_posts import Undeliverable

logger = logging.getLogger(__name__)

CLAIM = timedelta(seconds=60)  # a sender that says nothing for so long has died
PAUSES = [timedelta(seconds=seconds) for seconds in (10, 60, 300, 1800, 7200, 21600)]  # after each failed attempt
AT_ONCE = 50  # deliveries of one turn


def turn() -> None:
    """Find what ended, then send what is due, one delivery of each visitor after the other."""
    hooks.collect()
    due = Delivery.objects.filter(state=DeliveryState.WAITING, due__lte=timezone.now()).order_by("due")
    waiting: dict[str, list[int]] = {}
    for pk, visitor in due.values_list("pk", "hook__visitor")[:AT_ONCE]:
        waiting.setdefault(visitor, []).append(pk)
    while waiting:
        for visitor in list(waiting):
            if heartbeat.stopping.is_set():
                return
            deliver(waiting[visitor].pop(0))
            if not waiting[visitor]:
                del waiting[visitor]


def deliver(pk: int) -> None:
    """Send one delivery, unless another worker has it, or its hook is gone."""
    row = Delivery.objects.select_related("hook").filter(pk=pk).first()
    if row is None or row.due > timezone.now():
        return
    claimed = timezone.now() + CLAIM
    mine = Delivery.objects.filter(pk=pk, state=DeliveryState.WAITING, due=row.due)
    if mine.update(due=claimed, attempts=F("attempts") + 1) != 1:
        return
    row.attempts += 1
    status, message, final = None, "", False
    try:
        status = hook_posts.post(row.hook.url, row.body.encode(), headers(row, int(time.time())))
    except Undeliverable as error:
        status, message, final = error.status, str(error), error.final
    values: dict[str, object] = {"status": status, "message": message[:300]}
    if not message:
        values |= {"state": DeliveryState.DELIVERED, "ended": timezone.now()}
    elif final or row.event == Delivery.TEST or row.attempts > len(PAUSES):
        values |= {"state": DeliveryState.FAILED, "ended": timezone.now()}
    else:
        values |= {"due": timezone.now() + PAUSES[row.attempts - 1]}
    Delivery.objects.filter(pk=pk, state=DeliveryState.WAITING, due=claimed).update(**values)
    if message:
        logger.info("webhook %s, delivery %s: %s", row.hook.public_id, row.public_id, message)


def headers(row: Delivery, stamp: int) -> dict[str, str]:
    """What goes with a delivery: its id, the time in seconds since 1970, and HMAC-SHA256 over id, time and body."""
    key = base64.b64decode(row.hook.secret.removeprefix(hooks.PREFIX))
    signed = f"{row.public_id}.{stamp}.{row.body}".encode()
    digest = hmac.new(key, signed, hashlib.sha256).digest()
    return {
        "Content-Type": "application/json; charset=utf-8",
        "User-Agent": "Segapp-Webhook/1",
        "Connection": "close",
        "webhook-id": row.public_id,
        "webhook-timestamp": str(stamp),
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }
