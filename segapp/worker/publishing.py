"""From what a training learnt to the visitor's active model: file first, then row, pointer and end of run in one go.

Delivery is at least once, publication happens once: a run whose lease was lost publishes nothing.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from django.conf import settings
from django.db import InterfaceError, OperationalError, transaction
from django.utils import timezone
from PIL import Image
from torch import Tensor

from registry import bases, checkpoint, store
from registry.files import write_atomically
from registry.models import UserModel, new_public_id
from registry.runtime import changed_part, with_base
from segapp.models import State, Stop, TrainingRun
from segapp.pipeline.training.finetune import Cancelled, Trained
from segapp.pipeline.training.half_precision import to_half_precision
from segapp.services import storage
from segapp.visitors import current_id
from segapp.worker import networks

logger = logging.getLogger(__name__)


class LeaseLost(Exception):
    """Another worker has taken the run over; what this one learnt is dropped."""


def publish(
    visitor: str,
    trained: Trained,
    *,
    name: str,
    base: bases.ReadyBase,
    image_count: int,
    parent: UserModel | None = None,
    run: TrainingRun | None = None,
    preview: Image.Image | None = None,
    metrics: dict[str, Any] | None = None,
    images: Sequence[np.ndarray] = (),
) -> UserModel:
    """Write `user_<id>.pth` and make it the visitor's model.

    Raises LeaseLost, Cancelled, and OSError when the disk is full.

    With a `run`, the row, the active pointer and the run's end are one transaction that holds only while the run's
    lease is still `run.lease`; a reset in the meantime leaves the model kept and not active. A crash between the
    file and the commit leaves an orphan that `cleanup_models` collects, and the old model in use; so may a lost
    connection to the database. The file is in half precision where that changes nothing on `images`.
    """
    model = UserModel(
        public_id=new_public_id(),
        visitor=visitor,
        name=name[:80],
        base_key=base.key,
        base_name=base.name,
        base_sha256=base.sha256,
        classes=[c.to_dict() for c in trained.spec.classes],
        image_input=trained.spec.image_input,
        input_size=trained.spec.input_size,
        example_side=trained.spec.example_side,
        metrics=metrics if metrics is not None else trained.metrics,
        recipe=trained.recipe,
        seconds=round(trained.seconds, 2),
        image_count=image_count,
        run_id=run.public_id if run else "",
        parent=parent,
    )
    bases.keep_version(base, settings.MEDIA_ROOT)
    try:
        extra = {"metrics": model.metrics, "recipe": trained.recipe}
        tensors = _light(trained, base, images)
        model.sha256, model.size_bytes = checkpoint.save(model.path, trained.spec, tensors, base.sha256, extra)
        if preview is not None:
            write_atomically(model.preview_path, lambda out: preview.save(out, "WEBP", quality=80))
        _enter(model, run)
    except (OperationalError, InterfaceError):
        # A connection that is lost while it commits leaves open whether the row is there, and then it needs its file.
        # Without a row the file is an orphan, which cleanup collects.
        raise
    except BaseException:
        store.remove(model.path)
        store.remove(model.preview_path)
        raise
    return model


def _light(trained: Trained, base: bases.ReadyBase, images: Sequence[np.ndarray]) -> dict[str, Tensor]:
    """The tensors for the file; in full precision when there is anything to wonder about."""
    if not images:
        return trained.tensors
    with networks.runtime().use_base(base) as network:
        placed = {name: tensor.to(network.device) for name, tensor in trained.tensors.items()}
        module = with_base(network, trained.spec, placed)
        changed, shallow = changed_part(network, placed)
        keys = ("" if changed else network.encoder_key, "" if shallow else network.shallow_key)
        own = replace(network, spec=trained.spec, module=module, encoder_key=keys[0], shallow_key=keys[1])
        return to_half_precision(network, own, placed, images)


@transaction.atomic
def _enter(model: UserModel, run: TrainingRun | None) -> None:
    """The row, the pointer and the run's end, or nothing."""
    active = True
    if run is not None:
        held = TrainingRun.objects.held(run.pk, run.lease).select_for_update().first()
        if held is None:
            raise LeaseLost
        if held.stop == Stop.DISCARD:  # cancelled since the last step
            raise Cancelled
        active, model.visitor = held.activate, current_id(held.visitor)  # it may have joined another one
    if active:
        mine = UserModel.objects.filter(visitor=model.visitor)
        mine.filter(active=True).update(active=False)
        mine.exclude(notice="").update(notice="")
        mine.filter(active_when_found=True).update(active_when_found=False)
        model.active, model.last_used = True, timezone.now()
    model.save(force_insert=True)
    storage.enter(model)
    if run is not None:
        message = "Your model is ready and in use." if active else "Your model is ready. It was kept and is not in use."
        ended = TrainingRun.objects.end(
            run.pk, run.lease, State.DONE, model=model, metrics=model.metrics, progress=1.0, message=message
        )
        if not ended:
            raise LeaseLost
