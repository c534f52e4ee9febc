"""The JSON API: the pages' services for programs. Who may, which form, one call, answer.

`operation` says what a view is, for /api/openapi.json and for the tests that hold its answers against it. What cannot
be done is raised and becomes JSON in segapp.error_responses.
"""

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.urls import reverse
from django.views.decorators.csrf import ensure_csrf_cookie

from registry import services as registry
from registry.models import UserModel
from segapp.api.forms import (
    BatchForm,
    FinetuneForm,
    KeyForm,
    ObjectOptionsForm,
    RenameForm,
    RestoreForm,
    SegmentForm,
    ShareForm,
    StopForm,
    ThingsForm,
    VideoForm,
)
from segapp.api.operations import Answer, ErrorKinds, operation, sent
from segapp.imaging.object_formats import WRITTEN_AT_ONCE
from segapp.models import Analysis, ApiKey, ModelShare, State, Worker
from segapp.scopes import for_predict_keys
from segapp.services import (
    analyses,
    api_keys,
    batches,
    errors,
    events,
    limits,
    measurements,
    preparing,
    restore,
    runs,
    schemas,
    sharing,
    upload_training,
    videos,
)
from segapp.services.admission import waiter_slot
from segapp.services.model_snapshot import named
from segapp.visitors import VisitorRequest

WAIT_SECONDS = 60
ON_UPLOAD: ErrorKinds = (errors.InvalidUpload, errors.RateLimited, errors.StorageFull)
RESULTS = (
    *(schemas.Analysis, schemas.MeasuredAnalysis),
    *(schemas.AnalysisProgress, schemas.LargeAnalysis, schemas.MeasuredLargeAnalysis),
)
EVENTS = 'id: running-1-0-0.2500/\nevent: progress\ndata: {"run_id": "9uVq1hZr4cTe6sLd", "state": "running", …}\n\n'
NO_ANSWER: ErrorKinds = (errors.Overloaded, errors.Unavailable, analyses.Failed, analyses.NotAnswered)


@for_predict_keys
@operation(
    "GET",
    "What answers, and how it is",
    "Service",
    (200, schemas.Health, "The service and the visitor's model"),
    description="Sets the cookies that a client without a key needs.",
)
@ensure_csrf_cookie
def health(request: VisitorRequest) -> JsonResponse:
    active = registry.resolve(request.visitor)
    workers = list(Worker.objects.alive())
    base = active.base
    body: schemas.Health = {
        "status": "ok" if base and any(worker.ready for worker in workers) else "warming" if base else "no_base",
        "device": workers[0].device if workers else "CPU",
        "active_model": active.key,
        "active_model_name": active.name,
        "base": {"key": base.key, "name": base.name, "weights": base.weights_source} if base else None,
        "preparing": preparing.current(),
        "workers": [
            {"name": f"{w.queues} {k}", "queues": w.queues, "device": w.device, "ready": w.ready, "info": w.info}
            for k, w in enumerate(workers, 1)
        ],
        "notice": active.notice or None,
    }
    return JsonResponse(body)


# --- training ---------------------------------------------------------------------------------------------


@operation(
    "POST",
    "Train a model on images and their masks",
    "Training",
    (202, schemas.RunAccepted, "Accepted; ask `status_url`, or watch its `/events`"),
    form=FinetuneForm,
    example={"images": ["a.jpg", "b.jpg"], "masks": ["a.png", "b.png"], "name": "Leaves", "effort": "quick"},
    errors=(*ON_UPLOAD, runs.AlreadyTraining, errors.Overloaded),
)
def finetune(request: VisitorRequest) -> JsonResponse:
    limits.check(request, limits.TRAININGS)
    runs.refuse_second(request.visitor)
    fields = sent(request)
    run = upload_training.start(request.visitor, **fields)
    address = reverse("api-run", args=[run.public_id])
    body: schemas.RunAccepted = {"run_id": run.public_id, "status_url": address, "notes": runs.notes(run)}
    return JsonResponse(body, status=202)


@operation("GET", "How far a training is", "Training", (200, schemas.Run, "The training"))
def run(request: VisitorRequest, run_id: str) -> JsonResponse:
    return JsonResponse(runs.status(runs.owned(request.visitor, run_id)))


@operation(
    "GET",
    "Watch a training",
    "Training",
    (200, Answer(None, "Server-sent events", "text/event-stream", EVENTS), ""),
    (204, None, "The client has had the last event"),
    errors=(events.TooManyStreams,),
    headers={"Last-Event-ID": "The `id` of the last event that the client has; browsers send it by themselves"},
    description="`progress` has the keys of `GET /api/finetune/{run_id}`, `preview` the `url` of a held-out image with "
    "what the model finds in it now, `end` the keys again; then the stream ends. The server may end it before: connect "
    "again with `Last-Event-ID`.",
)
def run_events(request: VisitorRequest, run_id: str) -> HttpResponseBase:
    found = runs.owned(request.visitor, run_id)
    last_id = request.headers.get("Last-Event-ID", "")
    if last_id == events.LAST and not found.unfinished:
        return HttpResponse(status=204)
    if request.method == "HEAD":
        return HttpResponse(content_type="text/event-stream")
    key = getattr(request, "api_key", None)
    stream = events.Stream(request.visitor, found, last_id, lambda: key is None or api_keys.is_valid(key))
    response = StreamingHttpResponse(stream, content_type="text/event-stream")
    response["Cache-Control"], response["X-Accel-Buffering"] = "no-store", "no"
    return response


@operation(
    "POST",
    "Stop a training",
    "Training",
    (200, schemas.Run, "The training; a running one ends within seconds"),
    form=StopForm,
    example={"keep": "true"},
)
def run_stop(request: VisitorRequest, run_id: str) -> JsonResponse:
    found = runs.owned(request.visitor, run_id)
    runs.stop(found, **sent(request))
    return JsonResponse(runs.status(found))


# --- one image --------------------------------------------------------------------------------------------


@for_predict_keys
@operation(
    "POST",
    "Segment an image",
    "Images",
    (200, (schemas.Analysis, schemas.MeasuredAnalysis), "The result, with its objects where they were asked for"),
    (202, schemas.AnalysisAccepted, "An image over 50 megapixels, read in parts: ask `status_url`"),
    form=SegmentForm,
    example={"file": "leaf.jpg"},
    errors=(*ON_UPLOAD, *NO_ANSWER, analyses.TooManyLargeImages, errors.NotFound),
    description="Waits up to a minute for a worker, then answers 503 with `Location`: the image keeps its place.",
)
def segment(request: VisitorRequest) -> JsonResponse:
    """Refused at once, with nothing stored, when as many requests wait for a worker as may."""
    with waiter_slot():
        limits.check(request, limits.ANALYSES)
        fields = sent(request)
        file, share = fields["file"], fields["share"]
        if share:
            analysis = sharing.submit(request.visitor, share, file, file.name, fields["image_input"], fields["objects"])
        else:
            answer = named(request.visitor, fields["model"])
            wanted, objects = fields["image_input"], fields["objects"]
            analysis = analyses.submit(request.visitor, file, file.name, answer=answer, choice=wanted, objects=objects)
        if analysis.windows:
            address = reverse("api-segment-result", args=[analysis.public_id])
            body: schemas.AnalysisAccepted = {**analyses.progress(analysis), "status_url": address}
            return JsonResponse(body, status=202)
        return _result(analyses.wait(analysis, WAIT_SECONDS))


@for_predict_keys
@operation(
    "GET",
    "An image's result, later",
    "Images",
    (200, RESULTS, "The result, or how far it is"),
    errors=NO_ANSWER,
)
def segment_result(request: VisitorRequest, analysis_id: str) -> JsonResponse:
    """What became of an image whose result took longer than its request could wait."""
    analysis = analyses.owned(request.visitor, analysis_id)
    return JsonResponse(measurements.result(analysis)) if analysis.windows else _result(analysis)


@for_predict_keys
@operation(
    "POST",
    "Count and measure the objects of a result in another way",
    "Images",
    (200, schemas.MeasuredAnalysis, "The result with its objects"),
    form=ObjectOptionsForm,
    example={"scale": "0.65um", "split": "0.8"},
    errors=NO_ANSWER,
    description="From the stored mask, without the network.",
)
def segment_objects(request: VisitorRequest, analysis_id: str) -> JsonResponse:
    analysis = analyses.owned(request.visitor, analysis_id)
    row = measurements.ask(analysis, sent(request)["options"], WRITTEN_AT_ONCE)
    return JsonResponse(measurements.with_objects(analysis, measurements.wait(row, WAIT_SECONDS)))


@for_predict_keys
@operation(
    "POST",
    "Cancel an image that is not done",
    "Images",
    (200, (schemas.AnalysisProgress, schemas.LargeAnalysis), "The image as it stands"),
)
def segment_stop(request: VisitorRequest, analysis_id: str) -> JsonResponse:
    analysis = analyses.cancel(analyses.owned(request.visitor, analysis_id))
    return JsonResponse(analyses.progress_or_result(analysis))


def _result(analysis: Analysis) -> JsonResponse:
    """The finished result; what went wrong; or, as 503, where to ask for it later: it was accepted and stays so."""
    if analysis.state == State.DONE:
        return JsonResponse(measurements.result(analysis))
    raise analyses.not_done(analysis)


# --- many images, and videos --------------------------------------------------------------------------------


@for_predict_keys
@operation(
    "POST",
    "Segment many images, or a zip of them",
    "Batches",
    (202, schemas.BatchAccepted, "Accepted; ask `status_url`"),
    form=BatchForm,
    example={"files": ["a.jpg", "b.jpg"]},
    errors=(*ON_UPLOAD, batches.TooMany, errors.Unavailable, errors.NotFound, errors.Overloaded),
)
def batch(request: VisitorRequest) -> JsonResponse:
    limits.check(request, limits.UPLOADS)
    fields = sent(request)
    made = batches.submit(request.visitor, **fields)
    address = reverse("api-batch-job", args=[made.public_id])
    body: schemas.BatchAccepted = {"batch_id": made.public_id, "status_url": address}
    return JsonResponse(body, status=202)


@for_predict_keys
@operation("GET", "How far a batch is", "Batches", (200, schemas.Batch, "The batch, with one entry for each file"))
def batch_job(request: VisitorRequest, batch_id: str) -> JsonResponse:
    return JsonResponse(batches.status(batches.owned(request.visitor, batch_id)))


@for_predict_keys
@operation(
    "POST", "Stop a batch", "Batches", (200, schemas.Batch, "The batch"), form=StopForm, example={"keep": "true"}
)
def batch_stop(request: VisitorRequest, batch_id: str) -> JsonResponse:
    found = batches.owned(request.visitor, batch_id)
    batches.stop(found, **sent(request))
    return JsonResponse(batches.status(found))


@for_predict_keys
@operation(
    "POST",
    "Segment a video",
    "Videos",
    (202, schemas.VideoAccepted, "Accepted; ask `status_url`"),
    form=VideoForm,
    example={"file": "clip.mp4"},
    errors=(*ON_UPLOAD, videos.TooMany, errors.Unavailable, errors.NotFound, errors.Overloaded),
)
def video(request: VisitorRequest) -> JsonResponse:
    limits.check(request, limits.UPLOADS)
    fields = sent(request)
    file, objects = fields["file"], fields["objects"]
    job = videos.submit(request.visitor, file, file.name, fields["rate"], fields["model"], objects)
    address = reverse("api-video-job", args=[job.public_id])
    body: schemas.VideoAccepted = {"job_id": job.public_id, "status_url": address}
    return JsonResponse(body, status=202)


@for_predict_keys
@operation("GET", "How far a video is", "Videos", (200, schemas.Video, "The video"))
def video_job(request: VisitorRequest, job_id: str) -> JsonResponse:
    return JsonResponse(videos.status(videos.owned(request.visitor, job_id)))


@for_predict_keys
@operation("POST", "Stop a video", "Videos", (200, schemas.Video, "The video"), form=StopForm, example={"keep": "true"})
def video_stop(request: VisitorRequest, job_id: str) -> JsonResponse:
    job = videos.owned(request.visitor, job_id)
    videos.stop(job, **sent(request))
    return JsonResponse(videos.status(job))


# --- models -----------------------------------------------------------------------------------------------


@operation(
    "POST",
    "Activate a model, and be its visitor again",
    "Models",
    (200, schemas.Activated, "The model answers from now on"),
    form=RestoreForm,
    example={"user_id": "5tPq0aXbW2kYl3mN"},
    errors=(errors.InvalidToken, errors.NotFound),
    description="What browsers do with what they remember. `token` is the `restore_token` of a training.",
)
def load_user_model(request: VisitorRequest) -> JsonResponse:
    fields = sent(request)
    if fields["token"]:
        request.visitor, request.restore_chain = restore.restore(request.visitor, fields["token"])
    return JsonResponse(_activated(registry.activate(request.visitor, fields["user_id"])))


@operation(
    "POST",
    "Back to the base model",
    "Models",
    (200, schemas.ResetDone, "The base answers; the visitor's models are kept"),
)
def reset_to_base_model(request: VisitorRequest) -> JsonResponse:
    runs.use_base_model(request.visitor)
    body: schemas.ResetDone = {"status": "ok", "active_model": registry.resolve(request.visitor).key}
    return JsonResponse(body)


@for_predict_keys
@operation("GET", "The visitor's models", "Models", (200, schemas.Models, "Newest first"))
def models(request: VisitorRequest) -> JsonResponse:
    rows = registry.versions(request.visitor).select_related("parent")
    body: schemas.Models = {"models": [_model(model) for model in rows]}
    return JsonResponse(body)


@operation("DELETE", "Move a model to the trash", "Models", (200, schemas.Trashed, "Restorable on the Models page"))
def model(request: VisitorRequest, model_id: str) -> JsonResponse:
    registry.trash(request.visitor, model_id)
    body: schemas.Trashed = {"status": "ok", "restorable_for_days": settings.SEGAPP_TRASH_DAYS}
    return JsonResponse(body)


@operation(
    "POST", "Make a model the one that answers", "Models", (200, schemas.Activated, "The model answers from now on")
)
def model_activate(request: VisitorRequest, model_id: str) -> JsonResponse:
    return JsonResponse(_activated(registry.activate(request.visitor, model_id)))


@operation(
    "POST",
    "Rename a model",
    "Models",
    (200, schemas.Model, "The model with its new name"),
    form=RenameForm,
    example={"name": "Leaves of 2026"},
)
def model_rename(request: VisitorRequest, model_id: str) -> JsonResponse:
    found = registry.owned(request.visitor, model_id)
    fields = sent(request)
    return JsonResponse(_model(registry.rename(request.visitor, found.public_id, fields["name"])))


@operation(
    "POST",
    "Say which classes' objects are counted",
    "Models",
    (200, schemas.Model, "The model with its new classes"),
    form=ThingsForm,
    example={"things": "1,2"},
)
def model_things(request: VisitorRequest, model_id: str) -> JsonResponse:
    found = registry.owned(request.visitor, model_id)
    fields = sent(request, classes=found.classes)
    return JsonResponse(_model(registry.count_things(found, fields["things"])))


@operation("GET", "A model's share links", "Models", (200, schemas.Shares, "The links"))
@operation(
    "POST",
    "Make a link for others to use a model",
    "Models",
    (201, schemas.Share, "The link; its `token` is `share` in `POST /api/segment`"),
    form=ShareForm,
    example={"label": "for the field team"},
    errors=(sharing.TooManyLinks,),
)
def shares(request: VisitorRequest, model_id: str) -> JsonResponse:
    """The model's links; POST makes one, with an optional `label`."""
    found = registry.owned(request.visitor, model_id)
    if request.method != "POST":
        rows = sharing.of(request.visitor).filter(model=found)
        body: schemas.Shares = {"shares": [_share(request, row) for row in rows]}
        return JsonResponse(body)
    made = sharing.create(found, **sent(request))
    return JsonResponse(_share(request, made), status=201)


@operation("DELETE", "End a share link", "Models", (200, schemas.Done, "The link can no longer be used"))
def share(request: VisitorRequest, token: str) -> JsonResponse:
    sharing.revoke(request.visitor, token)
    return JsonResponse({"status": "ok"})


# --- keys -------------------------------------------------------------------------------------------------


@operation("GET", "The visitor's API keys", "Keys", (200, schemas.Keys, "Without the keys themselves"))
@operation(
    "POST",
    "Make an API key",
    "Keys",
    (201, schemas.NewKey, "With `key`, which is shown this once"),
    form=KeyForm,
    example={"name": "lab robot", "scope": "predict", "days": 365},
    errors=(api_keys.TooManyKeys, errors.RateLimited),
)
def keys(request: VisitorRequest) -> JsonResponse:
    """The visitor's keys, without the keys themselves; POST makes one, which is shown this once."""
    if request.method != "POST":
        listed: schemas.Keys = {"keys": [_key(row) for row in api_keys.listed(request.visitor)]}
        return JsonResponse(listed)
    limits.check(request, limits.KEYS)
    row, key = api_keys.make(request.visitor, **sent(request))
    body: schemas.NewKey = {**_key(row), "key": key}
    return JsonResponse(body, status=201)


@operation("DELETE", "Revoke an API key", "Keys", (204, None, "Refused from the next call on"))
def key(request: VisitorRequest, key_id: str) -> HttpResponse:
    api_keys.revoke(request.visitor, key_id)
    return HttpResponse(status=204)


# --- as JSON ----------------------------------------------------------------------------------------------


def _activated(model: UserModel) -> schemas.Activated:
    return {"status": "ok", "model_key": model.key, "active_model": model.key, "name": model.name}


def _model(model: UserModel) -> schemas.Model:
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


def _share(request: HttpRequest, row: ModelShare) -> schemas.Share:
    return {
        "token": row.token,
        "url": request.build_absolute_uri(reverse("shared", args=[row.token])),
        "label": row.label,
        "uses": row.uses,
        "created": row.created.isoformat(),
        "last_used": row.last_used.isoformat() if row.last_used else None,
    }


def _key(row: ApiKey) -> schemas.Key:
    return {
        "id": row.public_id,
        "name": row.name,
        "scope": row.scope,
        "created": row.created.isoformat(),
        "expires": row.expires.isoformat() if row.expires else None,
        "last_used": row.last_used.isoformat() if row.last_used else None,
    }
