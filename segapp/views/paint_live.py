"""Live answers for the paint page, as JSON: after each stroke, newest wins."""

from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from segapp.paint_forms import AcceptForm, LiveForm, RegionForm
from segapp.services import limits, painting, proposals
from segapp.services import live as service
from segapp.views import finetune, finetune_context
from segapp.views.common import by_script, flash, shows_again
from segapp.visitors import VisitorRequest


@require_POST
@never_cache
def live(request: VisitorRequest, public_id: str) -> JsonResponse:
    """What the strokes so far make of this image."""
    request.wants_json = True
    example = painting.owned(request.visitor, public_id)
    sent = LiveForm(request.POST, request.FILES).checked()
    limits.check(request, limits.LIVE)
    model = example.painting.corrects or finetune_context.continued(request)
    return JsonResponse(service.ask(example, model=model if painting.usable(model) else None, **sent))


@require_POST
@never_cache
def region(request: VisitorRequest, public_id: str) -> JsonResponse:
    """The region that the clicks so far mean."""
    request.wants_json = True
    example = painting.owned(request.visitor, public_id)
    sent = RegionForm(request.POST).checked()
    limits.check(request, limits.LIVE)
    model = example.painting.corrects or finetune_context.continued(request)
    return JsonResponse(service.find_region(example, model=model if painting.usable(model) else None, **sent))


@require_safe
@never_cache
def proposal(request: VisitorRequest, public_id: str) -> HttpResponse:
    """What was proposed for an image, a grey PNG of class ids."""
    return HttpResponse(proposals.read(painting.owned(request.visitor, public_id)), content_type="image/png")


@require_POST
def accept(request: VisitorRequest, public_id: str) -> JsonResponse:
    """All of the answer is right: it becomes the image's mask below what is painted."""
    request.wants_json = True
    example = painting.owned(request.visitor, public_id)
    sent = AcceptForm(request.POST, request.FILES).checked()
    mask = sent["mask"].file if sent["mask"] else None
    row = proposals.accept(example, sent["base"], sent["editor"], sent["sequence"], mask)
    return JsonResponse({"revision": row.revision, "state": row.state, "dice": row.dice})


@require_safe
@never_cache
def next_image(request: VisitorRequest, public_id: str) -> JsonResponse:
    """The image to do next, and why; nulls when all are done."""
    request.wants_json = True
    found = proposals.next_of(request.visitor, painting.owned(request.visitor, public_id))
    if found is None:
        return JsonResponse({"id": None, "url": None, "why": "All images are done."})
    example, why = found
    address = reverse("finetune-paint", args=[example.public_id])
    return JsonResponse({"id": example.public_id, "url": address, "why": why})


@require_POST
@shows_again(finetune.refuse)
def use_as_it_is(request: VisitorRequest) -> HttpResponse:
    """The live head becomes the visitor's model, without a training."""
    limits.check(request, limits.TRAININGS)
    made = service.use_as_it_is(request.visitor, finetune_context.continued(request))
    address = reverse("model", args=[made])
    if by_script(request):
        return JsonResponse({"model": made, "url": address})
    flash(request, "Your model is ready and in use. It answers as the live answer did.")
    return redirect(address)
