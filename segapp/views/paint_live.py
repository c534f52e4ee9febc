"""Live answers for the paint page, as JSON: after each stroke, newest wins."""

from django.http import JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from segapp.paint_forms import LiveForm
from segapp.services import limits, painting
from segapp.services import live as service
from segapp.views import finetune_context
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
