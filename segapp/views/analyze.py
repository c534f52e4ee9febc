"""Images in, masks out: send them, look at one, compare it with another model's answer."""

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django_htmx.http import push_url

from registry import services as registry
from registry.models import FileState, UserModel
from segapp.forms import AnalyzeForm
from segapp.imaging import InvalidFile
from segapp.imaging.formats import MAX_IMAGES_AT_ONCE
from segapp.imaging.image_input import ImageInput
from segapp.models import Analysis, State
from segapp.services import analyses, intake, limits, tables
from segapp.services.errors import NotFound, Overloaded, Problem, RateLimited, UserError
from segapp.views import objects
from segapp.views.common import flash, offer, shows_again
from segapp.visitors import VisitorRequest

# A partial waits this long for its result, so that it comes the moment it is there: nearly until the page asks again.
POLL_SECONDS = 2.9
LAYERS = (("image", "Image"), ("overlay", "Overlay"), ("mask", "Mask"), ("confidence", "Confidence"))
WAIT_SECONDS = 20.0  # a plain post without script waits this long before it shows the waiting page


def _show_error(request: VisitorRequest, error: UserError) -> HttpResponse:
    return _refuse(request, error.problems)


@require_http_methods(["GET", "HEAD", "POST"])
@shows_again(_show_error)
def analyze(request: VisitorRequest) -> HttpResponse:
    if request.method != "POST":
        return _show(request)
    sent = AnalyzeForm(request.POST, request.FILES).checked()
    return _answer(request, sent["file"], sent["image_input"])


@require_POST
def sample(request: VisitorRequest) -> HttpResponse:
    """One of the sample images that came without a mask, for those who have trained on the others."""
    return _answer(request, [intake.sample_image()])


def _answer(request: VisitorRequest, files: list[UploadedFile], choice: ImageInput | None = None) -> HttpResponse:
    """Queue the images and show the first one's place. With a full queue, what it has no room for is named."""
    sent, problems, full = _submit(request, files, choice)
    if not sent:
        return _come_back(request, full) if full else _refuse(request, problems)
    for problem in problems:
        flash(request, f"{problem['file']}: {problem['message']}", level=messages.WARNING)
    first = sent[0]
    if not request.htmx:
        analyses.wait_if_free(first, WAIT_SECONDS)
        return redirect("analyze-result", first.public_id)
    return push_url(_show(request, first), reverse("analyze-result", args=[first.public_id]))


def _submit(
    request: VisitorRequest, files: list[UploadedFile], choice: ImageInput | None
) -> tuple[list[Analysis], list[Problem], Overloaded | None]:
    """What was queued, what was not and why, and whether that was for want of room."""
    sent: list[Analysis] = []
    problems: list[Problem] = []
    for place, file in enumerate(files):
        name = file.name or "image"
        try:
            limits.check(request, limits.ANALYSES)
            sent.append(analyses.submit(request.visitor, file, name, choice=choice))
        except InvalidFile as error:
            problems.append(error.entry)
        except (Overloaded, RateLimited, registry.NoBaseReady) as error:
            left = ", ".join(late.name or "image" for late in files[place:])
            problems.append({"file": left, "message": str(error)})
            return sent, problems, error if isinstance(error, Overloaded) else None
    return sent, problems, None


def _come_back(request: VisitorRequest, full: Overloaded) -> HttpResponse:
    """503: nothing was stored; the page keeps what was chosen and sends it again when the queue has room."""
    if request.htmx:
        response = render(request, "analyze/full.html", {"retry_after": full.retry_after}, status=503)
        response["HX-Retarget"], response["HX-Reswap"] = "#analyze-problems", "innerHTML"
    else:
        response = _show(request, retry_after=full.retry_after, status=503)
    response["Retry-After"] = str(full.retry_after)
    return response


def _refuse(request: VisitorRequest, problems: list[Problem]) -> HttpResponse:
    if request.htmx:
        response = render(request, "problems.html", {"problems": problems}, status=422)
        response["HX-Retarget"], response["HX-Reswap"] = "#analyze-problems", "innerHTML"
        return response
    return _show(request, problems=problems, status=422)


def _show(
    request: VisitorRequest,
    analysis: Analysis | None = None,
    problems: list[Problem] | None = None,
    retry_after: int = 0,
    status: int = 200,
) -> HttpResponse:
    """The page, or its changing part; without a result chosen it opens with the form."""
    context = {
        "analysis": analysis,
        "problems": problems or [],
        "retry_after": retry_after,
        "usual": usual(request.visitor),
        "place": analyses.place(analysis) if analysis and analysis.state == State.QUEUED else (0, None),
        "layers": LAYERS,
        "alternatives": alternatives(request.visitor, analysis) if analysis else [],
        "classes": sorted(analysis.classes, key=lambda found: -found["pixels"]) if analysis else [],
        "result_days": settings.SEGAPP_RESULT_DAYS,
        "oob": bool(request.htmx),
        **(objects.context(request, analysis) if analysis and analysis.state == State.DONE else {}),
        **_strip(request),
    }
    template = "analyze.html#bench" if request.htmx else "analyze.html"
    return render(request, template, context, status=status)


@require_safe
def result(request: VisitorRequest, public_id: str) -> HttpResponse:
    analysis = analyses.owned(request.visitor, public_id)
    if request.htmx and analysis.unfinished:
        analyses.wait_if_free(analysis, POLL_SECONDS)
        if analysis.unfinished:
            return _so_far(request, analysis)
    return _show(request, analysis)


def _so_far(request: VisitorRequest, analysis: Analysis) -> HttpResponse:
    """Nothing new, and the page asks again; or how far a large image is."""
    if not analysis.progress:
        return HttpResponse(status=204)
    response = render(request, "analyze/waiting.html", {"analysis": analysis})
    response["HX-Retarget"], response["HX-Reswap"] = "#waiting", "outerHTML"
    return response


@require_POST
def stop(request: VisitorRequest, public_id: str) -> HttpResponse:
    """Cancel an image that is not done."""
    analysis = analyses.cancel(analyses.owned(request.visitor, public_id))
    return _show(request, analysis) if request.htmx else redirect("analyze-result", public_id)


@require_safe
def strip(request: VisitorRequest) -> HttpResponse:
    """The latest results, asked for while some of them are still at work; `at` is the one on show."""
    shown = {"public_id": request.GET.get("at", "")}
    return render(request, "analyze/strip.html", {"analysis": shown, **_strip(request)})


def _strip(request: VisitorRequest) -> dict[str, Any]:
    latest = list(Analysis.objects.filter(visitor=request.visitor)[:MAX_IMAGES_AT_ONCE])
    return {"recent": latest, "strip_busy": any(row.unfinished for row in latest)}


def usual(visitor: str) -> float | None:
    """Milliseconds that the visitor's last result took; None before the first."""
    last = analyses.recent(visitor, 1).first()
    return last.timings.get("inference_ms") if last else None


def alternatives(visitor: str, analysis: Analysis) -> list[tuple[str, str]]:
    """(key, name) of the models to compare this result with; the base's key is empty."""
    base = registry.current_base()
    found = [("", f"{base.name} (base model)")] if base and base.key != analysis.model_key else []
    own = registry.versions(visitor).filter(file_state=FileState.OK)
    return found + [(model.public_id, model.name) for model in own if model.key != analysis.model_key]


@require_http_methods(["GET", "HEAD", "POST"])
def compare(request: VisitorRequest, public_id: str) -> HttpResponse:
    """The same image through another model. POST runs it; GET shows a comparison that was run."""
    analysis = analyses.owned(request.visitor, public_id)
    if request.method == "POST":
        other = analyses.again(analysis, _chosen(request))
        analyses.wait_if_free(other, WAIT_SECONDS)
        return redirect(f"{reverse('analyze-compare', args=[public_id])}?with={other.public_id}")
    other = analyses.owned(request.visitor, request.GET.get("with", ""))
    if (other.width, other.height) != (analysis.width, analysis.height):
        raise NotFound("These two results are of different images. Compare from the result's own page.")
    left, right = side("left", other), side("right", analysis)
    context = {
        "left": other,
        "right": analysis,
        "left_name": left["name"],
        "right_name": right["name"],
        "sides": [left, right],
    }
    return render(request, "compare.html", context)


def side(key: str, analysis: Analysis) -> dict[str, Any]:
    """One half of a comparison; a version goes by the name its owner gave it, if it was what answered."""
    own = (
        analysis.model if analysis.model and analysis.model.key == analysis.model_key and not analysis.shared else None
    )
    return {
        "key": key,
        "name": own.name if own else analysis.model_name,
        "classes": sorted(analysis.classes, key=lambda found: -found["pixels"]),
        "public_id": analysis.public_id,
        "inference_ms": analysis.timings.get("inference_ms"),
    }


def _chosen(request: VisitorRequest) -> UserModel | None:
    """The version to compare with; None is the base."""
    wanted = request.POST.get("model", "")
    return registry.owned(request.visitor, wanted) if wanted else None


@require_safe
def table(request: VisitorRequest, public_id: str) -> HttpResponseBase:
    """Classes and their shares as CSV."""
    analysis = analyses.owned(request.visitor, public_id)
    if analysis.state != State.DONE:
        raise NotFound("This result has no figures yet. Wait until it is done.")
    response = HttpResponse(tables.classes(analysis.classes), content_type="text/csv; charset=utf-8")
    return offer(response, f"classes_{analysis.public_id[:8]}.csv")


@require_POST
def delete(request: VisitorRequest, public_id: str) -> HttpResponse:
    analysis = analyses.owned(request.visitor, public_id)
    analyses.delete(analysis)
    flash(request, f"The result of “{analysis.title}” is deleted, the image with it.")
    return redirect("analyze")
