"""The base model that SEGAPP_BASE names while it is not ready: what pages and the API say of it. Free of torch."""

import math

from django.conf import settings

from registry import bases
from registry import services as registry
from segapp.models import BasePreparation, Phase, State
from segapp.services import schemas


def wanted() -> str | None:
    """The key of the base that SEGAPP_BASE names and that is not ready; None with `auto`, or when it answers."""
    key = settings.SEGAPP_BASE
    if key not in bases.CATALOGUE or bases.find(key, settings.MEDIA_ROOT, settings.SEGAPP_WEIGHTS) is not None:
        return None
    return str(key)


def current() -> schemas.Preparing | None:
    """What is being prepared, how far it is, and what to do where that failed; None when nothing is."""
    key = wanted()
    if key is None:
        return None
    row = BasePreparation.objects.filter(key=key).first() or BasePreparation(key=key)
    failed = row.state == State.FAILED
    return {
        "key": key,
        "name": bases.CATALOGUE[key].name,
        "state": "failed" if failed else "running" if row.state == State.RUNNING else "queued",
        "progress": round(row.progress, 3),
        "eta_seconds": row.eta_seconds if row.state == State.RUNNING else None,
        "message": row.message if failed else _sentence(row),
    }


def _sentence(row: BasePreparation) -> str:
    name, base = bases.CATALOGUE[row.key].name, registry.current_base()
    phase = Phase(row.phase) if row.state == State.RUNNING else Phase.WAITING
    left = f", about {max(1, math.ceil(row.eta_seconds / 60))} min left" if row.eta_seconds and row.unfinished else ""
    meanwhile = f"{base.name} answers and trains until then." if base else "Nothing answers until then."
    return f"{name} is being prepared: {phase.label}, {round(100 * row.progress)} %{left}. {meanwhile}"
