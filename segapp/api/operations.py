"""How a view says what it is: `operation` names its method, form, answers and errors beside the code that has them.

segapp.api.openapi makes the description of the whole API from these marks and from the addresses. What a form takes is
read from its fields, what an answer holds from its type in services/schemas.py.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Protocol

from django import forms
from django.http import HttpRequest, HttpResponseBase

from segapp.services import errors
from segapp.services.errors import UserError
from segapp.visitors import VisitorRequest

ErrorKinds = tuple[type[UserError], ...]


@dataclass(frozen=True)
class Answer:
    """`schema`: a type of services/schemas.py, or None for an empty body."""

    schema: Any
    description: str
    media_type: str = "application/json"
    example: Any = None  # of what is not JSON


@dataclass(frozen=True)
class Operation:
    """`errors`: kinds beside those that follow from the method, the form and the address."""

    summary: str
    group: str
    answers: Mapping[int, Answer]
    description: str = ""
    form: type[forms.Form] | None = None
    example: Mapping[str, Any] = field(default_factory=dict)
    errors: ErrorKinds = ()
    headers: Mapping[str, str] = field(default_factory=dict)  # of the request: name -> description


class View(Protocol):
    operations: dict[str, Operation]

    def __call__(self, request: VisitorRequest, **named: str) -> HttpResponseBase: ...


def operation(
    method: str, summary: str, group: str, *answers: tuple[int, Any, str], **details: Any
) -> Callable[[Any], View]:
    """Marks a view as the one that answers `method`; other methods than those it is marked with get a 405.

    `answers`: (status, type or None, description) each. `details`: the other fields of Operation.
    """
    named = {status: found if isinstance(found, Answer) else Answer(found, text) for status, found, text in answers}
    described = Operation(summary, group, named, **details)

    def mark(view: Any) -> View:
        if hasattr(view, "operations"):
            view.operations[method] = described
            return view

        @wraps(view)
        def checked(request: VisitorRequest, **named: str) -> HttpResponseBase:
            if called(checked, request) is None:
                raise errors.MethodNotAllowed(*checked.operations)  # type: ignore[attr-defined]
            return view(request, **named)

        checked.operations = {method: described}  # type: ignore[attr-defined]
        return checked  # type: ignore[return-value]

    return mark


def called(view: Any, request: HttpRequest) -> Operation | None:
    """What a marked view was asked to do; None for a method that it is not marked with."""
    method = "GET" if request.method == "HEAD" else request.method
    return view.operations.get(method)


def sent(request: VisitorRequest, **options: Any) -> dict[str, Any]:
    """The request's fields as the form of its operation (which `options` go to) reads them. Raises InvalidForm."""
    found = called(request.resolver_match.func, request) if request.resolver_match else None
    assert found is not None and found.form is not None, "the view is not marked with a form"
    form: Any = found.form(request.POST, request.FILES, **options)
    return dict(form.checked())
