"""The description of the API as OpenAPI 3.1: addresses from urls.py, the rest from the marks on their views.

Made once per process, at the first request for it.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from typing import Any

import msgspec
from django import forms
from django.urls import URLPattern

from segapp.api.operations import Answer, ErrorKinds, Operation
from segapp.services import api_keys, errors, schemas
from segapp.visitors import cookie_name

REF = "#/components/schemas/{name}"
PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>")
PARAMETERS = {
    "run_id": "A training's `run_id`",
    "analysis_id": "A result's `analysis_id`",
    "batch_id": "A batch's `batch_id`",
    "job_id": "A video's `job_id`",
    "model_id": "A model's `id`, with or without `user_`",
    "hook_id": "A webhook's `id`",
    "key_id": "A key's `id`",
    "format": "`pth`, `safetensors` or `onnx`",
    "token": "A link's token",
}
WRITES = ("POST", "DELETE")
# What a call may meet whatever it does.
ALWAYS: ErrorKinds = (
    errors.BadRequest,
    api_keys.Unauthorized,
    errors.Busy,
    errors.StorageDown,
    errors.DiskFull,
    errors.ServerError,
)
INTRODUCTION = """Segapp's pages for programs: train a segmentation model on a few images and their masks, and segment
images and videos with it.

Who asks is a visitor: an API key from the Models page, sent as `Authorization: Bearer KEY`, or the browser's cookie.
With the cookie, POST and DELETE carry the cookie `csrftoken`'s value as `X-CSRFToken`; `GET /api/health` sets both.

Errors are `{"error": {"code", "message", "files"}}`; the message names the next step."""
GROUPS = {
    "Service": "What answers, and how it is.",
    "Training": "Images and masks become a model.",
    "Images": "One image in, one mask out.",
    "Batches": "Many images, or a zip of them.",
    "Videos": "A video in, two videos and a table out.",
    "Models": "The visitor's own: which one answers, names, links, files.",
    "Keys": "What programs send instead of a cookie.",
    "Webhooks": "Addresses that are notified when a training, a batch or a video ends.",
}
# One event of a stream, as tools for server-sent events take it apart.
EVENT = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("id", "event", "data")},
    "required": ["data"],
}


def marked() -> list[URLPattern]:
    """The API's addresses, whose views say what they are."""
    from segapp.api.urls import urlpatterns  # which names the view that serves this description

    return urlpatterns


@cache
def document() -> dict[str, Any]:
    found = list(operations(marked()))
    types = {type_ for _, _, operation, _ in found for answer in operation.answers.values() for type_ in _types(answer)}
    ordered = sorted(types - {dict} | {schemas.Error}, key=lambda type_: type_.__name__)
    _, components = msgspec.json.schema_components(ordered, ref_template=REF)
    for name, schema in components.items():  # in the order in which they are defined, not of the alphabet
        schema["properties"] = {key: schema["properties"][key] for key in getattr(schemas, name).__annotations__}
    paths: dict[str, Any] = defaultdict(dict)
    failures: dict[str, Any] = {}
    for path, method, operation, view in found:
        paths[path][method.lower()] = _operation(path, method, operation, view, components, failures)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Segapp", "version": "1.0.0", "description": INTRODUCTION, "license": {"name": "MIT"}},
        "tags": [{"name": name, "description": text} for name, text in GROUPS.items()],
        "paths": dict(paths),
        "components": {
            "schemas": components,
            "responses": failures,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "A key from the Models page"},
                "visitor": _in("cookie", cookie_name(), "Set by the first answer to a client without one"),
                "csrf": _in("header", "X-CSRFToken", "The value of the cookie `csrftoken`"),
            },
        },
    }


def _in(place: str, name: str, description: str) -> dict[str, str]:
    return {"type": "apiKey", "in": place, "name": name, "description": description}


def operations(patterns: list[URLPattern]) -> Iterator[tuple[str, str, Operation, Any]]:
    """(path, method, operation, view) of every address whose view is marked."""
    for pattern in patterns:
        path = "/api/" + PARAMETER.sub(r"{\1}", str(pattern.pattern))
        for method, operation in getattr(pattern.callback, "operations", {}).items():
            yield path, method, operation, pattern.callback


def _operation(
    path: str, method: str, operation: Operation, view: Any, components: dict[str, Any], failures: dict[str, Any]
) -> dict[str, Any]:
    """`failures`: the errors that calls share, by name; what is missing is added."""
    predict = getattr(view, "for_predict_keys", False)
    scope = "Any key may." if predict else "Asks for a key with the scope `all`."
    found: dict[str, Any] = {
        "operationId": f"{method.lower()}_{re.sub('[^a-z]+', '_', path.removeprefix('/api/')).strip('_')}",
        "summary": operation.summary,
        "description": " ".join(filter(None, [operation.description, scope])),
        "tags": [operation.group],
        "security": [{"key": []}, {"visitor": [], "csrf": []} if method in WRITES else {"visitor": []}],
        "responses": {
            **{str(status): _answer(answer, components) for status, answer in operation.answers.items()},
            **_errors(errors_of(path, method, operation, predict), failures),
        },
    }
    if method not in WRITES:
        found["security"].append({})  # a client without a cookie becomes a new visitor
    parameters = [_parameter(name) for name in re.findall(r"{(\w+)}", path)]
    parameters += [
        {"name": name, "in": "header", "required": False, "description": text, "schema": {"type": "string"}}
        for name, text in operation.headers.items()
    ]
    if parameters:
        found["parameters"] = parameters
    if operation.form is not None:
        found["requestBody"] = _body(operation)
    return found


# --- requests -----------------------------------------------------------------------------------------------


def _parameter(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": PARAMETERS[name],
        "schema": {"type": "string", "minLength": 1},
    }


def _body(operation: Operation) -> dict[str, Any]:
    assert operation.form is not None
    fields = operation.form().fields
    required = [name for name, field in fields.items() if field.required]
    schema: dict[str, Any] = {"type": "object", "properties": {name: _field(field) for name, field in fields.items()}}
    if required:
        schema["required"] = required
    content: dict[str, Any] = {"schema": schema}
    if operation.example:
        content["example"] = dict(operation.example)
    kinds = ["multipart/form-data"]
    if not any(isinstance(field, forms.FileField) for field in fields.values()):
        kinds.insert(0, "application/x-www-form-urlencoded")
    return {"required": bool(required), "content": dict.fromkeys(kinds, content)}


def _field(field: forms.Field) -> dict[str, Any]:
    """A form's field as JSON Schema. Raises TypeError for a kind that is not known here."""
    file = {"type": "string", "format": "binary"}
    schema: dict[str, Any]
    match field:
        case forms.FileField() if getattr(field.widget, "allow_multiple_selected", False):
            schema = {"type": "array", "items": file}
        case forms.FileField():
            schema = file
        case forms.ChoiceField():
            choices: Any = field.choices
            named = [str(value) for value, _ in choices if value]
            if isinstance(field, forms.MultipleChoiceField):
                schema = {"type": "array", "items": {"type": "string", "enum": named}}
            else:
                schema = {"type": "string", "enum": named if field.required else ["", *named]}
        case forms.FloatField():
            schema = {"type": "number", "minimum": field.min_value, "maximum": field.max_value}
        case forms.IntegerField():
            schema = {"type": "integer", "minimum": field.min_value, "maximum": field.max_value}
        case forms.CharField():
            schema = {"type": "string", "minLength": 1 if field.required else None, "maxLength": field.max_length}
        case _:
            raise TypeError(f"{type(field).__name__} has no place in the API's description yet")
    schema = {name: value for name, value in schema.items() if value is not None}
    if schema.get("type") == "string" and "format" not in schema and not field.required:
        schema["default"] = ""  # which is as good as absent
    return {**schema, "description": str(field.help_text)}


# --- answers ------------------------------------------------------------------------------------------------


def _types(answer: Answer) -> tuple[Any, ...]:
    return answer.schema if isinstance(answer.schema, tuple) else (answer.schema,) if answer.schema else ()


def _schema(type_: Any) -> dict[str, Any]:
    return {"type": "object"} if type_ is dict else {"$ref": REF.format(name=type_.__name__)}


def _answer(answer: Answer, components: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"description": answer.description}
    if answer.media_type != "application/json":
        text = EVENT if answer.media_type == "text/event-stream" else {"type": "string"}
        found["content"] = {answer.media_type: {"schema": text, "example": answer.example}}
    elif answer.schema is not None:
        refs = [_schema(type_) for type_ in _types(answer)]
        schema: dict[str, Any] = refs[0] if len(refs) == 1 else {"anyOf": refs}
        example = answer.example if answer.example is not None else example_of(refs[0], components)
        found["content"] = {"application/json": {"schema": schema, "example": example}}
    return found


def example_of(schema: dict[str, Any], components: dict[str, Any]) -> Any:
    """One value that the schema allows, put together from the examples of its parts."""
    if "$ref" in schema:
        return example_of(components[schema["$ref"].rpartition("/")[2]], components)
    if "examples" in schema:
        return schema["examples"][0]
    if "anyOf" in schema:
        return example_of(schema["anyOf"][0], components)
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            return {name: example_of(part, components) for name, part in schema.get("properties", {}).items()}
        case "array":
            return [example_of(schema["items"], components)] if schema.get("items") else []
        case "string":
            return "…"
        case "boolean":
            return True
        case "number" | "integer":
            return 0
    return None


def errors_of(path: str, method: str, operation: Operation, predict: bool) -> ErrorKinds:
    """Every kind of error that this call may answer with."""
    kinds = [*ALWAYS, *operation.errors]
    if method in WRITES:
        kinds += [errors.ExpiredForm, errors.TooLarge, errors.TooManyFiles]
    if not predict:
        kinds.append(api_keys.OutOfScope)
    if "{" in path:
        kinds.append(errors.NotFound)
    if operation.form is not None:
        kinds.append(errors.InvalidForm)
    return tuple(dict.fromkeys(kinds))


def _errors(kinds: ErrorKinds, failures: dict[str, Any]) -> dict[str, Any]:
    by_status: dict[int, dict[str, type[errors.UserError]]] = defaultdict(dict)
    for kind in kinds:
        by_status[kind.status].setdefault(kind.code, kind)
    found = {}
    for status, alike in sorted(by_status.items()):
        name = "_".join([str(status), *alike])
        failures.setdefault(name, _error(alike))
        found[str(status)] = {"$ref": f"#/components/responses/{name}"}
    return found


def _error(kinds: dict[str, type[errors.UserError]]) -> dict[str, Any]:
    codes = {"properties": {"error": {"properties": {"code": {"enum": list(kinds)}}}}}
    examples = {
        code: {"value": {"error": {"code": code, "message": f"{kind.message} {kind.advice}"}}}
        for code, kind in kinds.items()
    }
    found: dict[str, Any] = {
        "description": "; ".join(kind.title for kind in dict.fromkeys(kinds.values())),
        "content": {
            "application/json": {
                "schema": {"allOf": [{"$ref": REF.format(name="Error")}, codes]},
                "examples": examples,
            }
        },
    }
    headers = {}
    if any(kind.retry_after for kind in kinds.values()) or errors.RateLimited in _bases(kinds):
        headers["Retry-After"] = {"description": "Seconds until it is worth another try", "schema": {"type": "integer"}}
    if api_keys.Unauthorized in kinds.values():
        headers["WWW-Authenticate"] = {"description": "`Bearer`", "schema": {"type": "string"}}
    if errors.Busy in kinds.values() or errors.Conflict in _bases(kinds):
        headers["Location"] = {"description": "Where what is under way can be asked for", "schema": {"type": "string"}}
    if headers:
        found["headers"] = headers
    return found


def _bases(kinds: dict[str, type[errors.UserError]]) -> set[type]:
    return {base for kind in kinds.values() for base in kind.__mro__}
