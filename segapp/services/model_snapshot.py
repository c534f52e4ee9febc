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


def named(visitor: str, key: str) -> registry.ActiveModel:
    """What answers a request that names a model: one of the visitor's by id, or the base by its key; "" is the active
    one. Raises registry.services.ModelNotFound."""
    if not key:
        return registry.resolve(visitor)
    base = registry.current_base()
    if base is not None and key == base.key:
        return registry.ActiveModel(None, base)
    return registry.resolve_model(registry.owned(visitor, key))


def pin(visitor: str, key: str = "") -> dict[str, Any]:
    """What a new row says of the model that is named, or that answers the visitor now.

    Raises registry.services.NoBaseReady and ModelNotFound.
    """
    answer = named(visitor, key)
    model = answer.model
    return {
        **chosen(model, answer),
        "model_key": answer.key,
        "model_name": model.name if model else answer.name,
        "model_sha256": answer.sha256,
    }
