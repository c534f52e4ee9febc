"""The JSON API: the pages' services, spoken by programs. Who may, which form, one call, answer."""

from functools import wraps
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path, reverse
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from registry import services as registry
from registry.models import UserModel
from segapp.api_forms import FinetuneForm, RenameForm, RestoreForm, SegmentForm, StopForm
from segapp.imaging import InvalidFile
from segapp.models import Analysis, State, Worker
from segapp.services import analyses, batches, intake, limits, restore, runs, sharing, upload_training
from segapp.visitors import VisitorRequest

WAIT_SECONDS = 60


def error(status: int, code: str, message: str, files: list[dict[str, str]] | None = None) -> JsonResponse:
    """The one shape of every error: {"error": {"code", "message", "files"?}}."""
    body: dict[str, Any] = {"code": code, "message": message}
    if files is not None:
        body["files"] = files
    return JsonResponse({"error": body}, status=status)


def speaks_json(view: Any) -> Any:
    """Turns what the services raise into the API's errors, in one place."""

    @wraps(view)
    def answer(request: HttpRequest, **named: str) -> HttpResponse:
        try:
            return view(request, **named)
        except intake.InvalidUpload as refusal:
            return error(422, "refused", str(refusal), refusal.problems)
        except InvalidFile as refused:
            problem = {"file": refused.file, "message": f"{refused.problem} {refused.advice}"}
            return error(422, "refused", str(refused), [problem])
        except (
            runs.RunNotFound,
            analyses.AnalysisNotFound,
            batches.BatchNotFound,
            registry.ModelNotFound,
            sharing.ShareNotFound,
        ) as missing:
            return error(404, "not_found", str(missing))
        except runs.AlreadyTraining as busy:
            response = error(409, "already_training", str(busy))
            response["Location"] = f"/api/finetune/{busy.run.public_id}"
            return response
        except (analyses.Overloaded, limits.TooOften) as late:
            code, status = ("overloaded", 503) if isinstance(late, analyses.Overloaded) else ("too_many_requests", 429)
            response = error(status, code, str(late))
            response["Retry-After"] = str(late.retry_after)
            return response
        except batches.TooMany as many:
            return error(429, "too_many_batches", str(many))
        except registry.NoBaseReady as none:
            return error(503, "no_base", str(none))

    return answer


def with_waiter_slot(view: Any) -> Any:
    """For a view that waits for a worker: refused at once, with nothing stored, when too many wait already."""

    @wraps(view)
    def answer(request: HttpRequest, **named: str) -> HttpResponse:
        with analyses.waiter_slot():
            return view(request, **named)

    return answer


@require_GET
@ensure_csrf_cookie
@speaks_json
def health(request: VisitorRequest) -> JsonResponse:
    answer = registry.resolve(request.visitor)
    workers = list(Worker.objects.alive())
    base = answer.base
    return JsonResponse(
        {
            "status": "ok" if base and any(worker.ready for worker in workers) else "warming" if base else "no_base",
            "device": workers[0].device if workers else "CPU",
            "active_model": answer.key,
            "active_model_name": answer.name,
            "base": {"key": base.key, "name": base.name, "weights": base.weights_source} if base else None,
            "workers": [
                {"name": w.name, "queues": w.queues, "device": w.device, "ready": w.ready, "info": w.info}
                for w in workers
            ],
            "notice": answer.notice or None,
        }
    )


@require_POST
@speaks_json
def finetune(request: VisitorRequest) -> JsonResponse:
    limits.check(request, limits.TRAININGS)
    busy = runs.in_progress(request.visitor)
    if busy is not None:
        raise runs.AlreadyTraining(busy)
    form = FinetuneForm(request.POST, request.FILES)
    if not form.is_valid():
        return error(422, "invalid", form.words())
    run = upload_training.start(request.visitor, **form.cleaned_data)
    return JsonResponse({"run_id": run.public_id, "status_url": f"/api/finetune/{run.public_id}"}, status=202)


@require_GET
@speaks_json
def run_status(request: VisitorRequest, run_id: str) -> JsonResponse:
    return JsonResponse(runs.status(runs.owned(request.visitor, run_id)))


@require_POST
@speaks_json
def run_stop(request: VisitorRequest, run_id: str) -> JsonResponse:
    run = runs.owned(request.visitor, run_id)
    form = StopForm(request.POST)
    if not form.is_valid():
        return error(422, "invalid", form.words())
    runs.stop(run, form.cleaned_data["keep"])
    return JsonResponse(runs.status(run))


@require_POST
@speaks_json
def load_user_model(request: VisitorRequest) -> JsonResponse:
    form = RestoreForm(request.POST)
    if not form.is_valid():
        return error(422, "invalid", form.words())
    if form.cleaned_data["token"]:
        try:
            request.visitor = restore.restore(request.visitor, form.cleaned_data["token"])
        except restore.InvalidToken as invalid:
            return error(404, "invalid_token", str(invalid))
    model = registry.activate(request.visitor, form.cleaned_data["user_id"])
    return JsonResponse(_activated(model))


@require_POST
@speaks_json
def reset_to_base_model(request: VisitorRequest) -> JsonResponse:
    runs.use_base_model(request.visitor)
    return JsonResponse({"status": "ok", "active_model": registry.resolve(request.visitor).key})


@require_POST
@speaks_json
@with_waiter_slot
def segment(request: VisitorRequest) -> JsonResponse:
    limits.check(request, limits.ANALYSES)
    form = SegmentForm(request.POST, request.FILES)
    if not form.is_valid():
        return error(422, "invalid", form.words())
    file, share = form.cleaned_data["file"], form.cleaned_data["share"]
    if share:
        analysis = sharing.submit(request.visitor, share, file, file.name)
    else:
        analysis = analyses.submit(request.visitor, file, file.name)
    return _result(analyses.wait(analysis, WAIT_SECONDS))


@require_GET
@speaks_json
def segment_result(request: VisitorRequest, analysis_id: str) -> JsonResponse:
    """What became of an image whose answer took longer than its request could wait."""
    return _result(analyses.owned(request.visitor, analysis_id))


def _result(analysis: Analysis) -> JsonResponse:
    """The finished result; what went wrong; or, as 503, where to ask for it later: it was accepted and stays so."""
    if analysis.state == State.DONE:
        return JsonResponse(analyses.status(analysis))
    if analysis.state == State.FAILED:
        return error(500 if analysis.worker else 503, "failed", analysis.message)
    address = reverse("api-segment-result", args=[analysis.public_id])
    response = error(503, "busy", f"No worker has answered yet. Your image keeps its place; ask GET {address} for it.")
    response["Location"], response["Retry-After"] = address, "5"
    return response


@require_GET
@speaks_json
def models(request: VisitorRequest) -> JsonResponse:
    return JsonResponse(
        {"models": [_model(model) for model in registry.versions(request.visitor).select_related("parent")]}
    )


@require_http_methods(["DELETE"])
@speaks_json
def model(request: VisitorRequest, model_id: str) -> JsonResponse:
    registry.trash(request.visitor, model_id)
    return JsonResponse({"status": "ok", "restorable_for_days": settings.SEGAPP_TRASH_DAYS})


@require_POST
@speaks_json
def model_activate(request: VisitorRequest, model_id: str) -> JsonResponse:
    return JsonResponse(_activated(registry.activate(request.visitor, model_id)))


@require_POST
@speaks_json
def model_rename(request: VisitorRequest, model_id: str) -> JsonResponse:
    found = registry.owned(request.visitor, model_id)
    form = RenameForm(request.POST)
    if not form.is_valid():
        return error(422, "invalid", form.words())
    return JsonResponse(_model(registry.rename(request.visitor, found.public_id, form.cleaned_data["name"])))


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


api_urlpatterns = [
    path("api/health", health, name="api-health"),
    path("api/finetune", finetune, name="api-finetune"),
    path("api/finetune/<str:run_id>", run_status, name="api-run"),
    path("api/finetune/<str:run_id>/stop", run_stop, name="api-run-stop"),
    path("api/load-user-model", load_user_model, name="api-load-user-model"),
    path("api/reset-to-base-model", reset_to_base_model, name="api-reset"),
    path("api/segment", segment, name="api-segment"),
    path("api/segment/<str:analysis_id>", segment_result, name="api-segment-result"),
    path("api/models", models, name="api-models"),
    path("api/models/<str:model_id>", model, name="api-model"),
    path("api/models/<str:model_id>/rename", model_rename, name="api-model-rename"),
    path("api/models/<str:model_id>/activate", model_activate, name="api-model-activate"),
]
