"""The process's one Runtime, and the network that a pinned piece of work runs on.

Falls back to the base, marking the row, when the pinned model's file cannot be used: whatever answers is what the
result says.
"""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

import numpy as np
from django.conf import settings

from registry import services as registry
from registry.bases import ReadyBase
from registry.cache import NetworkCache
from registry.files import ModelFileDamaged, ModelFileMissing
from registry.memory import keep_freed
from registry.models import FileState, UserModel
from registry.runtime import BaseMissing, LoadedNetwork, ModelRef, Runtime
from segapp.models import Pinned
from segapp.pipeline.inference import forward as passes
from segapp.pipeline.inference.predict import predict

logger = logging.getLogger(__name__)

FEATURES = 8  # the part of the cache that images' features may take, one in so many
LIVE = 6  # the part that features of images being painted may take, one in so many


_loaded: dict[str, str] = {}  # sha256 of the base that was last seen to be in memory


@cache
def runtime() -> Runtime:
    keep_freed()
    taken = passes.keep_at_most(settings.SEGAPP_CACHE_BYTES // FEATURES) + settings.SEGAPP_CACHE_BYTES // LIVE
    left = settings.SEGAPP_CACHE_BYTES - taken
    return Runtime(settings.MEDIA_ROOT, settings.SEGAPP_WEIGHTS, settings.SEGAPP_DEVICE, left)


@cache
def live_cache() -> NetworkCache:
    """Features of the images that are being painted."""
    return NetworkCache(settings.SEGAPP_CACHE_BYTES // LIVE)


def stats() -> dict[str, Any]:
    """Figures of the cache and of the features that are kept, for the heartbeat."""
    return {
        **runtime().stats(),
        "features_bytes": passes.kept_bytes(),
        "live_bytes": live_cache().stats()["bytes"],
    }


def server_base() -> ReadyBase:
    """The base this server answers with: SEGAPP_BASE, and while that is not ready the first ready one.

    Raises BaseMissing.
    """
    return registry.current_base() or runtime().base(settings.SEGAPP_BASE)


def warm_up() -> None:
    """Load the base and run it once at its size; without a ready base the worker starts all the same and says so."""
    try:
        with runtime().use_base(server_base()) as network:
            side = network.spec.input_size
            predict(network, np.zeros((side, side, 3), np.uint8))
    except BaseMissing as error:
        logger.warning("%s", error)


def load_new_base() -> None:
    """Bring a base that became ready since the last look into memory, before an image waits for it."""
    ready = registry.current_base()
    if ready is not None and _loaded.get("sha256") != ready.sha256:
        with runtime().use_base(ready):
            _loaded["sha256"] = ready.sha256


def reference(model: UserModel) -> ModelRef:
    """The model's files, brought to this machine. Raises ModelFileMissing and ModelFileDamaged."""
    registry.ensure_local(model)
    registry.base_of(model)
    return ModelRef(model.key, model.path, model.sha256, model.base_key, model.base_sha256)


@contextmanager
def pinned(work: Pinned) -> Iterator[LoadedNetwork]:
    """The network that `work` was pinned to; the base, with the model's row marked, when its file is lost.

    Raises BaseMissing when no base can answer either.
    """
    with ExitStack() as stack:
        yield _own(work.model, stack) or stack.enter_context(runtime().use_base(_base(work)))


def _own(model: UserModel | None, stack: ExitStack) -> LoadedNetwork | None:
    """The model's network, held until the stack ends; None, with the row marked, when its file cannot be used."""
    if model is None:
        return None
    try:
        return stack.enter_context(runtime().use(reference(model)))
    except (ModelFileMissing, BaseMissing) as error:
        logger.warning("%s", error)
        registry.mark_lost(model, FileState.MISSING)
    except ModelFileDamaged as error:
        logger.warning("%s", error)
        registry.mark_lost(model, FileState.DAMAGED)
    return None


def _base(work: Pinned) -> ReadyBase:
    """The base as pinned, else the server's present one: an answer beats an error."""
    return registry.base_version(work.base_key, work.base_sha256) or server_base()
