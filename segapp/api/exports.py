"""Models as files for other programs: asked for, looked at until they are ready, then fetched from `file_url`."""

from django.http import JsonResponse
from django.urls import reverse

from segapp.api.operations import operation
from segapp.models import Export, State
from segapp.services import errors, exports, limits, schemas
from segapp.services.errors import NotFound
from segapp.visitors import VisitorRequest


@operation(
    "GET",
    "How far a model's file is",
    "Models",
    (200, schemas.Export, "It has ended: done with `file_url`, or failed with `message`"),
    (202, schemas.Export, "It is being made"),
)
@operation(
    "POST",
    "Make a file of a model for other programs",
    "Models",
    (200, schemas.Export, "It is there already"),
    (202, schemas.Export, "It is being made; ask `status_url`"),
    errors=(errors.RateLimited,),
)
def export(request: VisitorRequest, model_id: str, format: str) -> JsonResponse:
    """POST makes the file where it is not there or under way yet; GET looks."""
    model = exports.exportable(request.visitor, model_id, format)
    if request.method == "POST":
        limits.check(request, limits.EXPORTS)
        exports.request(model, format)
    row = exports.current(model, format)
    if row is None:
        raise NotFound("This file was not asked for yet, or not within the last day. Ask for it with POST.")
    return JsonResponse(_export(row), status=202 if row.unfinished else 200)


def _export(row: Export) -> schemas.Export:
    done = row.state == State.DONE
    return {
        "format": row.format,
        "state": row.state,
        "progress": round(row.progress, 4),
        "eta_seconds": row.eta_seconds,
        "message": row.message,
        "file": row.path.name,
        "file_url": reverse("model-export-file", args=[row.model.public_id, row.format]) if done else None,
        "size_bytes": row.size_bytes,
        "sha256": row.sha256,
        "status_url": reverse("api-export", args=[row.model.public_id, row.format]),
    }
