"""Taking a queued piece of work, so that exactly one worker has it."""

import secrets
from typing import Any

from segapp import heartbeat
from segapp.models import MAX_ATTEMPTS, State, WorkQuerySet


def oldest(rows: WorkQuerySet, pk: int) -> Any | None:
    """Claim the oldest queued row, whichever the message named, so that one handed back keeps its place.

    Returns the row with its model, or None when others were quicker.
    """
    token = secrets.token_hex(16)
    queued = rows.filter(state=State.QUEUED, attempts__lt=MAX_ATTEMPTS).order_by("pk")
    candidates = [*queued.values_list("pk", flat=True)[:3], pk]
    claimed = next((k for k in candidates if rows.claim(k, heartbeat.NAME, token)), None)
    return None if claimed is None else rows.select_related("model").get(pk=claimed)
