"""Models as files that need nothing of this project: asked for here, written by a worker, kept for a day."""

import json
from datetime import timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.template.loader import render_to_string
from django.utils import timezone

from registry import services as registry
from registry import store
from registry.models import FileState, UserModel
from segapp import dispatch
from segapp.models import Export, ExportFormat, State
from segapp.services.errors import NotFound

KEPT = timedelta(days=1)
MAX_KEPT = 6  # files of one visitor; a full one may have 200 MB


def exportable(visitor: str, public_id: str, format: str) -> UserModel:
    """The visitor's model whose file can be had in this format. Raises NotFound and ModelNotFound."""
    if format not in ExportFormat.values:
        raise NotFound(f"There is no such format. Choose one of: {', '.join(ExportFormat.values)}.")
    model = registry.owned(visitor, public_id)
    if format not in formats(model):
        raise NotFound(f"“{model.name}” has no detail branch. Choose one of: {', '.join(formats(model))}.")
    if model.file_state != FileState.OK:
        raise NotFound(f"The file of “{model.name}” cannot be used. Choose another version, or train again.")
    return model


def formats(model: UserModel) -> list[str]:
    """The formats that this model can be had in."""
    return [format for format in ExportFormat.values if has_detail(model) or format != ExportFormat.DETAILED]


def has_detail(model: UserModel) -> bool:
    """Whether a detail branch stands beside its FPN."""
    return bool(model.recipe.get("detail"))


def without_detail(model: UserModel) -> str:
    """What the plain FPN lacks, as a sentence; empty for a model without a detail branch."""
    if not has_detail(model):
        return ""
    gain = model.recipe.get("detail_gain")
    measured = f", which gained {gain:.3f} mean IoU on held-out images" if gain else ""
    return f"without the model's detail branch{measured}"


def request(model: UserModel, format: str) -> Export:
    """The export of this model in this format: the one that is there or under way, else a new one is queued."""
    found = current(model, format)
    if found is not None and (found.unfinished or found.state == State.DONE):
        return found
    if found is not None:
        delete(found)
    try:
        with transaction.atomic():
            row = Export.objects.create(model=model, visitor=model.visitor, format=format)
            dispatch.export(row)
    except IntegrityError:  # another tab asked at the same time
        return Export.objects.get(model=model, format=format)
    done = Export.objects.filter(visitor=model.visitor, state=State.DONE).order_by("-ended", "-pk")
    for old in done[MAX_KEPT - 1 :]:
        delete(old)
    return row


def current(model: UserModel, format: str) -> Export | None:
    """The export as it stands; None when there is none, or its file is gone."""
    row = Export.objects.filter(model=model, format=format).select_related("model").first()
    if row is not None and row.state == State.DONE and not store.fetch(row.path).is_file():
        delete(row)
        return None
    return row


def usual_seconds(row: Export) -> float | None:
    """How long the last one of this kind took on this server; None before the first."""
    alike = Export.objects.filter(format=row.format, model__base_key=row.model.base_key, state=State.DONE)
    last = alike.exclude(started=None).exclude(ended=None).order_by("-ended").first()
    if last is None or last.ended is None or last.started is None:
        return None
    return max(0.0, (last.ended - last.started).total_seconds())


def delete(row: Export) -> None:
    row.delete()
    store.remove_folder(row.folder)


def expired() -> QuerySet[Export]:
    """Files whose day is over, and failures that were read."""
    return Export.objects.filter(ended__lt=timezone.now() - KEPT)


def card(model: UserModel) -> dict[str, Any]:
    """What the model is, for programs."""
    return {
        "key": model.key,
        "name": model.name,
        "base": {"key": model.base_key, "name": model.base_name, "sha256": model.base_sha256},
        "classes": model.classes,
        "metrics": model.metrics,
        "recipe": model.recipe,
        "images": model.image_count,
        "training_seconds": model.seconds,
        "created": model.created.isoformat(),
        "sha256": model.sha256,
        "size_bytes": model.size_bytes,
    }


def card_text(model: UserModel) -> str:
    """The same for people, in Markdown, with the lines that load each format."""
    recipe = json.dumps(model.recipe, indent=2, ensure_ascii=False)
    rows = model.metrics.get("per_class") or []
    values = {"model": model, "recipe": recipe, "rows": rows, "without_detail": without_detail(model)}
    return render_to_string("models/card.md", values)
