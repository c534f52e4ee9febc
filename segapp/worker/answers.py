"""A row's fields on the network that answered."""

from typing import Any

from registry import services as registry
from registry.bases import CATALOGUE
from registry.runtime import LoadedNetwork
from segapp.models import Pinned


def name_what_answers(work: Pinned, network: LoadedNetwork) -> str:
    """Write into the row what really answers; a message for the visitor when it is not what was pinned."""
    pinned_key, note = work.model_key, ""
    model = work.model if work.model is not None and work.model.key == network.key else None
    if model is not None:
        registry.mark_used(model)
        if not model.input_size:  # published before these were kept
            sizes = {"input_size": network.spec.input_size, "example_side": network.spec.example_side}
            type(model).objects.filter(pk=model.pk).update(**sizes)
    elif work.model is not None or pinned_key.startswith("user_"):
        wanted = work.model.name if work.model else work.model_name
        note = f"“{wanted}” could not be used any more, so {CATALOGUE[network.base_key].name} answered."
    work.model_key, work.model_sha256 = network.key, network.sha256
    work.model_name = model.name if model else CATALOGUE[network.base_key].name
    work.base_key, work.base_sha256 = network.base_key, network.base_sha256
    return note


def named(work: Pinned) -> dict[str, Any]:
    """The same as values of an update."""
    return {
        "model_key": work.model_key,
        "model_name": work.model_name,
        "model_sha256": work.model_sha256,
        "base_key": work.base_key,
        "base_sha256": work.base_sha256,
    }
