"""Holds what the API really answers against /api/openapi.json; see `api_answers_are_described` in fixtures.py."""

import copy
from functools import cache
from typing import Any
from urllib.parse import unquote

from django.urls import Resolver404, resolve
from jsonschema import Draft202012Validator

from segapp.api import openapi

CHECKED: set[tuple[str, str, int]] = set()  # (method, path template, status) of this process so far


def problems_of(method: str, path: str, response: Any) -> list[str]:
    """What is wrong with an answer of the API, by the API's own description; empty for other addresses."""
    found = _operation(method, path)
    if found is None:
        return []
    template, operation = found
    if response.status_code == 404 and "\0" in unquote(response.wsgi_request.get_full_path()):
        return []  # an address with a NUL is refused before it is looked up
    head, method = method == "HEAD", "GET" if method == "HEAD" else method
    if response.status_code == 405:
        return [] if operation is None else [f"405 for {method} {template}, which is described"]
    if operation is None:
        known = {401, 403, 413}  # refused before anybody looked at the method
        return [] if response.status_code in known else [f"{method} {template} is not described"]
    answer = operation["responses"].get(str(response.status_code))
    if answer is None:
        return [f"{method} {template}: the status {response.status_code} is not described"]
    CHECKED.add((method, template, response.status_code))
    answer = _resolved(answer)
    content = answer.get("content", {})
    kind = response.headers.get("Content-Type", "").partition(";")[0]
    if not content:
        return [] if not response.content else [f"{method} {template}: a body where none is described"]
    if kind not in content:
        return [f"{method} {template}: {kind or 'no type'} instead of {', '.join(content)}"]
    if kind != "application/json" or head:
        return []
    errors = _validator(method, template, response.status_code).iter_errors(response.json())
    return [f"{method} {template} {response.status_code}: {error.json_path}: {error.message}" for error in errors]


def _operation(method: str, path: str) -> tuple[str, dict[str, Any] | None] | None:
    """(path template, its description of the method or None) of an address; None where it is none of the API's."""
    try:
        match = resolve(path)
    except Resolver404:
        return None
    if not match.route.startswith("api/") or not hasattr(match.func, "operations"):
        return None
    template = "/" + openapi.PARAMETER.sub(r"{\1}", match.route)
    described = openapi.document()["paths"].get(template, {})
    return template, described.get("get" if method == "HEAD" else method.lower())


@cache
def _validator(method: str, template: str, status: int) -> Draft202012Validator:
    """Of the body, with nothing allowed that is not described."""
    document = _closed(copy.deepcopy(openapi.document()))
    answer = document["paths"][template][method.lower()]["responses"][str(status)]
    if "$ref" in answer:
        answer = document["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    schema = answer["content"]["application/json"]["schema"]
    return Draft202012Validator({**schema, "components": document["components"]})


def _resolved(answer: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in answer:
        return answer
    found: dict[str, Any] = openapi.document()["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    return found


def _closed(node: Any) -> Any:
    """The same schemas, each object with just the properties that it names."""
    if isinstance(node, dict):
        if node.get("type") == "object" and "properties" in node:
            node.setdefault("additionalProperties", False)
        for value in node.values():
            _closed(value)
    elif isinstance(node, list):
        for value in node:
            _closed(value)
    return node
