"""The API's description: for programs, and as a page to read and to try calls on."""

from django.http import HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from segapp.api import openapi
from segapp.api.operations import Answer, operation
from segapp.scopes import for_predict_keys
from segapp.visitors import VisitorRequest


@for_predict_keys
@operation("GET", "This description", "Service", (200, Answer(dict, "OpenAPI 3.1", example={"openapi": "3.1.0"}), ""))
def described(request: VisitorRequest) -> JsonResponse:
    return JsonResponse(openapi.document())


@require_safe
def docs(request: VisitorRequest) -> HttpResponse:
    return render(request, "api/docs.html")
