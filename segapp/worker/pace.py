"""How fast this machine trains: a short training on drawn images, for estimates before the first training.

Measured with what a training is made of, because a prediction's time says little: with MiT-B3 it is eight times that of
the packaged base, a training's three times.
"""

import logging
import time
from typing import Any

import numpy as np
from django.conf import settings

from registry.network import ClassInfo
from registry.runtime import BaseMissing
from segapp import heartbeat
from segapp.imaging import sample
from segapp.pipeline.training.finetune import Example, TrainingFailed, finetune
from segapp.services import runs
from segapp.worker import networks
from segapp.worker.progress import training_waits

logger = logging.getLogger(__name__)

IMAGES, STEPS = 2, 18

_measured: dict[str, Any] = {}


def figures() -> dict[str, Any]:
    """For the heartbeat: the base and the seconds of the short training, once it was measured."""
    return dict(_measured)


def measure() -> None:
    """Measure, in a training worker, unless finished trainings say how long they take; gives way to one that waits."""
    if not settings.SEGAPP_PACE or "train" not in heartbeat.queues() or runs.usual_seconds("quick", 5) is not None:
        return
    drawn = [sample.draw(number) for number in range(IMAGES)]
    examples = [Example(name, *found) for name, found in zip(sample.NAMES, drawn, strict=False)]
    ids = np.unique(np.concatenate([example.mask.ravel() for example in examples]))
    classes = [ClassInfo(int(value), str(value), "#ffffff") for value in ids]
    try:
        with networks.runtime().use_base(networks.server_base()) as base:
            began = time.monotonic()
            trained = finetune(base, examples, classes, steps=STEPS, watch=lambda _: not _interrupted())
            seconds = time.monotonic() - began
    except (BaseMissing, TrainingFailed) as error:
        logger.warning("no estimate of trainings: %s", error)
        return
    if not trained.recipe["stopped"]:
        _measured[runs.SHORT_TRAINING] = {"base": base.base_key, "seconds": round(seconds, 2)}


def _interrupted() -> bool:
    return heartbeat.stopping.is_set() or training_waits()
