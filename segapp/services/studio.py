"""Verbs that join several services: train on what was just uploaded, go back to the base model."""

from typing import Any

from django.db import transaction

from registry import services as registry
from segapp.imaging import class_mapping
from segapp.models import TrainingRun
from segapp.services import intake, runs


def train_uploaded(
    visitor: str, *, images: list[Any], masks: list[Any], name: str = "", effort: str = "quick", classes: list[Any]
) -> TrainingRun:
    """Take pairs in and queue a training on just these, with the classes as the masks' rules give them.

    Raises intake.InvalidUpload with an entry per faulty file, imaging.InvalidFile for class edits that do not fit, and
    runs.AlreadyTraining; then nothing is stored.
    """
    examples = intake.store(visitor, images, masks, draft=False)
    try:
        reading = intake.review(examples)
        if classes:
            reading = class_mapping.edit(reading, classes)
        return runs.start(visitor, examples, reading, name=name, effort=effort)
    except Exception:
        intake.discard(examples)
        raise


@transaction.atomic
def use_base(visitor: str) -> None:
    """Back to the base model; a training under way will be kept without becoming active."""
    runs.forgo_activation(visitor)
    registry.reset(visitor)
