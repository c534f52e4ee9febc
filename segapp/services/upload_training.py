"""Training on files of one request: stored, mapped to classes and queued, or nothing is kept."""

from typing import Any

from segapp.imaging import class_mapping
from segapp.models import TrainingRun
from segapp.services import intake, runs


def start(
    visitor: str, *, images: list[Any], masks: list[Any], name: str = "", effort: str = "quick", classes: list[Any]
) -> TrainingRun:
    """Take pairs in and queue a training on just these, with the classes as the masks' rules give them.

    Raises InvalidUpload with an entry per faulty file, imaging.InvalidFile for class edits that do not fit, and
    runs.AlreadyTraining; then nothing is stored.
    """
    examples = intake.store(visitor, images, masks, draft=False)
    try:
        mapping = intake.review(examples)
        if classes:
            mapping = class_mapping.edit(mapping, classes)
        return runs.start(visitor, examples, mapping, name=name, effort=effort)
    except Exception:
        intake.discard(examples)
        raise
