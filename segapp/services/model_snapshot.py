"""Which model a piece of work gets: decided once, when it is sent, so that later changes do not reach it."""

from typing import Any

from registry import services as registry
from registry.models import UserModel


def chosen(model: UserModel | None, answer: registry.ActiveModel) -> dict[str, Any]:
    """What a new row says of `model`, or of the answer's base where that is None. Raises NoBaseReady."""
    base = answer.base
    if model is None and base is None:
        raise registry.NoBaseReady("No base model is ready on this server. Its operator can run manage.py build_base.")
    return {
        "model": model,
        "base_key": model.base_key if model else base.key if base else "",
        "base_sha256": model.base_sha256 if model else base.sha256 if base else "",
        "message": answer.notice[:500],
    }


def pin(visitor: str) -> dict[str, Any]:
    """What a new row says of the model that answers the visitor now. Raises registry.services.NoBaseReady."""
    answer = registry.resolve(visitor)
    model = answer.model
    return {
        **chosen(model, answer),
        "model_key": answer.key,
        "model_name": model.name if model else answer.name,
        "model_sha256": answer.sha256,
    }
