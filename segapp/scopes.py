"""Which views a key with the scope "predict" may call. Everything else takes a key with the scope "all"."""

from collections.abc import Callable
from typing import Any, TypeVar

View = TypeVar("View", bound=Callable[..., Any])


def for_predict_keys(view: View) -> View:
    """Marks a view; segapp.bearer reads the mark. Goes above all other decorators."""
    view.for_predict_keys = True  # type: ignore[attr-defined]
    return view
