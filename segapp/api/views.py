"""The JSON API: the pages' services for programs. Who may, which form, one call, answer.

What cannot be done is raised and becomes JSON in segapp.error_responses.
"""

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import reverse
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from registry import services as registry
from registry.models import UserModel
from segapp.api.forms import (
    BatchForm,
    FinetuneForm,
    KeyForm,
    RenameForm,
    RestoreForm,
    SegmentForm,
    ShareForm,
    StopForm,
    ThingsForm,
    VideoForm,
)
from segapp.models import Analysis, ApiKey, ModelShare, State, Worker
from segapp.scopes import for_predict_keys
from segapp.services import analyses, api_keys, batches, limits, restore, runs, sharing, upload_training, videos
from segapp.services.admission import waiter_slot
from segapp.services.model_snapshot import named
from segapp.visitors import VisitorRequest

WAIT_SECONDS = 60


@for_predict_keys
@require_GET
@ensure_csrf_cookie
def health(request: VisitorRequest) -> JsonResponse:
    active = registry.resolve(request.visitor)
    workers = list(Worker.objects.alive())
    base = active.base
    return JsonResponse(
        {
            "status": "ok" if base and any(worker.ready for worker in workers) else "warming" if base else "no_base",
            "device": workers[0].device if workers else "CPU",
            "active_model": active.key,
            "active_model_name": active.name,
            "base": {"key": base.key, "name": base.name, "weights": base.weights_source} if base else None,
            "workers": [
                {"name": w.name, "queues": w.queues, "device": w.device, "ready": w.ready, "info": w.info}
                for w in workers
            ],
            "notice": active.notice or None,
        }
    )


# --- training ---------------------------------------------------------------------------------------------


@require_POST
def finetune(request: VisitorRequest) -> JsonResponse:
    limits.check(request, limits.TRAININGS)
    runs.refuse_second(request.visitor)
    sent = FinetuneForm(request.POST, request.FILES).checked()
    run = upload_training.start(request.visitor, **sent)
    address = reverse("api-run", args=[run.public_id])
    return JsonResponse({"run_id": run.public_id, "status_url": address, "notes": runs.notes(run)}, status=202)


@require_GET
def run(request: VisitorRequest, run_id: str) -> JsonResponse:
    return JsonResponse(runs.status(runs.owned(request.visitor, run_id)))


@require_POST
def run_stop(request: VisitorRequest, run_id: str) -> JsonResponse:
    found = runs.owned(request.visitor, run_id)
    runs.stop(found, **StopForm(request.POST).checked())
    return JsonResponse(runs.status(found))


# --- one image --------------------------------------------------------------------------------------------


@for_predict_keys
@require_POST
def segment(request: VisitorRequest) -> JsonResponse:
    """Refused at once, with nothing stored, when as many requests wait for a worker as may."""
    with waiter_slot():
        limits.check(request, limits.ANALYSES)
        sent = SegmentForm(request.POST, request.FILES).checked()
        file, share = sent["file"], sent["share"]
        if share:
            analysis = sharing.submit(request.visitor, share, file, file.name, sent["image_input"])
        else:
            answer = named(request.visitor, sent["model"])
            analysis = analyses.submit(request.visitor, file, file.name, answer=answer, choice=sent["image_input"])
        if analysis.windows:
            address = reverse("api-segment-result", args=[analysis.public_id])
            return JsonResponse({**analyses.progress(analysis), "status_url": address}, status=202)
        return _result(analyses.wait(analysis, WAIT_SECONDS))


@for_predict_keys
@require_GET
def segment_result(request: VisitorRequest, analysis_id: str) -> JsonResponse:
    """What became of an image whose result took longer than its request could wait."""
    analysis = analyses.owned(request.visitor, analysis_id)
    return JsonResponse(analyses.progress(analysis)) if analysis.windows else _result(analysis)


@require_POST
def segment_stop(request: VisitorRequest, analysis_id: str) -> JsonResponse:
    return JsonResponse(analyses.progress(analyses.cancel(analyses.owned(request.visitor, analysis_id))))


def _result(analysis: Analysis) -> JsonResponse:
    """The finished result; what went wrong; or, as 503, where to ask for it later: it was accepted and stays so."""
    if analysis.state == State.DONE:
        return JsonResponse(analyses.status(analysis))
    raise analyses.not_done(analysis)


# --- many images, and videos --------------------------------------------------------------------------------


@for_predict_keys
@require_POST
def batch(request: VisitorRequest) -> JsonResponse:
    limits.check(request, limits.UPLOADS)
    sent = BatchForm(request.POST, request.FILES).checked()
    made = batches.submit(request.visitor, **sent)
    address = reverse("api-batch-job", args=[made.public_id])
    return JsonResponse({"batch_id": made.public_id, "status_url": address}, status=202)


@for_predict_keys
@require_GET
def batch_job(request: VisitorRequest, batch_id: str) -> JsonResponse:
    return JsonResponse(batches.status(batches.owned(request.visitor, batch_id)))


@for_predict_keys
@require_POST
def batch_stop(request: VisitorRequest, batch_id: str) -> JsonResponse:
    found = batches.owned(request.visitor, batch_id)
    batches.stop(found, **StopForm(request.POST).checked())
    return JsonResponse(batches.status(found))


@for_predict_keys
@require_POST
def video(request: VisitorRequest) -> JsonResponse:
    limits.check(request, limits.UPLOADS)
    sent = VideoForm(request.POST, request.FILES).checked()
    job = videos.submit(request.visitor, sent["file"], sent["file"].name, sent["rate"], sent["model"])
    address = reverse("api-video-job", args=[job.public_id])
    return JsonResponse({"job_id": job.public_id, "status_url": address}, status=202)


@for_predict_keys
@require_GET
def video_job(request: VisitorRequest, job_id: str) -> JsonResponse:
    return JsonResponse(videos.status(videos.owned(request.visitor, job_id)))


@for_predict_keys
@require_POST
def video_stop(request: VisitorRequest, job_id: str) -> JsonResponse:
    job = videos.owned(request.visitor, job_id)
    videos.stop(job, **StopForm(request.POST).checked())
    return JsonResponse(videos.status(job))


# --- models -----------------------------------------------------------------------------------------------


@require_POST
def load_user_model(request: VisitorRequest) -> JsonResponse:
    sent = RestoreForm(request.POST).checked()
    if sent["token"]:
        request.visitor = restore.restore(request.visitor, sent["token"])
    return JsonResponse(_activated(registry.activate(request.visitor, sent["user_id"])))


@require_POST
def reset_to_base_model(request: VisitorRequest) -> JsonResponse:
    runs.use_base_model(request.visitor)
    return JsonResponse({"status": "ok", "active_model": registry.resolve(request.visitor).key})


@for_predict_keys
@require_GET
def models(request: VisitorRequest) -> JsonResponse:
    rows = registry.versions(request.visitor).select_related("parent")
    return JsonResponse({"models": [_model(model) for model in rows]})


@require_http_methods(["DELETE"])
def model(request: VisitorRequest, model_id: str) -> JsonResponse:
    registry.trash(request.visitor, model_id)
    return JsonResponse({"status": "ok", "restorable_for_days": settings.SEGAPP_TRASH_DAYS})


@require_POST
def model_activate(request: VisitorRequest, model_id: str) -> JsonResponse:
    return JsonResponse(_activated(registry.activate(request.visitor, model_id)))


@require_POST
def model_rename(request: VisitorRequest, model_id: str) -> JsonResponse:
    found = registry.owned(request.visitor, model_id)
    sent = RenameForm(request.POST).checked()
    return JsonResponse(_model(registry.rename(request.visitor, found.public_id, sent["name"])))


@require_POST
def model_things(request: VisitorRequest, model_id: str) -> JsonResponse:
    """Which classes' objects are counted: `things` has their ids with commas between, or `none`."""
    found = registry.owned(request.visitor, model_id)
    sent = ThingsForm(request.POST, found.classes).checked()
    return JsonResponse(_model(registry.count_things(found, sent["things"])))


@require_http_methods(["GET", "POST"])
def shares(request: VisitorRequest, model_id: str) -> JsonResponse:
    """The model's links; POST makes one, with an optional `label`."""
    found = registry.owned(request.visitor, model_id)
    if request.method == "GET":
        rows = sharing.of(request.visitor).filter(model=found)
        return JsonResponse({"shares": [_share(request, row) for row in rows]})
    made = sharing.create(found, **ShareForm(request.POST).checked())
    return JsonResponse(_share(request, made), status=201)


@require_http_methods(["DELETE"])
def share(request: VisitorRequest, token: str) -> JsonResponse:
    sharing.revoke(request.visitor, token)
    return JsonResponse({"status": "ok"})


# --- keys -------------------------------------------------------------------------------------------------


@require_http_methods(["GET", "POST"])
def keys(request: VisitorRequest) -> JsonResponse:
    """The visitor's keys, without the keys themselves; POST makes one, which is shown this once."""
    if request.method == "GET":
        return JsonResponse({"keys": [_key(row) for row in api_keys.listed(request.visitor)]})
    limits.check(request, limits.KEYS)
    row, key = api_keys.make(request.visitor, **KeyForm(request.POST).checked())
    return JsonResponse({**_key(row), "key": key}, status=201)


@require_http_methods(["DELETE"])
def key(request: VisitorRequest, key_id: str) -> HttpResponse:
    api_keys.revoke(request.visitor, key_id)
    return HttpResponse(status=204)


# --- as JSON ----------------------------------------------------------------------------------------------


def _activated(model: UserModel) -> dict[str, str]:
    return {"status": "ok", "model_key": model.key, "active_model": model.key, "name": model.name}


def _model(model: UserModel) -> dict[str, Any]:
    return {
        "id": model.public_id,
        "key": model.key,
        "name": model.name,
        "active": model.active,
        "file_state": model.file_state,
        "base": model.base_key,
        "classes": model.classes,
        "metrics": model.metrics,
        "sha256": model.sha256,
        "size_bytes": model.size_bytes,
        "seconds": model.seconds,
        "image_count": model.image_count,
        "parent": model.parent.key if model.parent else None,
        "created": model.created.isoformat(),
    }


def _share(request: HttpRequest, row: ModelShare) -> dict[str, Any]:
    return {
        "token": row.token,
        "url": request.build_absolute_uri(reverse("shared", args=[row.token])),
        "label": row.label,
        "uses": row.uses,
        "created": row.created.isoformat(),
        "last_used": row.last_used.isoformat() if row.last_used else None,
    }


def _key(row: ApiKey) -> dict[str, Any]:
    return {
        "id": row.public_id,
        "name": row.name,
        "scope": row.scope,
        "created": row.created.isoformat(),
        "expires": row.expires.isoformat() if row.expires else None,
        "last_used": row.last_used.isoformat() if row.last_used else None,
    }
