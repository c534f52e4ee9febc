"""Taking a queued piece of work, so that exactly one worker has it."""

import secrets
from typing import Any

from segapp import heartbeat
from segapp.models import MAX_ATTEMPTS, State, WorkQuerySet
from segapp.worker import turns

CANDIDATES = 5  # tried, where other workers are quicker


def by_turn(rows: WorkQuerySet, pk: int) -> Any | None:
    """Claim the row whose visitor's turn it is, whichever the message named; of one visitor's the oldest, so that one
    handed back keeps its place.

    Returns the row with its model, or None when others were quicker.
    """
    token = secrets.token_hex(16)
    queued = rows.filter(state=State.QUEUED, attempts__lt=MAX_ATTEMPTS)
    candidates = [*turns.in_order(queued.values_list("pk", "visitor"))[:CANDIDATES], pk]
    claimed = next((k for k in candidates if rows.claim(k, heartbeat.NAME, token)), None)
    if claimed is None:
        return None
    row = rows.select_related("model").get(pk=claimed)
    turns.begun(row.visitor)
    return row
