"""The API's description, for programs."""

from django.http import JsonResponse

from segapp.api import openapi
from segapp.api.operations import Answer, operation
from segapp.scopes import for_predict_keys
from segapp.visitors import VisitorRequest


@for_predict_keys
@operation("GET", "This description", "Service", (200, Answer(dict, "OpenAPI 3.1", example={"openapi": "3.1.0"}), ""))
def described(request: VisitorRequest) -> JsonResponse:
    return JsonResponse(openapi.document())
