"""The one shape of every error of the API: {"error": {"code", "message", "files"?}}."""

from typing import Any

from django.http import JsonResponse

from segapp.services.errors import UserError


def error_body(error: UserError, message: str = "") -> JsonResponse:
    body: dict[str, Any] = {"code": error.code, "message": message or str(error), **error.details}
    if error.files is not None:
        body["files"] = error.files
    return JsonResponse({"error": body}, status=error.status)
