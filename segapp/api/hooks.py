"""Webhooks by API: addresses that are notified when work ends."""

from django.http import HttpResponse, JsonResponse

from segapp.api.forms import HookForm
from segapp.api.operations import operation, sent
from segapp.models import Delivery, Hook
from segapp.services import errors, limits, schemas
from segapp.services import hooks as service
from segapp.services.hook_addresses import RefusedAddress
from segapp.visitors import VisitorRequest

GROUP = "Webhooks"


@operation("GET", "The visitor's webhooks", GROUP, (200, schemas.Hooks, "Without their secrets"))
@operation(
    "POST",
    "Add a webhook",
    GROUP,
    (201, schemas.NewHook, "With `secret`, which is shown this once"),
    form=HookForm,
    example={"url": "https://lab.example.org/segapp", "events": ["training", "batch"]},
    errors=(service.TooManyHooks, RefusedAddress, errors.RateLimited),
)
def hooks(request: VisitorRequest) -> JsonResponse:
    if request.method != "POST":
        listed: schemas.Hooks = {"hooks": [_hook(row) for row in service.listed(request.visitor)]}
        return JsonResponse(listed)
    limits.check(request, limits.HOOKS)
    row = service.make(request.visitor, **sent(request))
    body: schemas.NewHook = {**_hook(row), "secret": row.secret}
    return JsonResponse(body, status=201)


@operation("DELETE", "Delete a webhook", GROUP, (204, None, "Nothing more is sent"))
def hook(request: VisitorRequest, hook_id: str) -> HttpResponse:
    service.delete(request.visitor, hook_id)
    return HttpResponse(status=204)


@operation(
    "POST",
    "Send a test",
    GROUP,
    (202, schemas.Delivery, "A delivery that only says that the webhook works; its outcome is in the log"),
    errors=(errors.RateLimited,),
)
def hook_test(request: VisitorRequest, hook_id: str) -> JsonResponse:
    row = service.owned(request.visitor, hook_id)
    limits.check(request, limits.HOOKS)
    return JsonResponse(_delivery(service.test(row)), status=202)


@operation("GET", "What a webhook was notified of", GROUP, (200, schemas.Deliveries, "How each delivery went"))
def hook_deliveries(request: VisitorRequest, hook_id: str) -> JsonResponse:
    rows = service.log(service.owned(request.visitor, hook_id))
    body: schemas.Deliveries = {"deliveries": [_delivery(row) for row in rows]}
    return JsonResponse(body)


def _hook(row: Hook) -> schemas.Hook:
    return {"id": row.public_id, "url": row.url, "events": row.events, "created": row.created.isoformat()}


def _delivery(row: Delivery) -> schemas.Delivery:
    return {
        "id": row.public_id,
        "event": row.event,
        "subject": row.subject,
        "state": row.state,
        "attempts": row.attempts,
        "status": row.status,
        "message": row.message,
        "created": row.created.isoformat(),
        "ended": row.ended.isoformat() if row.ended else None,
    }
